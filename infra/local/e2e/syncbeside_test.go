package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"cloudsession/infra/local/faultproxy"
	"cloudsession/infra/local/rig"
	"cloudsession/shared/cloudstore"
)

// gate stands between a connector and TiDB and holds its pushes.
type gate struct {
	mu      sync.Mutex
	open    chan struct{} // closed: pushes pass
	held    chan struct{} // a push came to the gate
	waiting []string      // pushes at the gate
	passed  map[string]bool
}

func newGate() *gate {
	g := &gate{open: make(chan struct{}), passed: map[string]bool{}}
	close(g.open)
	return g
}

func (g *gate) judge(st faultproxy.Statement) faultproxy.Verdict {
	if st.Kind == faultproxy.Prepare || !strings.HasPrefix(st.Text, "INSERT INTO session_segments") {
		return faultproxy.Verdict{}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.open:
		return faultproxy.Verdict{}
	default:
	}
	if g.passed[st.Text] { // sent again, since its answer took too long
		return faultproxy.Verdict{}
	}
	g.waiting = append(g.waiting, st.Text)
	return faultproxy.Verdict{Action: faultproxy.Late, Until: g.open, Held: func() {
		select {
		case g.held <- struct{}{}:
		default: // one is enough
		}
	}}
}

// shut lets through what stands at the gate, and holds what comes from now on.
func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, text := range g.waiting {
		g.passed[text] = true
	}
	was := g.open
	g.waiting, g.open, g.held = nil, make(chan struct{}), make(chan struct{}, 1)
	select {
	case <-was:
	default:
		close(was)
	}
}

// lift lets everything through.
func (g *gate) lift() {
	g.shut()
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.open)
}

// waitHeld waits until a push stands at the gate.
func (s *scene) waitHeld(g *gate) {
	s.t.Helper()
	g.mu.Lock()
	held := g.held
	g.mu.Unlock()
	select {
	case <-held:
	case <-s.ctx.Done():
		s.t.Fatal("no push came")
	}
}

// A sync that is asked for while another runs is answered 200 only once TiDB has the
// change that was made in between, which the running one's push left out.
func TestSyncBesideOneThatRuns(t *testing.T) {
	s := newScene(t)
	g := newGate()
	c := s.paired("c", s.databaseWith(g.judge)...)
	var asked sync.WaitGroup
	t.Cleanup(func() { // the connector can't end without TiDB
		g.lift()
		asked.Wait()
	})
	s.talk(c)
	s.waitPushed(c)
	store, db := s.store(), s.database()

	// The first sync waits behind a push, and its own is the next.
	g.shut()
	s.says(c)
	s.waitHeld(g)
	first, _, err := store.CreateCommand(s.ctx, cloudstore.Command{
		ID: ulid.Make().String(), SessionID: s.session, Kind: cloudstore.CommandSync, ConnectorID: c.ID(), Args: []byte(`{}`),
		RequestedBy: "test", Deadline: time.Now().Add(time.Hour),
	})
	s.must(err)
	s.wait("the first sync to run", func() bool { return s.commandState(store, first.ID) == cloudstore.CommandRunning })
	s.says(c)
	g.shut()
	s.waitHeld(g)

	s.says(c) // what the second sync is to save
	answers := make(chan rig.Response, 1)
	asked.Go(func() {
		defer close(answers) // should the call fail
		answers <- s.answer(http.MethodPost, s.path("/sync"), nil)
	})
	s.wait("the second sync to be asked for", func() bool {
		log, err := os.ReadFile(filepath.Join(world.dir, "processes.log"))
		s.must(err)
		return commandLine(string(log), s.session)
	})
	g.shut()
	s.waitHeld(g)
	// Where a slow machine has put the first sync behind this push, too, it isn't done yet.
	for late := time.Now().Add(30 * time.Second); s.commandState(store, first.ID) != cloudstore.CommandDone && time.Now().Before(late); {
		s.pause()
	}
	before := s.lastSeq(db)
	s.wait("a second command", func() bool {
		var commands int
		s.must(db.QueryRowContext(s.ctx, "SELECT COUNT(*) FROM commands WHERE session_id = ?", s.session).Scan(&commands))
		return commands > 1 || len(answers) > 0
	})
	select {
	case early := <-answers:
		t.Fatalf("answered before the change was saved: %d %s", early.Status, early.Body)
	default:
	}
	g.lift()
	if r := <-answers; r.Status != http.StatusOK || s.lastSeq(db) <= before {
		t.Errorf("%d %s with %d rows in TiDB, %d before", r.Status, r.Body, s.lastSeq(db), before)
	}
	s.nothingLost(c)
	s.whole(c)
}

// commandLine reports whether a function has logged a command of the session.
func commandLine(log, session string) bool {
	for line := range strings.Lines(log) {
		if strings.Contains(line, "msg=command ") && strings.Contains(line, `session="`+session+`"`) {
			return true
		}
	}
	return false
}

func (s *scene) commandState(store *cloudstore.Store, id string) string {
	s.t.Helper()
	c, err := store.Command(s.ctx, id)
	s.must(err)
	return c.State
}
