package e2e

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"cloudsession/connector/control"
	"cloudsession/connector/watest"
	"cloudsession/infra/local/faultproxy"
	"cloudsession/shared/cloudstore"
)

// What takes its time takes it together: each has a database of its own, in which
// nobody else looks for sessions.
func TestSelfKnowledge(t *testing.T) {
	for name, test := range map[string]func(*testing.T){
		"taken over":              takenOver,
		"temporary ban":           temporaryBan,
		"contested":               contested,
		"closed in a pause":       closedInPause,
		"closed elsewhere":        closedElsewhere,
		"unlinked without a TiDB": unlinkedWithoutDatabase,
		"unlinked with messages":  unlinkedWithMessages,
		"unlinked and deleted":    unlinkedAndDeleted,
		"linked again elsewhere":  linkedAgainElsewhere,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t)
		})
	}
}

// Connectors that lose sessions while they can't know it, all in one wait for
// the leases to run out:
//
//   - frozen: stopped past its lease, while another takes its session over.
//   - alone: the same, but nobody may take its session unasked.
//   - parted: cut from TiDB, its socket to WhatsApp open: the new owner's login
//     is what tells it.
//   - adrift: cut from TiDB, and its sessions' sockets drop. The one that others
//     may take must not come back by itself (O9); the one with manual failover does.
//
// Each closes what it lost, says why once, and leaves the session to its new
// owner for good; what nobody took goes on from the own file.
func takenOver(t *testing.T) {
	frozen := newScene(t)
	frozen.ownDatabase()
	alone, parted, adrift, manual := frozen.beside(), frozen.beside(), frozen.beside(), frozen.beside()
	a, c := frozen.paired("frozen"), alone.paired("alone")
	partedDB, env := parted.faultyDatabase()
	p := parted.paired("parted", env...)
	adriftDB, env := adrift.faultyDatabase()
	d := adrift.paired("adrift", env...)
	manual.must(d.Pair(manual.ctx, manual.session, manual.owner))
	held := map[*scene]*rigConnector{frozen: a, alone: c, parted: p, adrift: d, manual: d}
	for s, c := range held {
		s.talk(c)
		s.waitPushed(c)
	}
	for _, s := range []*scene{alone, manual} {
		s.exec(s.database(), "UPDATE session_owners SET failover = 'manual' WHERE session_id = ?")
	}
	frozen.waitFailoverKnown(d, manual)

	frozen.must(a.Freeze())
	alone.must(c.Freeze())
	partedDB.Set(faultproxy.Fault{Cut: true})
	adriftDB.Set(faultproxy.Fault{Cut: true})
	refusals := []*watest.Rule{adrift.refuseLogins(503), manual.refuseLogins(503)}
	b := frozen.connector("taker")

	// The lease of adrift has run out: without TiDB its session stays away, the
	// other comes back.
	adrift.waitDetail(d, "lease has run out")
	logins := world.WhatsApp.Device(adrift.device()).Logins
	for _, r := range refusals {
		r.Remove()
	}
	manual.must(d.WaitState(manual.ctx, manual.session, "connected"))
	manual.talk(d)

	for _, s := range []*scene{frozen, parted, adrift} {
		s.must(b.WaitState(s.ctx, s.session, "restored safely"))
		if mine := s.mine(b); mine.Start != "safe" {
			t.Errorf("%s: takeover starts %q, want safe", s.session, mine.Start)
		}
		s.talk(b)
	}
	if n := world.WhatsApp.Device(adrift.device()).Logins; n != logins+1 {
		t.Errorf("%d logins of the session adrift since it was cut, want the taker's alone", n-logins)
	}

	// The new owner's login told parted that it is over, and nothing else could.
	parted.must(p.WaitState(parted.ctx, parted.session, "lost"))
	parted.waitLog(p, "session lost") // which comes after the state
	parted.saidOnce(p, "session lost")
	if mine := parted.mine(p); !strings.Contains(mine.Detail, "lease has run out") {
		t.Errorf("parted says %+v", mine)
	}
	if files := parted.asideFiles(p.DataDir()); len(files) != 1 {
		t.Errorf("parted has set aside %v, want its one file", files)
	}

	// Back among the living, each finds its place taken and ends.
	frozen.must(errors.Join(a.Thaw(), c.Thaw()))
	partedDB.Set(faultproxy.Fault{})
	adriftDB.Set(faultproxy.Fault{})
	for _, c := range []*rigConnector{a, c, p, d} {
		frozen.endsItself(c)
	}

	// Started again they leave alone what is another's, and go on with what is theirs.
	a = frozen.connectorIn(a.ID(), a.DataDir())
	c = alone.connectorIn(c.ID(), c.DataDir())
	d = adrift.connectorIn(d.ID(), d.DataDir())
	for s, c := range map[*scene]*rigConnector{alone: c, manual: d} {
		s.must(c.WaitState(s.ctx, s.session, "connected"))
		if mine := s.mine(c); mine.Start != "own-file" {
			t.Errorf("%s: started %q, want from the own file", s.session, mine.Start)
		}
		s.talk(c)
		s.nothingLost(c)
	}
	if _, err := a.Open(frozen.ctx, frozen.session); err == nil || !strings.Contains(err.Error(), "held by another connector") {
		t.Errorf("the thawed connector, asked for the session: %v", err)
	}
	for _, s := range []*scene{frozen, parted, adrift} {
		s.talk(b)
		s.nothingLost(b)
		if n := world.WhatsApp.Device(s.device()).Sockets; n != 1 {
			t.Errorf("%s: %d sockets", s.session, n)
		}
	}
}

// A freeze that nobody noticed is none: the session goes on.
func TestShortFreeze(t *testing.T) {
	s := newScene(t)
	c := s.paired("c")
	s.talk(c)
	epoch := s.mine(c).Epoch
	s.must(c.Freeze())
	text := s.peerWrites()
	s.must(c.Thaw())
	_, err := c.WaitText(s.ctx, s.session, text)
	s.must(err)
	s.talk(c)
	if mine := s.mine(c); mine.Epoch != epoch || mine.State != "connected" {
		t.Errorf("after a short freeze: %+v, was at epoch %d", mine, epoch)
	}
	s.nothingLost(c)
}

// What WhatsApp says of a session that ends: nobody fails it over, the status
// and the log say why and what to do, and a person brings it back.
func TestEndsOfASession(t *testing.T) {
	for _, end := range []struct {
		refusal watest.Refusal
		state   string
		detail  string
		level   slog.Level
	}{
		{watest.Refusal{Reason: 405}, "outdated", "update the connector", slog.LevelError},
		{watest.Refusal{Reason: 409, Message: "no"}, "refused", "409", slog.LevelWarn},
		{watest.Refusal{Reason: 499}, "refused", "499", slog.LevelWarn},
		{watest.Refusal{Reason: 401}, "logged_out", "connector pair", slog.LevelWarn},
	} {
		t.Run(fmt.Sprint(end.refusal.Reason), func(t *testing.T) {
			s := newScene(t)
			c := s.paired("c")
			s.talk(c)
			device := s.device()
			rule := world.WhatsApp.Faults().RefuseLogins(&device, end.refusal)
			world.WhatsApp.Faults().Cut(&device)
			s.waitStatus(`"state":"`+end.state+`"`, `"stateDetail":"`, end.detail)
			s.waitLog(c, fmt.Sprintf(`level=%s msg="session has ended"`, end.level))
			s.waitOwner("wanted = 'closed' AND connector_id IS NULL")
			if n := rule.Hits(); n != 1 {
				t.Errorf("%d attempts, want one", n)
			}
			s.must(c.Stop(stopTime))
			s.waitStatus(`"state":"` + end.state + `"`) // and so it stays

			other := s.connector("other")
			resp := s.answer(http.MethodPost, s.path("/restore"), nil)
			switch {
			case resp.Status == http.StatusOK: // a slow WhatsApp was not waited for
				s.wait("the session to be refused again", func() bool { return rule.Hits() > 1 })
				s.waitStatus(`"state":"` + end.state + `"`)
			case resp.Status != http.StatusConflict || !strings.Contains(string(resp.Body), `"code":"`+end.state+`"`):
				t.Errorf("restore while it lasts: %d %s", resp.Status, resp.Body)
			}
			rule.Remove()
			s.restore()
			s.must(other.WaitState(s.ctx, s.session, "connected", "restored safely"))
			s.talk(other)
			s.nothingLost(other)
		})
	}
}

// During a temporary ban nobody connects, whoever asks; afterwards a connector
// does by itself.
func temporaryBan(t *testing.T) {
	s := newScene(t)
	s.ownDatabase()
	c := s.paired("c")
	s.talk(c)
	s.waitPushed(c)
	device := s.device()
	rule := world.WhatsApp.Faults().RefuseLogins(&device, watest.Refusal{Reason: 402, Code: 101, Expire: time.Hour})
	world.WhatsApp.Faults().Cut(&device)
	s.waitStatus(`"state":"banned"`, "connects again after that")
	rule.Remove()
	logins := world.WhatsApp.Device(device).Logins
	s.waitOwner("wanted = 'open' AND connector_id IS NULL AND not_before > NOW(6) + INTERVAL 30 MINUTE")
	s.must(c.Stop(stopTime)) // what it knows is not in its memory alone
	other := s.connector("other")
	if _, err := other.Open(s.ctx, s.session); err == nil || !strings.Contains(err.Error(), "banned") {
		t.Errorf("opened during the ban: %v", err)
	}
	if n := world.WhatsApp.Device(device).Logins; n != logins {
		t.Errorf("%d logins during the ban", n-logins)
	}
	s.exec(s.database(), "UPDATE session_owners SET not_before = NOW(6) WHERE session_id = ?") // an hour later
	s.must(other.WaitState(s.ctx, s.session, "connected"))
	s.talk(other)
	s.nothingLost(other)
}

// A session that isn't open because its connector is about to try again can be closed
// by hand, and then nobody tries any more.
func closedInPause(t *testing.T) {
	s := newScene(t)
	s.ownDatabase()
	c := s.paired("c")
	s.talk(c)
	device := s.device()
	if n := world.WhatsApp.Faults().Replace(&device); n != 1 {
		t.Fatalf("%d sockets", n)
	}
	s.must(c.WaitState(s.ctx, s.session, "replaced"))
	s.must(c.Close(s.ctx, s.session))
	closed := "wanted = 'closed' AND connector_id IS NULL AND reserved_for IS NULL"
	s.waitOwner(closed)
	if err := c.Close(s.ctx, s.session); err == nil || !strings.Contains(err.Error(), "not open") {
		t.Errorf("closed twice: %v", err)
	}
	s.must(c.Stop(stopTime))
	other := s.connector("other")
	_, err := other.Open(s.ctx, s.session)
	s.must(err)
	s.talk(other)
	s.nothingLost(other)

	rule := world.WhatsApp.Faults().RefuseLogins(&device, watest.Refusal{Reason: 402, Code: 101, Expire: time.Hour})
	world.WhatsApp.Faults().Cut(&device)
	s.waitStatus(`"state":"banned"`)
	rule.Remove()
	s.waitOwner("wanted = 'open' AND connector_id IS NULL")
	s.must(other.Close(s.ctx, s.session))
	s.waitOwner(closed + " AND state = 'banned' AND state_detail NOT LIKE '%connects again%' AND not_before > NOW(6)")
}

// One that no connector has is closed on any other: kept for one that was stopped, or
// left by one that is dead.
func closedElsewhere(t *testing.T) {
	s := newScene(t)
	s.ownDatabase()
	c := s.paired("c")
	s.talk(c)
	s.must(c.Stop(stopTime))
	s.waitOwner("wanted = 'open' AND reserved_for IS NOT NULL")
	const closed = "wanted = 'closed' AND connector_id IS NULL"
	other := s.connector("other")
	s.must(other.Close(s.ctx, s.session))
	s.waitOwner(closed)

	_, err := other.Open(s.ctx, s.session)
	s.must(err)
	s.talk(other)
	s.update("UPDATE session_owners SET failover = 'manual' WHERE session_id = ?", s.session)
	third := s.connector("third")
	if err := third.Close(s.ctx, s.session); err == nil || !strings.Contains(err.Error(), "not open") {
		t.Errorf("closed while another one has it: %v", err)
	}
	s.must(other.Kill9())
	s.wait("the dead connector's session to be closed", func() bool { return third.Close(s.ctx, s.session) == nil })
	s.waitOwner(closed)
	_, err = third.Open(s.ctx, s.session)
	s.must(err)
	s.talk(third)
	s.nothingLost(third)
}

// A fight over the keys is given up after a while, and stays given up: another
// connector doesn't go on with it.
func contested(t *testing.T) {
	s := newScene(t)
	s.ownDatabase()
	c := s.paired("c")
	s.talk(c)
	s.contend(c)
	s.waitStatus(`"state":"contested"`, "stop it, then restore the session")
	s.waitOwner("wanted = 'closed' AND connector_id IS NULL")
	_, err := c.Open(s.ctx, s.session)
	s.must(err)
	s.startsSafely(c)
	s.nothingLost(c)
}

// contend has a clone log in until the connector gives the session up.
func (s *scene) contend(c *rigConnector) {
	s.t.Helper()
	device := s.device()
	for round := 1; ; round++ {
		epoch := s.mine(c).Epoch
		if n := world.WhatsApp.Faults().Replace(&device); n != 1 {
			s.t.Fatalf("round %d: %d sockets", round, n)
		}
		var mine control.Session
		s.wait("the session to be taken again, or given up", func() bool {
			mine = s.mine(c)
			again := mine.State == "connected" || mine.State == "restored safely"
			return mine.State == "contested" || again && mine.Epoch > epoch
		})
		if mine.State == "contested" {
			if round < 2 {
				s.t.Error("given up at once")
			}
			return
		}
	}
}

// The phone unlinks the device while TiDB is away: the end is written when it is
// back, the session is free, and nobody has failed it over.
func unlinkedWithoutDatabase(t *testing.T) {
	s := newScene(t)
	s.ownDatabase()
	db, env := s.faultyDatabase()
	c := s.paired("c", env...)
	s.talk(c)
	s.waitPushed(c)
	s.waitStatus(`"state":"connected"`)
	db.Set(faultproxy.Fault{Cut: true})
	s.must(s.owner.Unlink(s.ctx, s.device()))
	s.must(c.WaitState(s.ctx, s.session, "logged_out"))
	s.waitLog(c, "close session") // it could not be sealed or released
	if body := s.status(); !strings.Contains(body, `"state":"connected"`) {
		t.Errorf("as far as the database knows: %s", body)
	}
	db.Set(faultproxy.Fault{})
	s.waitStatus(`"state":"logged_out"`, "connector pair")
	s.waitOwner("wanted = 'closed' AND connector_id IS NULL")
	s.saidOnce(c, "session has ended")
}

// What the application has not taken of a session that ends while TiDB is away was acknowledged to WhatsApp, and nobody
// opens the session again: it is pushed and delivered once TiDB is back.
func unlinkedWithMessages(t *testing.T) {
	s := newScene(t)
	s.ownDatabase()
	app := s.application()
	db, env := s.faultyDatabase()
	c := s.paired("c", append(env, app.Env()...)...)
	s.talk(c)
	s.waitPushed(c)
	app.Answer(http.StatusServiceUnavailable)
	db.Set(faultproxy.Fault{Cut: true})
	texts := s.writes(s.peer, "peer", 1, 3)
	s.waitAcknowledged()
	s.must(s.owner.Unlink(s.ctx, s.device()))
	s.waitLog(c, "close session") // it could not be sealed or released
	app.Answer(0)
	db.Set(faultproxy.Fault{})
	s.must(app.WaitTexts(s.ctx, texts...))
	s.waitOwner("wanted = 'closed' AND connector_id IS NULL AND state = 'logged_out'")
	var sealed int
	const ended = "SELECT COUNT(*) FROM session_segments s JOIN session_owners o USING (session_id) WHERE session_id = ? AND s.epoch = o.epoch AND kind = 'seal'"
	s.must(s.database().QueryRowContext(s.ctx, ended, s.session).Scan(&sealed))
	if sealed != 1 {
		t.Error("the log of the session was left without a seal")
	}
}

// So is what it has not taken of a session whose copy in the cloud was deleted: the file is the only one that has it.
func unlinkedAndDeleted(t *testing.T) {
	s := newScene(t)
	s.ownDatabase()
	app := s.application()
	c := s.paired("c", app.Env()...)
	s.talk(c)
	s.waitPushed(c)
	store, err := cloudstore.Open(s.storeConfig())
	s.must(err)
	s.must(errors.Join(store.DeleteSession(s.ctx, s.session), store.Close()))
	s.says(c) // its push finds the copy gone
	s.waitLog(c, "goes on locally")
	app.Answer(http.StatusServiceUnavailable)
	texts := s.writes(s.peer, "peer", 1, 3)
	s.waitAcknowledged()
	s.must(s.owner.Unlink(s.ctx, s.device()))
	s.must(c.WaitState(s.ctx, s.session, "logged_out"))
	s.waitOwner("wanted = 'rest' AND backup = 'off'")
	app.Answer(0)
	s.must(app.WaitTexts(s.ctx, texts...))
	s.waitOwner("wanted = 'closed' AND state = 'logged_out'")
}

// The end of a session is the end of one term: linked again on another connector
// that dies, it is taken over by the one on which it had ended.
func linkedAgainElsewhere(t *testing.T) {
	s := newScene(t)
	s.ownDatabase()
	c := s.paired("c")
	s.talk(c)
	s.must(s.owner.Unlink(s.ctx, s.device()))
	s.waitOwner("wanted = 'closed' AND connector_id IS NULL AND state = 'logged_out'")
	other := s.connector("other")
	s.must(other.Pair(s.ctx, s.session, s.owner))
	s.talk(other)
	s.waitPushed(other)
	s.must(other.Kill9())
	s.startsSafely(c)
	s.nothingLost(c)
}
