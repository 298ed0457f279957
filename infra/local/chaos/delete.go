package chaos

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// afterDelete waits for the DELETE of the schedule, if the action is to.
func (h *Harness) afterDelete(a Action) {
	if !a.Deleted {
		return
	}
	select {
	case <-h.deleted:
	case <-h.ctx.Done():
	}
}

// deleteAndSync deletes a session's cloud copy, waits, and asks for a new one
// until there is one.
func (h *Harness) deleteAndSync(a Action, l *line, session string) error {
	err := h.deleteHeld(l, session)
	close(h.deleted)
	if err != nil || h.ctx.Err() != nil {
		return err
	}
	if err := h.staysDeleted(session, a.For); err != nil {
		return err
	}
	for end := time.Now().Add(limit); time.Now().Before(end); {
		resp, err := h.rig.API(h.ctx, http.MethodPost, "/cloud/sessions/"+url.PathEscape(session)+"/sync", nil)
		if err == nil && resp.Status == http.StatusOK {
			h.note("%s: deleted, and synced again", session)
			return nil
		}
		if !pause(h.ctx, 500*time.Millisecond) {
			return nil
		}
	}
	return h.violation("I7", session, "its copy was deleted, and within %v no sync makes another", limit)
}

// deleteHeld calls DELETE when a connector has the session live: of one that is
// just being taken over nobody has a whole file, and a DELETE takes all there is.
func (h *Harness) deleteHeld(l *line, session string) error {
	tried := false
	for end := time.Now().Add(limit); time.Now().Before(end); {
		lack, err := h.unheld(session)
		if err != nil && h.ctx.Err() == nil {
			return err
		}
		if err == nil && (lack == nil || tried) {
			resp, err := h.rig.API(h.ctx, http.MethodDelete, "/cloud/sessions/"+url.PathEscape(session), nil)
			if err == nil && (resp.Status == http.StatusOK || tried && resp.Status == http.StatusNotFound) {
				h.note("%s: deleted", session)
				return nil
			}
			tried = true
		}
		if !pause(h.ctx, 100*time.Millisecond) {
			return nil
		}
	}
	return h.violation("I7", session, "no connector has session %d live for %v, or DELETE is not answered", l.number, limit)
}

// behindMark are the rows that a DELETE removes: the log's, up to its mark. Behind
// the mark there may be parts of the push that was on its way, until its owner
// learns of the mark.
const behindMark = `FROM session_segments s JOIN session_segments d ON d.session_id = s.session_id AND d.kind = 'deleted'
	WHERE s.kind IN ('base', 'delta') AND `

// staysDeleted watches that nothing of a deleted session's log comes back. What a
// late statement brings back is counted and stays until the next sync: the row
// that it would collide with is deleted, too.
func (h *Harness) staysDeleted(session string, d time.Duration) error {
	const query = `SELECT COUNT(*) ` + behindMark + `s.session_id = ? AND (s.epoch < d.epoch OR s.epoch = d.epoch AND s.seq < d.seq)`
	for end := time.Now().Add(d); time.Now().Before(end); {
		var rows int
		if err := h.db.QueryRowContext(h.ctx, query, session).Scan(&rows); err != nil {
			if h.ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("count rows of a deleted session: %w", err)
		}
		if rows > 0 && !h.current.late() {
			return h.violation("I7", session, "%d rows of the log are there after DELETE", rows)
		}
		h.mu.Lock()
		h.count.revived = max(h.count.revived, rows)
		h.mu.Unlock()
		if !pause(h.ctx, 100*time.Millisecond) {
			return nil
		}
	}
	return nil
}

// checkDeleted is I7 for what was deleted: nothing of it is there when all is
// quiet, wherever in the log it stood.
func (h *Harness) checkDeleted() error {
	const query = `SELECT COUNT(*), COALESCE(MIN(s.session_id), '') ` + behindMark + `s.epoch <= d.epoch`
	for end := time.Now().Add(h.opt.Settle); ; {
		var rows int
		var session string
		if err := h.db.QueryRowContext(h.ctx, query).Scan(&rows, &session); err != nil {
			return fmt.Errorf("count rows of deleted sessions: %w", err)
		}
		if rows == 0 {
			return nil
		}
		if time.Now().After(end) {
			return h.violation("I7", session, "%d rows of logs are still there after DELETE", rows)
		}
		if !pause(h.ctx, 200*time.Millisecond) {
			return context.Cause(h.ctx)
		}
	}
}
