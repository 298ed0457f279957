package cloudstore

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

const (
	// The later of the two times, NULL only if both are. GREATEST is NULL if
	// either is.
	selectNewest = `SELECT w.id, w.session_id, w.last_synced_at, o.synced_at, w.created_at, w.updated_at
		FROM whatsapp_sessions w
		LEFT JOIN session_owners o ON o.session_id = w.session_id COLLATE utf8mb4_0900_bin
		WHERE (%s)
		ORDER BY GREATEST(COALESCE(w.last_synced_at, FROM_UNIXTIME(0)), COALESCE(o.synced_at, FROM_UNIXTIME(0))) DESC, w.id DESC LIMIT ?`
	selectAfter = `SELECT w.id, w.session_id, w.last_synced_at, o.synced_at, w.created_at, w.updated_at
		FROM whatsapp_sessions w
		LEFT JOIN session_owners o ON o.session_id = w.session_id COLLATE utf8mb4_0900_bin
		WHERE w.id > ? AND (%s) ORDER BY w.id LIMIT ?`
	selectStatus = `SELECT w.id, w.session_id, w.last_synced_at, o.synced_at, w.created_at, w.updated_at,
		o.state, o.state_detail, o.connector_id, e.start, o.backup, o.epoch, COALESCE(NOT c.dead AND c.lease_until > NOW(6), FALSE)
		FROM whatsapp_sessions w
		LEFT JOIN session_owners o ON o.session_id = w.session_id COLLATE utf8mb4_0900_bin
		LEFT JOIN session_epochs e ON e.session_id = o.session_id AND e.epoch = o.epoch
		LEFT JOIN connectors c ON c.connector_id = o.connector_id
		WHERE w.session_id = ?`
)

// Page sizes of ListSessions.
const (
	DefaultPage = 100
	MaxPage     = 500
)

// ErrBadCursor means that the text is not a cursor that ListSessions returned.
var ErrBadCursor = errors.New("bad cursor")

// ListSessions returns one page of the sessions in the cloud, at most limit of
// them (0 means DefaultPage, more than MaxPage means that), and the cursor of
// the next page, "" after the last.
//
// The first page, cursor "", holds those synced last, newest first. Times of
// syncing change while somebody pages, so they can't be what later pages go by:
// those go by the row's id, which never changes, and leave out the first page's
// rows, whose ids the cursor carries. A session that is there all the time is
// returned exactly once, however often it is synced meanwhile.
func (s *Store) ListSessions(ctx context.Context, limit int, cursor string) (sessions []Session, next string, err error) {
	return s.ListSelected(ctx, nil, limit, cursor)
}

// ListSelected is ListSessions of some sessions: pages are as full, and a cursor
// tells nothing of the others. A cursor of another selection is as good as one of
// this: what is listed follows from the selection alone.
func (s *Store) ListSelected(ctx context.Context, which *Selection, limit int, cursor string) (sessions []Session, next string, err error) {
	if limit = cmp.Or(limit, DefaultPage); limit < 0 {
		return nil, "", fmt.Errorf("list sessions: %w: limit %d", ErrBadInput, limit)
	}
	limit = min(limit, MaxPage)
	at, err := parseCursor(cursor)
	if err != nil {
		return nil, "", fmt.Errorf("list sessions: %w", err)
	}
	var rows []listed
	err = s.retry(ctx, func() (err error) {
		if cursor == "" {
			where, args := which.condition()
			rows, err = collect(ctx, s.db, scanListed, fmt.Sprintf(selectNewest, where), append(args, limit+1)...)
		} else {
			rows, err = s.listAfter(ctx, which, at, limit+1)
		}
		return err
	})
	if err != nil {
		return nil, "", fmt.Errorf("list sessions: %w", err)
	}
	if len(rows) > limit {
		rows = rows[:limit]
		next = at.following(rows, cursor == "").String()
	}
	for _, row := range rows {
		sessions = append(sessions, row.Session)
	}
	return sessions, next, nil
}

// listAfter returns up to n rows behind the cursor that it doesn't leave out.
func (s *Store) listAfter(ctx context.Context, which *Selection, at listCursor, n int) ([]listed, error) {
	where, args := which.condition()
	// So many are enough: no more than these can be left out.
	args = slices.Concat([]any{at.after}, args, []any{n + len(at.seen)})
	rows, err := collect(ctx, s.db, scanListed, fmt.Sprintf(selectAfter, where), args...)
	if err != nil {
		return nil, err
	}
	rows = slices.DeleteFunc(rows, func(row listed) bool {
		_, found := slices.BinarySearch(at.seen, row.id)
		return found
	})
	return rows[:min(n, len(rows))], nil
}

// SessionStatus returns what is known of one session in the cloud. ErrNotFound
// when it has no credentials there.
func (s *Store) SessionStatus(ctx context.Context, sessionID string) (Status, error) {
	if err := ValidateSessionID(sessionID); err != nil {
		return Status{}, err
	}
	var status Status
	err := s.retry(ctx, func() (err error) {
		status, err = one(ctx, s.db, scanStatus, selectStatus, sessionID)
		return err
	})
	if err == nil && status.SessionID != sessionID {
		err = ErrNotFound // another id's row, see selectCredentials
	}
	if err != nil {
		return Status{}, fmt.Errorf("read session: %w", err)
	}
	return status, nil
}

// listed is a session with its row's id.
type listed struct {
	Session
	id uint64
}

func scanListed(row scanner) (l listed, err error) {
	err = scanSession(row, &l)
	return l, err
}

// scanSession scans the columns of a listed session, and more behind them.
func scanSession(row scanner, l *listed, more ...any) error {
	var lastSynced, pushed, created, updated sql.NullTime
	dest := append([]any{&l.id, &l.SessionID, &lastSynced, &pushed, &created, &updated}, more...)
	if err := row.Scan(dest...); err != nil {
		return err
	}
	if pushed.Valid && (!lastSynced.Valid || pushed.Time.After(lastSynced.Time)) {
		lastSynced = pushed
	}
	if lastSynced.Valid {
		l.LastSyncedAt = &lastSynced.Time
	}
	l.CreatedAt, l.UpdatedAt = created.Time, updated.Time
	return nil
}

func scanStatus(row scanner) (Status, error) {
	var l listed
	var state, detail, connector, start, backup sql.NullString
	var epoch sql.Null[uint64]
	var st Status
	err := scanSession(row, &l, &state, &detail, &connector, &start, &backup, &epoch, &st.Live)
	st.Session = l.Session
	st.State, st.StateDetail, st.ConnectorID = state.String, detail.String, connector.String
	st.Start, st.Backup, st.Epoch = start.String, backup.String, epoch.V
	return st, err
}

// listCursor is where a listing goes on: behind row after, without rows seen.
type listCursor struct {
	after uint64
	seen  []uint64 // ids of the first page, ascending, all > after
}

// following is the cursor behind a page of rows.
func (c listCursor) following(rows []listed, first bool) listCursor {
	if first {
		for _, row := range rows {
			c.seen = append(c.seen, row.id)
		}
		slices.Sort(c.seen)
		return c
	}
	c.after = rows[len(rows)-1].id
	at, _ := slices.BinarySearch(c.seen, c.after)
	c.seen = c.seen[at:]
	return c
}

// String is a version byte, after, and the ids as differences, as varints.
func (c listCursor) String() string {
	b := binary.AppendUvarint([]byte{cursorVersion}, c.after)
	last := c.after
	for _, id := range c.seen {
		b = binary.AppendUvarint(b, id-last)
		last = id
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

const cursorVersion = 1

// parseCursor reads what String made; "" is the zero cursor.
func parseCursor(text string) (c listCursor, err error) {
	if text == "" {
		return c, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(b) < 2 || b[0] != cursorVersion {
		return c, ErrBadCursor
	}
	last := uint64(0)
	for i, b := 0, b[1:]; len(b) > 0; i++ {
		step, n := binary.Uvarint(b)
		if n <= 0 || last+step < last || i > MaxPage || i > 0 && step == 0 {
			return listCursor{}, ErrBadCursor
		}
		last += step
		b = b[n:]
		if i == 0 {
			c.after = last
			continue
		}
		c.seen = append(c.seen, last)
	}
	return c, nil
}
