package e2e

import (
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cloudsession/connector/ownership"
	"cloudsession/infra/local/rig"
	"cloudsession/shared/cloudstore"
)

// Section 9 of the design, end to end, where the packages' own tests don't reach.

// O1: a second process is kept off the data directory, and one elsewhere can't
// have a live connector's name.
func TestO1OneProcess(t *testing.T) {
	s := newScene(t)
	a := s.paired("a")
	out, err := a.Command(s.ctx, "run").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "in use by another connector") {
		t.Errorf("a second process on one data directory: %v\n%s", err, out)
	}
	elsewhere := exec.CommandContext(s.ctx, world.Stack.ConnectorBinary(), "run")
	log := &lockedBuffer{}
	elsewhere.Env, elsewhere.Stdout, elsewhere.Stderr = append(a.Env(), "DATA_DIR="+t.TempDir()), log, log
	s.must(elsewhere.Start())
	s.wait("the namesake to be refused", func() bool { return strings.Contains(log.String(), "waiting for this connector's place") })
	s.must(elsewhere.Process.Kill())
	_ = elsewhere.Wait() // killed: that is its error
	s.talk(a)
	s.nothingLost(a)
}

// O1: a connector that was declared dead closes everything, pushes nothing, and
// ends; another one goes on.
func TestO1BuriedConnectorStops(t *testing.T) {
	s := newScene(t)
	a := s.doomed("a")
	s.must(a.Pair(s.ctx, s.session, s.owner))
	s.talk(a)
	b := s.connector("b")
	s.update("UPDATE connectors SET dead = TRUE WHERE connector_id = ?", a.ID())
	if err := a.Wait(s.ctx); err == nil || s.ctx.Err() != nil {
		t.Fatalf("the buried connector goes on, or ended as if nothing were: %v", err)
	}
	if !strings.Contains(a.Logs(), "lease was taken over") {
		t.Error("the buried connector does not say why it ended")
	}
	s.must(b.WaitState(s.ctx, s.session, "connected", "restored safely"))
	s.talk(b)
	s.nothingLost(b)
}

// O2: after an outage the first connector back buries nobody. The other's lease
// is long over, and it comes back before the first has renewed for a whole lease.
func TestO2FirstBackBuriesNobody(t *testing.T) {
	s := newScene(t)
	a := s.paired("a")
	b := s.connector("b")
	s.talk(a)
	device := s.owner.Devices()[0]
	gaps := len(world.WhatsApp.Gaps(&device))
	store := s.store()
	s.must(a.Freeze())
	// As after an outage of a minute: neither has renewed.
	s.update(`UPDATE connectors SET lease_until = NOW(6) - INTERVAL 1 MINUTE, renewed_since = NOW(6) - INTERVAL 1 HOUR
		WHERE connector_id IN (?, ?)`, a.ID(), b.ID())
	// However slow the machine, b has not renewed for a whole lease.
	justBack := func() { s.update("UPDATE connectors SET renewed_since = NOW(6) WHERE connector_id = ?", b.ID()) }
	for look := range 3 { // b is back, and looks at a's lease each time
		if look > 0 { // that it is just back is its own doing
			justBack()
		}
		row, err := store.Connector(s.ctx, b.ID())
		s.must(err)
		s.wait("the first connector to be back", func() bool {
			again, err := store.Connector(s.ctx, b.ID())
			return err == nil && again.LeaseUntil.After(row.LeaseUntil)
		})
	}
	justBack()
	s.must(a.Thaw())
	s.wait("the other to be back", func() bool {
		justBack()
		row, err := store.Connector(s.ctx, a.ID())
		if err == nil && row.Dead {
			t.Fatal("the first connector back has buried the other")
		}
		return err == nil && row.Live
	})
	s.talk(a)
	s.nothingLost(a)
	if n := len(world.WhatsApp.Gaps(&device)); n != gaps {
		t.Errorf("the session was closed %d times", n-gaps)
	}
}

// O3: when a connector dies, each of its sessions goes to the one that stands
// first for it, within the time that detecting the death takes. The dead one only
// stood still: when it comes back it closes everything and ends (O1, O8).
func TestO3FailoverByShare(t *testing.T) {
	const sessions = 4
	s := newScene(t)
	a := s.doomed("a")
	b, c := s.connector("b", "CAPACITY=100"), s.connector("c", "CAPACITY=100")
	all := []*scene{s}
	for len(all) < sessions {
		all = append(all, newScene(t))
	}
	var want []string // the connector each session is to go to
	for _, each := range all {
		each.must(a.Pair(each.ctx, each.session, each.owner))
		each.talk(a)
		var share ownership.Share
		first := b.ID()
		if len(share.Choose(0, first, 1, []ownership.Peer{{ID: b.ID(), Free: 100}, {ID: c.ID(), Free: 100}},
			[]ownership.Candidate{{SessionID: each.session}})) == 0 {
			first = c.ID()
		}
		want = append(want, first)
	}
	byID := map[string]*rig.Connector{b.ID(): b, c.ID(): c}
	began := time.Now()
	s.must(a.Freeze())
	holders := s.failedOver(a, all, b, c)
	for i, each := range all {
		holder := holders[i]
		if holder.id != want[i] && !holder.late(want[i]) {
			t.Errorf("%s is at %s, and %s was there to take it", each.session, holder.id, want[i])
		}
		each.must(byID[holder.id].WaitState(each.ctx, each.session, "connected", "restored safely"))
	}
	t.Logf("%d sessions failed over after %v", sessions, time.Since(began).Round(time.Millisecond))
	s.must(a.Thaw())
	if err := a.Wait(s.ctx); err == nil || s.ctx.Err() != nil {
		t.Errorf("the connector that had stood still goes on: %v", err)
	}
	for i, each := range all {
		each.talk(byID[holders[i].id])
		each.nothingLost(byID[holders[i].id])
	}
}

// holder is the connector that has taken a session, and what was seen meanwhile.
type holder struct {
	id          string
	free, taken time.Time
	beats       map[string]map[time.Time]bool // when connectors renewed, by TiDB's clock
}

// late tells whether a slow machine may have kept a connector from taking the
// session. It was in time if it beat twice between the session's coming free and a
// heartbeat before another one took it: then a sweep of its own lies between.
func (h holder) late(id string) bool {
	var first, last time.Time
	for at := range h.beats[id] {
		if !at.After(h.free) || !at.Before(h.taken.Add(-ownership.RenewEvery)) {
			continue
		}
		if first.IsZero() || at.Before(first) {
			first = at
		}
		if at.After(last) {
			last = at
		}
	}
	return last.Sub(first) < ownership.RenewEvery
}

// failedOver waits until each of the dead one's sessions is at one of the others.
func (s *scene) failedOver(dead *rig.Connector, all []*scene, others ...*rig.Connector) []holder {
	s.t.Helper()
	store, beats, free := s.store(), map[string]map[time.Time]bool{}, time.Time{}
	look := func(id string) cloudstore.Connector {
		row, err := store.Connector(s.ctx, id)
		s.must(err)
		return row
	}
	var holders []holder
	s.wait("the sessions to be taken", func() bool {
		if free.IsZero() && look(dead.ID()).Dead {
			free = time.Now() // TiDB's clock is this machine's
		}
		for _, c := range others {
			if beats[c.ID()] == nil {
				beats[c.ID()] = map[time.Time]bool{}
			}
			beats[c.ID()][look(c.ID()).LeaseUntil.Add(-ownership.LeaseDuration)] = true
		}
		holders = nil
		for _, each := range all {
			epochs, err := store.Epochs(s.ctx, each.session) // newest first
			s.must(err)
			if id := epochs[0].ConnectorID; id != dead.ID() {
				holders = append(holders, holder{id, free, epochs[0].StartedAt, beats})
			}
		}
		return len(holders) == len(all)
	})
	return holders
}

// O6: a target that takes the session and can't open it gives it back; the
// command says what is wrong, and the session goes on where it was, exactly.
func TestO6HandoffTargetFails(t *testing.T) {
	s := newScene(t)
	a := s.paired("a")
	b := s.connector("b", "SESSION_ENCRYPTION_SECRET="+strings.Repeat("another secret ", 3))
	s.talk(a)
	began := time.Now()
	s.restoreOn(http.StatusConflict, b.ID())
	s.waitLog(b, "code=wrong_secret")
	s.must(a.WaitState(s.ctx, s.session, "connected"))
	t.Logf("back after %v", time.Since(began).Round(time.Millisecond))
	s.talk(a)
	s.nothingLost(a)
	if strings.Contains(a.Logs(), "start=safe") {
		t.Error("the session was taken back safely, not exactly")
	}
}

// O7: a session that is the connector's by the owner row, and isn't open, is
// opened if it is wanted, and released if not.
func TestO7OwnedButNotHeld(t *testing.T) {
	s := newScene(t)
	a := s.paired("a")
	s.talk(a)
	store := s.store()
	set := func(wanted string) {
		t.Helper()
		s.must(a.Close(s.ctx, s.session))
		s.update("UPDATE session_owners SET connector_id = ?, wanted = ? WHERE session_id = ?", a.ID(), wanted, s.session)
	}
	set("open")
	s.must(a.WaitState(s.ctx, s.session, "connected"))
	s.talk(a)
	set("closed")
	s.wait("the session to be released", func() bool {
		owner, err := store.Owner(s.ctx, s.session)
		return err == nil && owner.ConnectorID == ""
	})
	opened, err := a.Open(s.ctx, s.session)
	s.must(err)
	if opened.Start != "exact" {
		t.Errorf("opened again by a start that is %s", opened.Start)
	}
	s.talk(a)
	s.nothingLost(a)
}

// doomed starts a connector that is to end by itself, or not at all.
func (s *scene) doomed(name string) *rig.Connector {
	s.t.Helper()
	id := fmt.Sprintf("%s-%d-doomed", name, world.next.Load())
	c, err := world.StartConnector(s.ctx, id, filepath.Join(world.dir, id), "GORACE=exitcode=0")
	s.must(err)
	s.t.Cleanup(func() {
		select {
		case <-c.Done():
		default:
			s.must(c.Kill9())
		}
		if s.t.Failed() {
			s.t.Logf("log of connector %s:\n%s", id, c.Logs())
		}
	})
	return c
}

// update changes rows as nobody but a test would.
func (s *scene) update(query string, args ...any) {
	s.t.Helper()
	_, err := s.database().ExecContext(s.ctx, query, args...)
	s.must(err)
}
