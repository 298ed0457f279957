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
		h.checkAdmissions, h.checkDelivery, h.checkInboxes, h.checkLineages, h.checkState, h.checkCommands, h.checkLogs,
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
	end := time.Now().Add(h.opt.Settle)
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
		if time.Now().After(end) {
			return h.violation(missing.invariant, missing.session, "still so %v after all faults ended: %s", h.opt.Settle, missing.what)
		}
	}
}

// lack is one thing that keeps the moment from being quiet.
type lack struct{ invariant, session, what string }

func (h *Harness) unsettled() (*lack, error) {
	if lack, err := h.unsettledMachine(); lack != nil || err != nil {
		return lack, err
	}
	for _, l := range h.lines {
		if m, err := h.unsettledLine(l); m != nil || err != nil {
			return m, err
		}
	}
	if lost := h.inexcusable(h.rig.WhatsApp.Lost()); len(lost) > 0 {
		return &lack{"I2", h.sessionOf(lost[0].From), describeLost("phone", lost)}, nil
	}
	return nil, nil //nolint:nilnil // nothing is missing, and nothing went wrong
}

func (h *Harness) unsettledMachine() (*lack, error) {
	rows, err := h.store.Connectors(h.ctx)
	if err != nil {
		return nil, fmt.Errorf("read connectors: %w", err)
	}
	for _, m := range h.machines {
		if !m.answers() {
			return &lack{"I7", "", fmt.Sprintf("connector %s does not answer", m.id)}, nil
		}
		if !slices.ContainsFunc(rows, func(c cloudstore.Connector) bool { return c.ID == m.id && c.Live && !c.Draining }) {
			return &lack{"I7", "", fmt.Sprintf("connector %s has no lease", m.id)}, nil
		}
	}
	return nil, nil //nolint:nilnil // nothing is missing, and nothing went wrong
}

func (h *Harness) unsettledLine(l *line) (*lack, error) {
	l.mu.Lock()
	session, device, waiting, linked := l.session, l.device, len(l.outbox), l.linked.Err() == nil
	l.mu.Unlock()
	owner, err := h.store.Owner(h.ctx, session)
	if err != nil {
		return nil, fmt.Errorf("read owner of %s: %w", session, err)
	}
	if !linked {
		if owner.State != "logged_out" || owner.Wanted != "closed" {
			return &lack{"I7", session, fmt.Sprintf("unlinked by its phone, but state %q, wanted %s", owner.State, owner.Wanted)}, nil
		}
		return nil, nil //nolint:nilnil // as it should be
	}
	var live, held []string
	for _, m := range h.machines {
		s, ok := m.session(session)
		if !ok || s.Epoch == 0 {
			continue
		}
		held = append(held, fmt.Sprintf("%s: epoch %d %s %s pending=%t", m.id, s.Epoch, s.State, s.Detail, s.Pending))
		if s.Epoch == owner.Epoch && m.id == owner.ConnectorID && (s.State == "connected" || s.State == "restored safely") && !s.Pending {
			live = append(live, m.id)
		}
	}
	switch {
	case len(live) != 1 || len(held) != 1:
		return &lack{"I7", session, fmt.Sprintf("owner row: %s epoch %d wanted %s state %q %s; held: %s",
			owner.ConnectorID, owner.Epoch, owner.Wanted, owner.State, owner.StateDetail, strings.Join(held, "; "))}, nil
	case waiting > 0:
		return &lack{"I2", session, fmt.Sprintf("%d messages of the application are not acknowledged", waiting)}, nil
	}
	if lost := h.inexcusable(h.rig.WhatsApp.LostBy(device)); len(lost) > 0 {
		return &lack{"I2", session, describeLost("application", lost)}, nil
	}
	return nil, nil //nolint:nilnil // nothing is missing, and nothing went wrong
}

// sessionOf names the session that a device is, or "".
func (h *Harness) sessionOf(device types.JID) string {
	for _, l := range h.lines {
		l.mu.Lock()
		session, own := l.session, l.device.Device
		l.mu.Unlock()
		if device.User == l.owner.LID().User && device.Device == own {
			return session
		}
	}
	return ""
}
