package chaos

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.mau.fi/whatsmeow/types"

	"cloudsession/shared/cloudstore"
)

// quiet ends all faults, waits until the system is whole again, and checks every
// invariant.
func (h *Harness) quiet() error {
	h.note("quiet: faults end")
	start := time.Now()
	if err := h.mend(); err != nil {
		return err
	}
	if err := h.settle(); err != nil {
		return err
	}
	took := time.Since(start)
	h.count.settle = append(h.count.settle, took)
	h.note("quiet: settled after %.1fs", took.Seconds())
	for _, check := range []func() error{
		h.checkAdmissions, h.checkDelivery, h.checkInboxes, h.checkLineages, h.checkState, h.checkDeleted,
		h.checkCommands, h.checkLogs,
	} {
		if h.ctx.Err() != nil {
			return context.Cause(h.ctx)
		}
		if err := check(); err != nil {
			return err
		}
	}
	h.note("quiet: every check held")
	return nil
}

// mend ends every fault and starts every machine.
func (h *Harness) mend() error {
	h.rig.Stack.Queue().SetFault(nil)
	for _, m := range h.machines {
		m.mend()
		if h.opt.Clocks {
			if err := m.clock.set(0); err != nil {
				return err
			}
		}
		if err := m.freeze(false); err != nil {
			return err
		}
		m.op.Lock()
		m.mu.Lock()
		down := m.proc == nil
		m.mu.Unlock()
		var err error
		if down {
			err = m.start()
		}
		m.op.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

// settle waits until every session is held and live at one connector, everything
// the application sent is acknowledged, and every message accepted was shown.
func (h *Harness) settle() error {
	began := time.Now()
	whole := began // when something besides lost messages was last missing
	for {
		missing, err := h.unsettled()
		if err != nil {
			return err
		}
		if missing == nil {
			return nil
		}
		if !pause(h.ctx, 100*time.Millisecond) {
			return context.Cause(h.ctx)
		}
		if !missing.lost {
			whole = time.Now()
		}
		if time.Since(began) > h.opt.Settle || missing.lost && time.Since(whole) > h.opt.Lost {
			return h.violation(missing.invariant, missing.session, "still so %v after all faults ended: %s",
				time.Since(began).Round(time.Second), missing.what)
		}
	}
}

// lack is one thing that keeps the moment from being quiet.
type lack struct {
	invariant, session, what string
	lost                     bool // a message that was accepted; everything else is as it should be
}

func (h *Harness) unsettled() (*lack, error) {
	if lack, err := h.unsettledMachine(); lack != nil || err != nil {
		return lack, err
	}
	for _, l := range h.lines {
		if m, err := h.unsettledLine(l); m != nil || err != nil {
			return m, err
		}
	}
	if lack := h.lost(); lack != nil {
		return lack, nil
	}
	return h.lostAtEnd(), nil
}

// lost is a message that was accepted and not shown, and has no excuse; nil if
// there is none.
func (h *Harness) lost() *lack {
	for _, l := range h.lines {
		l.mu.Lock()
		session, device, linked := l.session, l.device, l.linked.Err() == nil
		l.mu.Unlock()
		if !linked {
			continue
		}
		if lost := h.inexcusable(h.rig.WhatsApp.LostBy(device)); len(lost) > 0 {
			return &lack{"I2", session, describeLost("application", lost), true}
		}
	}
	if lost := h.inexcusable(h.rig.WhatsApp.Lost()); len(lost) > 0 {
		return &lack{"I2", h.sessionOf(lost[0].From), describeLost("phone", lost), true}
	}
	return nil
}

func (h *Harness) unsettledMachine() (*lack, error) {
	rows, err := h.store.Connectors(h.ctx)
	if err != nil {
		return nil, fmt.Errorf("read connectors: %w", err)
	}
	for _, m := range h.machines {
		if !m.answers() {
			return &lack{invariant: "I7", what: fmt.Sprintf("connector %s does not answer", m.id)}, nil
		}
		if !slices.ContainsFunc(rows, func(c cloudstore.Connector) bool { return c.ID == m.id && c.Live && !c.Draining }) {
			return &lack{invariant: "I7", what: fmt.Sprintf("connector %s has no lease", m.id)}, nil
		}
	}
	return nil, nil //nolint:nilnil // nothing is missing, and nothing went wrong
}

func (h *Harness) unsettledLine(l *line) (*lack, error) {
	l.mu.Lock()
	session, waiting, linked := l.session, len(l.outbox), l.linked.Err() == nil
	l.mu.Unlock()
	owner, err := h.store.Owner(h.ctx, session)
	if err != nil {
		return nil, fmt.Errorf("read owner of %s: %w", session, err)
	}
	if !linked {
		if owner.State != "logged_out" || owner.Wanted != "closed" {
			return &lack{invariant: "I7", session: session, what: fmt.Sprintf("unlinked by its phone, but state %q, wanted %s", owner.State, owner.Wanted)}, nil
		}
		return nil, nil //nolint:nilnil // as it should be
	}
	if lack := h.unheldBy(owner, true); lack != nil {
		return lack, nil
	}
	if waiting > 0 {
		return &lack{invariant: "I2", session: session, what: fmt.Sprintf("%d messages of the application are not acknowledged", waiting)}, nil
	}
	return nil, nil //nolint:nilnil // nothing is missing, and nothing went wrong
}

// unheld is what a session lacks to be held live by its owner alone, with or
// without something to be pushed.
func (h *Harness) unheld(session string) (*lack, error) {
	owner, err := h.store.Owner(h.ctx, session)
	if err != nil {
		return nil, fmt.Errorf("read owner of %s: %w", session, err)
	}
	return h.unheldBy(owner, false), nil
}

func (h *Harness) unheldBy(owner cloudstore.Owner, pushed bool) *lack {
	session := owner.SessionID
	var live, held []string
	for _, m := range h.machines {
		s, ok := m.session(session)
		if !ok || s.Epoch == 0 {
			continue
		}
		held = append(held, fmt.Sprintf("%s: epoch %d %s %s pending=%t", m.id, s.Epoch, s.State, s.Detail, s.Pending))
		if s.Epoch == owner.Epoch && m.id == owner.ConnectorID && m.answers() &&
			(s.State == "connected" || s.State == "restored safely") && (!s.Pending || !pushed) {
			live = append(live, m.id)
		}
	}
	if len(live) != 1 || len(held) != 1 {
		return &lack{invariant: "I7", session: session, what: fmt.Sprintf("owner row: %s epoch %d wanted %s state %q %s; held: %s",
			owner.ConnectorID, owner.Epoch, owner.Wanted, owner.State, owner.StateDetail, strings.Join(held, "; "))}
	}
	return nil
}

// sessionOf names the session that a device is, or "".
func (h *Harness) sessionOf(device types.JID) string {
	for _, l := range h.lines {
		l.mu.Lock()
		session, ours := "", device.User == l.owner.LID().User
		for name, d := range l.devices {
			if ours && d.Device == device.Device {
				session = name
			}
		}
		l.mu.Unlock()
		if session != "" {
			return session
		}
	}
	return ""
}
