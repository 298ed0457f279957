package chaos

import (
	"context"
	"fmt"
	"strings"
	"time"

	"cloudsession/connector/control"
	"cloudsession/connector/watest"
	"cloudsession/shared/cloudstore"
)

func describeLost(whose string, lost []watest.Copy) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d messages were accepted and never shown to the %s", len(lost), whose)
	for _, c := range lost[:min(len(lost), 8)] {
		fmt.Fprintf(&b, "\n  %s from %s to %s in %s, accepted %s, confirmed %t",
			c.ID, c.From, c.Device, c.Chat, c.Accepted.Format("15:04:05.000"), c.Confirmed)
	}
	return b.String()
}

// lateLogin is how much later than another connector's take a login may come:
// the owner looks at its lease, and then dials.
const lateLogin = 10 * time.Second

// checkAdmissions is I1: whoever was admitted as a device was the session's owner
// then. (That no two are admitted at once is the service's doing: it replaces.)
func (h *Harness) checkAdmissions() error {
	for _, l := range h.lines {
		l.mu.Lock()
		session, device := l.session, l.device
		l.mu.Unlock()
		epochs, err := h.store.Epochs(h.ctx, session) // newest first
		if err != nil {
			return fmt.Errorf("read epochs of %s: %w", session, err)
		}
		var before watest.Admission
		for _, a := range h.rig.WhatsApp.Admissions(&device) {
			if a.From.Before(before.Until) || before.End == watest.AdmissionOpen && !before.From.IsZero() {
				return h.violation("I1", session, "two sockets were admitted at once: %+v and %+v", before, a)
			}
			before = a
			if owner := ownerAt(epochs, a.From.Add(-lateLogin)); owner != "" && owner != h.machineAt(a.Via) &&
				ownerAt(epochs, a.From) != h.machineAt(a.Via) {
				return h.violation("I1", session, "%s logged in at %s when the session was %s's",
					h.machineAt(a.Via), a.From.Format("15:04:05.000"), owner)
			}
		}
	}
	return nil
}

// ownerAt is who had taken a session last at a time. TiDB's clock and ours are
// the same machine's.
func ownerAt(newestFirst []cloudstore.Epoch, t time.Time) string {
	for _, e := range newestFirst {
		if !e.StartedAt.After(t) {
			return e.ConnectorID
		}
	}
	return ""
}

func (h *Harness) machineAt(via string) string {
	for _, m := range h.machines {
		if m.via == via {
			return m.id
		}
	}
	return via
}

// checkDelivery is I2 for what settle has not looked at: what the connectors
// acknowledged has reached each phone it was for, exactly once.
func (h *Harness) checkDelivery() error {
	shown := map[*watest.Phone]map[string]int{}
	for _, l := range h.lines {
		for _, p := range []*watest.Phone{l.owner, l.peer} {
			texts := map[string]int{}
			for _, m := range p.Messages() {
				texts[m.Text]++
			}
			shown[p] = texts
		}
	}
	for _, l := range h.lines {
		l.mu.Lock()
		sent := append([]*letter(nil), l.sent...)
		l.mu.Unlock()
		for _, s := range sent {
			for p, texts := range shown {
				if (p == l.peer || s.to == h.group.String()) && texts[s.text] != 1 {
					return h.violation("I2", s.from, "message %s was acknowledged to the application and shown %d times at %s",
						s.id, texts[s.text], p.PN())
				}
			}
		}
	}
	return nil
}

// checkInboxes is I2 on the connectors' side: what an inbox lists, it lists once.
func (h *Harness) checkInboxes() error {
	for _, l := range h.lines {
		if !l.isLinked() {
			continue
		}
		for _, m := range h.machines {
			if s, ok := m.session(l.name()); !ok || s.Epoch == 0 {
				continue
			}
			if err := h.checkInbox(m, l.name()); err != nil {
				return err
			}
		}
	}
	return nil
}

func (h *Harness) checkInbox(m *machine, session string) error {
	ctx, cancel := context.WithTimeout(h.ctx, limit)
	defer cancel()
	listed, texts := map[string]bool{}, map[string]string{}
	twice := ""
	err := m.client.Messages(ctx, session, 0, false, func(m control.Message) error {
		key := m.Chat + " " + m.Sender + " " + m.ID
		if before, ok := texts[m.Text]; listed[key] || ok && m.Text != "" {
			twice = m.ID + " " + before
		}
		listed[key], texts[m.Text] = true, m.ID
		return nil
	})
	if twice != "" {
		return h.violation("I2", session, "the inbox lists message %s twice", twice)
	}
	if err != nil {
		return fmt.Errorf("list messages of %s: %w", session, err)
	}
	return nil
}

// checkLineages is I4 and I5 in the tables: parents come before children, each
// parent's log is ended where its child says, and all that can be read verifies.
func (h *Harness) checkLineages() error {
	for _, l := range h.lines {
		if err := h.checkLineage(l.name()); err != nil {
			return err
		}
	}
	return nil
}

func (h *Harness) checkLineage(session string) error {
	epochs, err := h.store.Epochs(h.ctx, session)
	if err != nil {
		return fmt.Errorf("read epochs of %s: %w", session, err)
	}
	for _, e := range epochs {
		if e.ParentEpoch == 0 {
			continue
		}
		if e.ParentEpoch >= e.Epoch {
			return h.violation("I4", session, "epoch %d has parent %d", e.Epoch, e.ParentEpoch)
		}
		heads, err := h.store.SegmentHeads(h.ctx, session, e.ParentEpoch)
		if err != nil {
			return fmt.Errorf("read log of %s: %w", session, err)
		}
		if len(heads) == 0 || heads[0].Seq > e.ParentSeq+1 {
			continue // pruned
		}
		ended := false
		for _, row := range heads {
			ended = ended || row.Seq == e.ParentSeq+1 && row.Kind.IsTerminator()
		}
		if !ended {
			return h.violation("I5", session, "epoch %d goes on from %d/%d, where no terminator ends epoch %d",
				e.Epoch, e.ParentEpoch, e.ParentSeq, e.ParentEpoch)
		}
	}
	return nil
}

// checkCommands is I7 for commands: none is under way for long.
func (h *Harness) checkCommands() error {
	const query = `SELECT COUNT(*), COALESCE(MIN(session_id), ''), COALESCE(MIN(kind), '') FROM commands WHERE state IN ('queued', 'running')`
	end := time.Now().Add(h.opt.Settle)
	for {
		var n int
		var session, kind string
		ctx, cancel := context.WithTimeout(h.ctx, limit)
		err := h.db.QueryRowContext(ctx, query).Scan(&n, &session, &kind)
		cancel()
		if err != nil {
			return fmt.Errorf("look for commands under way: %w", err)
		}
		if n == 0 {
			return nil
		}
		if time.Now().After(end) {
			return h.violation("I7", session, "%d commands are not finished, one is %s", n, kind)
		}
		if !pause(h.ctx, 200*time.Millisecond) {
			return context.Cause(h.ctx)
		}
	}
}
