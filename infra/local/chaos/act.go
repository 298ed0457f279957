package chaos

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"time"

	"cloudsession/infra/local/faultproxy"
	"cloudsession/infra/local/sqsemu"
)

// limit is how long what an operator asks for may take, on a busy machine.
const limit = 3 * time.Minute

// act carries out one action of the schedule. What can't be done, since another
// action has the machine, is skipped and counted.
func (h *Harness) act(a Action) {
	h.note("%v", a.line())
	done, err := h.perform(a)
	h.mu.Lock()
	if done {
		h.count.faults++
		h.count.kinds[a.Kind]++
	} else {
		h.count.skipped++
	}
	h.mu.Unlock()
	switch {
	case err != nil && h.ctx.Err() == nil:
		if v := (*Violation)(nil); !errors.As(err, &v) {
			err = fmt.Errorf("%s: %w", a.Kind, err)
		}
		h.fail(err)
	case !done:
		h.note("skipped: %v", a.line())
	}
}

// line is the action without its time, which the journal has.
func (a Action) line() string { return a.String()[len("123456s "):] }

func (h *Harness) perform(a Action) (done bool, err error) {
	m, l := h.machines[a.Machine%len(h.machines)], h.lines[a.Line%len(h.lines)]
	switch a.Kind {
	case KillSame, KillEmpty, KillOld, KillPast, Stop:
		return h.restart(a, m)
	case Freeze:
		return h.freezeFor(a, m)
	case Drain:
		return h.drain(a, m)
	case Cut, Silence, Part, Slow:
		h.link(a, m)
		return true, nil
	case LoseEnds:
		m.ends.loseAnswers()
		pause(h.ctx, a.For)
		m.ends.stop()
		return true, nil
	case LateWrite:
		m.ends.holdWrites()
		pause(h.ctx, a.For)
		m.ends.stop()
		return true, nil
	case ClockStep:
		if !h.opt.Clocks {
			return false, nil
		}
		if a.Step.Abs() > time.Hour {
			h.daysOff.Store(true)
		}
		return true, m.clock.set(a.Step)
	case AppAway:
		h.app.away.Add(1)
		pause(h.ctx, a.For)
		h.app.away.Add(-1)
		return true, nil
	case QueueOdd:
		h.queueOdd(a)
		return true, nil
	default:
		return h.performOnLine(a, m, l)
	}
}

func (h *Harness) performOnLine(a Action, m *machine, l *line) (done bool, err error) {
	l.mu.Lock()
	session, device, linked := l.session, l.device, l.linked.Err() == nil
	l.mu.Unlock()
	if !linked {
		return false, nil
	}
	faults := h.rig.WhatsApp.Faults()
	switch a.Kind {
	case SocketEnd:
		return faults.Cut(&device) > 0, nil
	case Clone:
		return faults.Replace(&device) > 0, nil
	case LoseAcks:
		rule := faults.LoseAcks(&device)
		pause(h.ctx, a.For)
		rule.Remove()
		return rule.Hits() > 0, nil
	case HoldIn:
		rule := faults.Hold(&device, toDevice, isMessage)
		pause(h.ctx, a.For)
		rule.Remove()
		return rule.Hits() > 0, nil
	case Sync:
		return true, h.call(l, session, "/sync", nil)
	case Restore:
		return true, h.call(l, session, "/restore", nil)
	case MoveTo:
		return true, h.call(l, session, "/restore", map[string]string{"connector": m.id})
	case Delete:
		return true, h.deleteAndSync(a, l, session)
	case Duplicate:
		return h.duplicate(session)
	case Unlink:
		return true, l.unlinkDevice(h.ctx)
	case CloseOpen:
		return h.closeAndOpen(a, session)
	default:
		return false, fmt.Errorf("unknown kind of action %q", a.Kind)
	}
}

// restart ends a machine's process, does something to its disk and starts it
// again.
func (h *Harness) restart(a Action, m *machine) (bool, error) {
	if !m.op.TryLock() {
		return false, nil
	}
	defer m.op.Unlock()
	snapshot := ""
	if a.Kind == KillOld || a.Kind == KillPast {
		snapshot = filepath.Join(h.dir, "copies", fmt.Sprintf("%s-%d", m.id, h.copies.Add(1)))
		if err := m.copyDisk(snapshot); err != nil {
			return false, err
		}
		pause(h.ctx, a.For)
	}
	var err error
	if a.Kind == Stop {
		err = m.stop()
	} else {
		err = m.kill()
	}
	if err != nil {
		return false, err
	}
	switch a.Kind {
	case KillEmpty:
		m.lostDisk()
		err = m.erase()
	case KillOld, KillPast:
		m.lostDisk()
		err = m.putBack(snapshot)
	default:
	}
	if err != nil {
		return false, err
	}
	switch a.Kind {
	case KillOld:
	case KillPast:
		pause(h.ctx, a.Away)
	default:
		pause(h.ctx, a.For)
	}
	if h.ctx.Err() != nil {
		return true, nil
	}
	h.note("machine %s: started again", m.id)
	return true, m.start()
}

func (h *Harness) freezeFor(a Action, m *machine) (bool, error) {
	if !m.op.TryLock() {
		return false, nil
	}
	defer m.op.Unlock()
	if err := m.freeze(true); err != nil {
		return false, err
	}
	pause(h.ctx, a.For)
	h.note("machine %s: thawed", m.id)
	return true, m.freeze(false)
}

// drain runs `connector drain`, waits, and starts the connector again, which
// ends the drain.
func (h *Harness) drain(a Action, m *machine) (bool, error) {
	if !m.op.TryLock() {
		return false, nil
	}
	defer m.op.Unlock()
	m.mu.Lock()
	p := m.proc
	m.mu.Unlock()
	if p == nil {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(h.ctx, limit)
	defer cancel()
	out, err := p.Command(ctx, "drain").CombinedOutput()
	h.note("machine %s: drain: %v %.200s", m.id, err, out)
	pause(h.ctx, a.For)
	if err := m.stop(); err != nil || h.ctx.Err() != nil {
		return true, err
	}
	return true, m.start()
}

// link breaks one of a machine's links for a while.
func (h *Harness) link(a Action, m *machine) {
	f := faultproxy.Fault{Seed: h.current.Seed}
	switch a.Kind {
	case Cut:
		f.Cut = true
	case Silence:
		f.Swallow = faultproxy.Both
	case Part:
		f.Hold = faultproxy.Both
	default:
		f.Latency, f.Jitter = 150*time.Millisecond, 500*time.Millisecond
	}
	m.links[a.Link].Set(f)
	pause(h.ctx, a.For)
	m.links[a.Link].Set(faultproxy.Fault{})
	h.note("machine %s: link to %s mended", m.id, a.Link)
}

// queueOdd makes SQS refuse one call in three and lose one answer in three.
func (h *Harness) queueOdd(a Action) {
	queue := h.rig.Stack.Queue()
	queue.SetFault(func(string) sqsemu.Fault {
		return []sqsemu.Fault{sqsemu.NoFault, sqsemu.Refuse, sqsemu.LoseAnswer}[h.queueCalls.Add(1)%3]
	})
	pause(h.ctx, a.For)
	queue.SetFault(nil)
}

// call makes a request as the application's operator would, and takes any
// answer that the contract has for a system under such faults.
func (h *Harness) call(l *line, session, what string, body any) error {
	resp, err := h.rig.API(h.ctx, http.MethodPost, "/cloud/sessions/"+url.PathEscape(session)+what, body)
	if err != nil {
		if h.ctx.Err() != nil {
			return nil
		}
		return err
	}
	h.note("POST %s of %s: %d %.200s", what, session, resp.Status, resp.Body)
	switch resp.Status {
	case http.StatusOK, http.StatusAccepted, http.StatusConflict, http.StatusServiceUnavailable:
		return nil
	case http.StatusNotFound:
		if h.current.deletes(l.number) {
			return nil
		}
	}
	return h.violation("I7", session, "POST %s: answered %d %s", what, resp.Status, resp.Body)
}

// closeAndOpen closes a session where it is held and opens it somewhere.
func (h *Harness) closeAndOpen(a Action, session string) (bool, error) {
	closed := false
	for _, m := range h.machines {
		if s, ok := m.session(session); ok && s.Epoch != 0 {
			ctx, cancel := context.WithTimeout(h.ctx, limit)
			closed = m.client.Close(ctx, session) == nil || closed
			cancel()
		}
	}
	if !closed {
		return false, nil
	}
	pause(h.ctx, a.For)
	return true, h.reopen(session)
}

// reopen asks every connector in turn to open a session until one does or the
// sweep of one has it.
func (h *Harness) reopen(session string) error {
	for end := time.Now().Add(limit); time.Now().Before(end); {
		for _, m := range h.machines {
			ctx, cancel := context.WithTimeout(h.ctx, time.Minute)
			_, err := m.client.Open(ctx, session)
			cancel()
			if err == nil || h.ctx.Err() != nil {
				return nil
			}
		}
		if !pause(h.ctx, 500*time.Millisecond) {
			return nil
		}
	}
	return h.violation("I7", session, "closed by its operator, and no connector opens it again within %v", limit)
}

// duplicate sends the message of a session's newest command again, as SQS may.
func (h *Harness) duplicate(session string) (bool, error) {
	return h.sendAgain(h.ctx, session)
}
