package e2e

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"cloudsession/infra/local/rig"
	"cloudsession/shared/cloudstore"
)

// restoreOn asks for the session on a named connector and wants this status.
func (s *scene) restoreOn(status int, connector string) string {
	s.t.Helper()
	return s.callWith(status, http.MethodPost, "/restore", map[string]string{"connector": connector})
}

// gap is how long the session's device was nobody's the last time.
func (s *scene) gap() time.Duration {
	s.t.Helper()
	device := s.owner.Devices()[0]
	gaps := world.WhatsApp.Gaps(&device)
	if len(gaps) == 0 {
		s.t.Fatal("the device was somebody's all the time")
	}
	last := gaps[len(gaps)-1]
	return last.Until.Sub(last.From)
}

// O6: a restore onto a named connector moves a live session there, exactly, and
// quickly, whatever is being said meanwhile.
func TestO6Handoff(t *testing.T) {
	s := newScene(t)
	a := s.paired("a")
	b := s.connector("b")
	s.talk(a)
	traffic := world.StartTraffic(s.ctx, rig.TrafficOptions{
		Session: s.session, Owner: s.owner, Peer: s.peer, Every: 50 * time.Millisecond,
		Connectors: func() []*rig.Connector { return []*rig.Connector{a, b} },
	})
	for _, to := range []*rig.Connector{b, a, b} {
		began := time.Now()
		s.restoreOn(http.StatusOK, to.ID())
		t.Logf("handed over to %s in %v, nobody was the device for %v", to.ID(), time.Since(began).Round(time.Millisecond), s.gap().Round(time.Millisecond))
	}
	s.must(traffic.Stop())
	s.must(traffic.Account(s.ctx, b))
	s.nothingLost(b)
	for _, c := range []*rig.Connector{a, b} {
		if strings.Contains(c.Logs(), "start=safe") {
			t.Errorf("connector %s took the session safely, not exactly", c.ID())
		}
	}
}

// A target that can't have the session is refused before anything is closed.
func TestO6HandoffRefused(t *testing.T) {
	s := newScene(t)
	a := s.paired("a")
	full := s.connector("full", "CAPACITY=1")
	other := newScene(t)
	other.must(full.Pair(other.ctx, other.session, other.owner))
	draining := s.connector("draining")
	if out, err := draining.Command(s.ctx, "drain").CombinedOutput(); err != nil {
		t.Fatalf("drain: %v\n%s", err, out)
	}
	dead := s.connector("dead")
	s.must(dead.Stop(stopTime))

	device := s.owner.Devices()[0]
	gaps := len(world.WhatsApp.Gaps(&device)) // one, after pairing
	store := s.store()
	s.wait("the full connector's row to show it", func() bool {
		row, err := store.Connector(s.ctx, full.ID())
		return err == nil && row.Sessions == 1
	})
	for connector, code := range map[string]string{
		full.ID(): "no_capacity", draining.ID(): "connector_draining", dead.ID(): "connector_not_live", "nobody": "connector_not_live",
	} {
		if body := s.restoreOn(http.StatusConflict, connector); !strings.Contains(body, code) {
			t.Errorf("restore onto %s: %s, want code %s", connector, body, code)
		}
	}
	if n := len(world.WhatsApp.Gaps(&device)); n != gaps {
		t.Errorf("the session was closed %d times for connectors that could not have it", n-gaps)
	}
	s.talk(a)
	if out, err := draining.Command(s.ctx, "drain", "--stop").CombinedOutput(); err != nil {
		t.Fatalf("drain --stop: %v\n%s", err, out)
	}
	s.restoreOn(http.StatusOK, draining.ID())
	s.talk(draining)
}

// A knock that is lost costs a heartbeat, not the command.
func TestO6HandoffWithoutQueue(t *testing.T) {
	s := newScene(t)
	a := s.paired("a", "AWS_ENDPOINT_URL_SQS=http://127.0.0.1:1")
	b := s.connector("b", "AWS_ENDPOINT_URL_SQS=http://127.0.0.1:1")
	s.talk(a)
	s.restoreOn(http.StatusOK, b.ID())
	t.Logf("without a queue nobody was the device for %v", s.gap().Round(time.Millisecond))
	s.talk(b)
	s.nothingLost(b)
}

// A target that dies with the session on its way to it: the command says so, and
// the session comes back.
func TestO6HandoffTargetDies(t *testing.T) {
	s := newScene(t)
	a := s.paired("a")
	b := s.connector("b")
	s.talk(a)
	s.must(b.Freeze())
	began := time.Now()
	resp, err := world.API(s.ctx, http.MethodPost, s.path("/restore"), map[string]string{"connector": b.ID()})
	s.must(err)
	if resp.Status == http.StatusOK {
		t.Errorf("restored on a connector that stands still: %s", resp.Body)
	}
	s.must(b.Kill9())
	s.must(a.WaitState(s.ctx, s.session, "connected", "restored safely"))
	t.Logf("answer %d; back after %v", resp.Status, time.Since(began).Round(time.Millisecond))
	s.talk(a)
	s.nothingLost(a)
	if strings.Contains(a.Logs(), "start=safe") {
		t.Error("the session was taken back safely, not exactly")
	}
}

// drain drains a connector until no more than these sessions are open there, and
// reports how often that was tried and what was said the last time. One that can be
// moved stays if closing it takes a slow machine too long.
func (s *scene) drain(c *rig.Connector, left int) (out string, tries int) {
	s.t.Helper()
	for tries = 1; ; tries++ {
		b, err := c.Command(s.ctx, "drain").CombinedOutput()
		if out = string(b); strings.Contains(out, fmt.Sprintf(", %d open here", left)) && (err != nil) == (left > 0) {
			return out, tries
		}
		if err == nil || !strings.Contains(out, "stay open here") || s.ctx.Err() != nil {
			s.t.Fatalf("drain: %v\n%s", err, out)
		}
		s.t.Logf("to be drained again:\n%s", out)
		s.pause()
	}
}

// Rolling restart: with a drain before each stop, everything that is said
// meanwhile arrives, once, and nobody waits for long.
func TestRollingRestart(t *testing.T) {
	s := newScene(t)
	a := s.paired("a")
	b := s.connector("b")
	device := s.owner.Devices()[0]
	s.talk(a)
	before, drains := len(world.WhatsApp.Gaps(&device)), 0
	var both sync.Mutex
	current := []*rig.Connector{a, b}
	traffic := world.StartTraffic(s.ctx, rig.TrafficOptions{
		Session: s.session, Owner: s.owner, Peer: s.peer, Every: 50 * time.Millisecond,
		Connectors: func() []*rig.Connector {
			both.Lock()
			defer both.Unlock()
			return []*rig.Connector{current[0], current[1]}
		},
	})
	for i := range current {
		c := current[i]
		out, tries := s.drain(c, 0)
		t.Logf("%s", out)
		if drains += tries; tries == 1 && !strings.Contains(out, "moved 1, ") {
			t.Fatalf("drain:\n%s", out)
		}
		s.must(c.Stop(stopTime))
		again := s.connectorIn(c.ID(), c.DataDir())
		both.Lock()
		current[i] = again
		both.Unlock()
		if row, err := s.store().Connector(s.ctx, c.ID()); err != nil || row.Draining || !row.Live {
			t.Errorf("after its restart: %+v, %v", row, err)
		}
	}
	s.must(traffic.Stop())
	s.must(traffic.Account(s.ctx, current[0]))
	s.nothingLost(current[0])
	gaps := world.WhatsApp.Gaps(&device)[before:]
	for _, g := range gaps {
		t.Logf("nobody was the device for %v", g.Until.Sub(g.From).Round(time.Millisecond))
	}
	if drains == 2 && len(gaps) != 2 {
		t.Errorf("the session moved %d times, want twice: the restarts themselves must not touch it", len(gaps))
	}
}

// A drain that is interrupted leaves every session open on one connector or the
// other; another one goes on.
func TestDrainInterrupted(t *testing.T) {
	s := newScene(t)
	a, b := s.connector("a"), s.connector("b")
	all := []*scene{s, newScene(t), newScene(t), newScene(t), newScene(t), newScene(t)}
	for _, each := range all {
		each.must(a.Pair(each.ctx, each.session, each.owner))
	}
	out := &lockedBuffer{}
	drain := a.Command(s.ctx, "drain")
	drain.Stdout, drain.Stderr = out, out
	s.must(drain.Start())
	s.wait("the first session to move", func() bool { return strings.Contains(out.String(), "→") })
	s.must(drain.Process.Signal(os.Interrupt))
	if err := drain.Wait(); err == nil && !strings.Contains(out.String(), "moved 6") {
		t.Errorf("an interrupted drain succeeded:\n%s", out)
	} else if err != nil && !strings.Contains(out.String(), "goes on draining") && !strings.Contains(out.String(), "stay open here") {
		t.Errorf("an interrupted drain does not say what is left: %v\n%s", err, out)
	}
	s.drain(a, 0)
	for _, each := range all {
		each.talk(b)
		each.nothingLost(b)
	}
	if strings.Contains(b.Logs(), "start=safe") {
		t.Error("a session was taken safely, not exactly")
	}
}

// The connector dies in the middle of its drain, with sessions in every step of a
// handover: each is taken, nothing is lost.
func TestDrainKilled(t *testing.T) {
	s := newScene(t)
	a, b := s.doomed("a"), s.connector("b")
	all := []*scene{s, newScene(t), newScene(t), newScene(t), newScene(t), newScene(t)}
	for _, each := range all {
		each.must(a.Pair(each.ctx, each.session, each.owner))
		each.talk(a)
	}
	out := &lockedBuffer{}
	drain := a.Command(s.ctx, "drain")
	drain.Stdout, drain.Stderr = out, out
	s.must(drain.Start())
	s.wait("the first session to move", func() bool { return strings.Contains(out.String(), "→") })
	s.must(a.Kill9())
	if err := drain.Wait(); err == nil && !strings.Contains(out.String(), "moved 6") {
		t.Errorf("a drain succeeded whose connector was killed:\n%s", out)
	}
	db := s.database()
	for _, each := range all {
		// What was ordered of the dead one is done by another, who may open the session again.
		each.wait("the commands to be finished", func() bool {
			var n int
			each.must(db.QueryRowContext(each.ctx, "SELECT COUNT(*) FROM commands WHERE session_id = ? AND state IN ('queued', 'running')", each.session).Scan(&n))
			return n == 0
		})
		each.must(b.WaitState(each.ctx, each.session, "connected", "restored safely"))
		each.talk(b)
		each.nothingLost(b)
	}
	t.Logf("before the end: %s", out)
}

// What a drain can't move stays open, and the command says why.
func TestDrainLeavesWhatItMust(t *testing.T) {
	s := newScene(t)
	a := s.paired("a")
	out, err := a.Command(s.ctx, "drain").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "no other live connector") && !strings.Contains(string(out), "no live connector has room") {
		t.Fatalf("drain without anybody else: %v\n%s", err, out)
	}
	b := s.connector("b", "CAPACITY=1")
	manual, off := newScene(t), newScene(t)
	for _, other := range []*scene{manual, off} {
		if _, err := a.Command(s.ctx, "open", other.session).CombinedOutput(); err == nil {
			t.Error("a draining connector opened a session")
		}
	}
	if out, err := a.Command(s.ctx, "drain", "--stop").CombinedOutput(); err != nil {
		t.Fatalf("drain --stop: %v\n%s", err, out)
	}
	for _, other := range []*scene{manual, off} {
		other.must(a.Pair(other.ctx, other.session, other.owner))
	}
	s.must(s.store().SetFailover(s.ctx, manual.session, cloudstore.FailoverManual))
	off.call(http.StatusOK, http.MethodDelete, "")

	said, tries := s.drain(a, 2)
	want := []string{
		manual.session + " stays: its failover is manual", off.session + " stays: it is not backed up", "2 of its sessions stay open here",
	}
	if tries == 1 {
		want = append(want, s.session+" → "+b.ID(), "moved 1, 2 open here")
	}
	for _, text := range want {
		if !strings.Contains(said, text) {
			t.Errorf("drain says nothing of %q:\n%s", text, said)
		}
	}
	s.must(b.WaitState(s.ctx, s.session, "connected", "restored safely"))
	manual.talk(a)
	off.talk(a)
	s.talk(b)
}

// store opens TiDB beside the connectors.
func (s *scene) store() *cloudstore.Store {
	s.t.Helper()
	db, err := cloudstore.Open(world.Stack.StoreConfig())
	s.must(err)
	s.t.Cleanup(func() {
		if err := db.Close(); err != nil {
			s.t.Error(err)
		}
	})
	return db
}

// wait polls until the condition holds.
func (s *scene) wait(what string, condition func() bool) {
	s.t.Helper()
	for !condition() {
		select {
		case <-s.ctx.Done():
			s.t.Fatalf("waited in vain for %s", what)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
