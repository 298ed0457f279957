package cloudstore_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/oklog/ulid/v2"

	"cloudsession/shared/cloudstore"
)

func command(session, kind, connector, args string) cloudstore.Command {
	return cloudstore.Command{
		ID: ulid.Make().String(), SessionID: session, Kind: kind, ConnectorID: connector, Args: json.RawMessage(args),
		RequestedBy: "user 1", RequestID: "r1", Deadline: time.Now().Add(time.Hour),
	}
}

func create(t *testing.T, s *cloudstore.Store, c cloudstore.Command) cloudstore.Command {
	t.Helper()
	got, created, err := s.CreateCommand(t.Context(), c)
	if err != nil || !created {
		t.Fatalf("create: %v, %v", created, err)
	}
	return got
}

func TestCommandLife(t *testing.T) {
	s, _ := migrated(t)
	register(t, s, "a")
	c := create(t, s, command("x", cloudstore.CommandRestore, "a", `{"connector":"a"}`))
	if c.State != cloudstore.CommandQueued || c.CreatedAt.IsZero() || c.Attempt != 0 || c.RequestedBy != "user 1" {
		t.Errorf("created: %+v", c)
	}
	claimed, ok, err := s.ClaimCommand(t.Context(), c.ID, "a", "a/1")
	if err != nil || !ok || claimed.State != cloudstore.CommandRunning || claimed.Attempt != 1 || claimed.Incarnation != "a/1" || claimed.StartedAt == nil {
		t.Fatalf("claimed: %+v, %v, %v", claimed, ok, err)
	}
	if again, ok, err := s.ClaimCommand(t.Context(), c.ID, "a", "a/1"); err != nil || !ok || again.Attempt != 2 {
		t.Errorf("claimed again by the one that has it and doesn't know: %+v, %v, %v", again, ok, err)
	}
	if err := s.FinishCommand(t.Context(), c.ID, "b/1", true, "", "", nil); !errors.Is(err, cloudstore.ErrFenced) {
		t.Errorf("finished by another: %v, want fenced", err)
	}
	for range 2 {
		if err := s.FinishCommand(t.Context(), c.ID, "a/1", true, "", "", json.RawMessage(`{"epoch": 3}`)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.FinishCommand(t.Context(), c.ID, "a/1", false, "late", "", nil); !errors.Is(err, cloudstore.ErrFenced) {
		t.Errorf("failed after it was done: %v, want fenced", err)
	}
	done, err := s.Command(t.Context(), c.ID)
	if err != nil || done.State != cloudstore.CommandDone || done.FinishedAt == nil {
		t.Errorf("finished: %+v, %v", done, err)
	}
	var result map[string]int
	if err := json.Unmarshal(done.Result, &result); err != nil || result["epoch"] != 3 {
		t.Errorf("result %s, %v", done.Result, err)
	}
	if _, ok, err := s.ClaimCommand(t.Context(), c.ID, "a", "a/1"); err != nil || ok {
		t.Errorf("claim of a finished command: %v, %v", ok, err)
	}
	if _, err := s.Command(t.Context(), ulid.Make().String()); !errors.Is(err, cloudstore.ErrNotFound) {
		t.Errorf("unknown command: %v", err)
	}
	if _, _, err := s.ClaimCommand(t.Context(), ulid.Make().String(), "a", "a/1"); !errors.Is(err, cloudstore.ErrNotFound) {
		t.Errorf("claim of an unknown command: %v", err)
	}
}

func TestCommandsThatAreOne(t *testing.T) {
	s, _ := migrated(t)
	register(t, s, "a")
	first := create(t, s, command("x", cloudstore.CommandSync, "", ""))
	twin, created, err := s.CreateCommand(t.Context(), command("x", cloudstore.CommandSync, "", ""))
	if err != nil || created || twin.ID != first.ID {
		t.Errorf("twin: %s, %v, %v; want %s", twin.ID, created, err, first.ID)
	}
	for _, other := range []cloudstore.Command{
		command("y", cloudstore.CommandSync, "", ""),
		command("x", cloudstore.CommandRestore, "", ""),
		command("x", cloudstore.CommandSync, "", `{"a":1}`),
	} {
		create(t, s, other)
	}
	if _, ok, err := s.ClaimCommand(t.Context(), first.ID, "a", "a/1"); err != nil || !ok {
		t.Fatal(ok, err)
	}
	if err := s.FinishCommand(t.Context(), first.ID, "a/1", false, "closed", "The session is closed.", nil); err != nil {
		t.Fatal(err)
	}
	create(t, s, command("x", cloudstore.CommandSync, "", ""))
}

func TestCommandsThatAreOneRace(t *testing.T) {
	s, _ := migrated(t)
	for round := range 10 {
		session := fmt.Sprint(round)
		var mu sync.Mutex
		var wg sync.WaitGroup
		ids, made := map[string]bool{}, 0
		for range 6 {
			wg.Go(func() {
				c, created, err := s.CreateCommand(t.Context(), command(session, cloudstore.CommandSync, "", ""))
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				ids[c.ID] = true
				if created {
					made++
				}
			})
		}
		wg.Wait()
		if made != 1 || len(ids) != 1 {
			t.Errorf("round %d: %d created, %d commands", round, made, len(ids))
		}
	}
}

func TestClaimRace(t *testing.T) {
	s, _ := migrated(t)
	register(t, s, "a", "b", "c", "d")
	for round := range 10 {
		c := create(t, s, command(fmt.Sprint(round), cloudstore.CommandRestore, "", ""))
		var mu sync.Mutex
		var wg sync.WaitGroup
		winners := 0
		for _, id := range []string{"a", "b", "c", "d"} {
			wg.Go(func() {
				_, ok, err := s.ClaimCommand(t.Context(), c.ID, id, id+"/1")
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				if ok {
					winners++
				}
			})
		}
		wg.Wait()
		if winners != 1 {
			t.Errorf("round %d: %d winners", round, winners)
		}
	}
}

// A claimer that is gone loses its command, dead or replaced; a live one keeps it.
func TestClaimFromTheDead(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, s *cloudstore.Store){
		"dead": func(t *testing.T, s *cloudstore.Store) {
			if err := s.RetireConnector(t.Context(), "a", "a/1"); err != nil {
				t.Fatal(err)
			}
		},
		"restarted": func(t *testing.T, s *cloudstore.Store) {
			if err := s.RegisterConnector(t.Context(), cloudstore.Connector{ID: "a", Incarnation: "a/2"}, "a/1", lease); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := migrated(t)
			register(t, s, "a", "b")
			c := create(t, s, command("x", cloudstore.CommandRestore, "", ""))
			if _, ok, err := s.ClaimCommand(t.Context(), c.ID, "a", "a/1"); err != nil || !ok {
				t.Fatal(ok, err)
			}
			if _, ok, err := s.ClaimCommand(t.Context(), c.ID, "b", "b/1"); err != nil || ok {
				t.Errorf("claimed from a live connector: %v, %v", ok, err)
			}
			end(t, s)
			got, ok, err := s.ClaimCommand(t.Context(), c.ID, "b", "b/1")
			if err != nil || !ok || got.Attempt != 2 || got.ConnectorID != "b" {
				t.Errorf("claimed from one that is gone: %+v, %v, %v", got, ok, err)
			}
			if err := s.FinishCommand(t.Context(), c.ID, "a/1", true, "", "", nil); !errors.Is(err, cloudstore.ErrFenced) {
				t.Errorf("finished by the one that is gone: %v, want fenced", err)
			}
		})
	}
}

func TestCommandDeadline(t *testing.T) {
	s, _ := migrated(t)
	register(t, s, "a")
	late := command("x", cloudstore.CommandSync, "", "")
	late.Deadline = time.Now().Add(-time.Second)
	late = create(t, s, late)
	if _, ok, err := s.ClaimCommand(t.Context(), late.ID, "a", "a/1"); err != nil || ok {
		t.Errorf("claim past the deadline: %v, %v", ok, err)
	}
	// It doesn't stand in the way of its successor, swept or not.
	again := create(t, s, command("x", cloudstore.CommandSync, "", ""))
	if got, err := s.Command(t.Context(), late.ID); err != nil || got.State != cloudstore.CommandExpired {
		t.Errorf("overdue command: %+v, %v", got, err)
	}
	other := command("y", cloudstore.CommandSync, "", "")
	other.Deadline = time.Now().Add(-time.Second)
	create(t, s, other)
	if n, err := s.ExpireCommands(t.Context()); err != nil || n != 1 {
		t.Errorf("%d expired, %v; want 1", n, err)
	}
	if got, err := s.Command(t.Context(), again.ID); err != nil || got.State != cloudstore.CommandQueued {
		t.Errorf("a command in time: %+v, %v", got, err)
	}
}

// What a connector is at doesn't hide what it isn't.
func TestPendingCommandsBehindManyAtWork(t *testing.T) {
	const atWork = 200 // a page full
	s, config := migrated(t)
	register(t, s, "me")
	db := rawDB(t, config)
	for i := range atWork {
		mustExec(t, db, `INSERT INTO commands (command_id, session_id, kind, args, state, attempt, connector_id, incarnation, requested_by, deadline)
			VALUES (?, ?, 'sync', '{}', 'running', 1, 'me', 'me/1', 'user', NOW(6) + INTERVAL 1 HOUR)`, fmt.Sprintf("%026d", i), fmt.Sprint("session ", i))
	}
	queued := create(t, s, command("waits", cloudstore.CommandSync, "me", "{}"))
	commands, err := s.PendingCommands(t.Context(), "me", atWork)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(commands, func(c cloudstore.Command) bool { return c.ID == queued.ID }) {
		t.Errorf("%d commands, and not the one that waits", len(commands))
	}
}

func TestPendingCommands(t *testing.T) {
	s, _ := migrated(t)
	register(t, s, "me", "other", "dead")
	mustTake(t, s, "mine", "me")
	mustTake(t, s, "other's", "other")
	mustTake(t, s, "dead's", "dead")
	if err := s.RetireConnector(t.Context(), "dead", "dead/1"); err != nil {
		t.Fatal(err)
	}
	const sync, restore = cloudstore.CommandSync, cloudstore.CommandRestore
	want := []string{}
	for _, c := range []struct {
		session, kind, target string
		pending               bool
	}{
		{"mine", sync, "", true},
		{"mine", restore, "other", true}, // to hand over
		{"other's", sync, "", false},
		{"other's", sync, "me", true}, // addressed to it
		{"other's", restore, "dead", false},
		{"dead's", sync, "", false},
		{"dead's", restore, "", true},
		{"nobody's", restore, "other", false},
		{"nobody's", restore, "dead", true},
		{"nobody's too", restore, "", true},
	} {
		made := create(t, s, command(c.session, c.kind, c.target, fmt.Sprintf(`{"connector":%q}`, c.target)))
		if c.pending {
			want = append(want, made.ID)
		}
	}
	pending := func() (ids []string) {
		t.Helper()
		commands, err := s.PendingCommands(t.Context(), "me", 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range commands {
			ids = append(ids, c.ID)
		}
		return ids
	}
	if diff := cmp.Diff(want, pending()); diff != "" {
		t.Errorf("pending (-want +got):\n%s", diff)
	}
	// One that runs under it stays pending: only the process knows what it is at. One
	// that another is at isn't; handed on, it is the target's.
	if _, ok, err := s.ClaimCommand(t.Context(), want[1], "me", "me/1"); err != nil || !ok {
		t.Fatal(ok, err)
	}
	if _, ok, err := s.ClaimCommand(t.Context(), want[0], "other", "other/1"); err != nil || !ok {
		t.Fatal(ok, err)
	}
	if diff := cmp.Diff(want[1:], pending()); diff != "" {
		t.Errorf("pending while at work (-want +got):\n%s", diff)
	}
	if err := s.RetargetCommand(t.Context(), want[1], "me/1", "other"); err != nil {
		t.Fatal(err)
	}
	if err := s.RetargetCommand(t.Context(), want[1], "me/1", "other"); !errors.Is(err, cloudstore.ErrFenced) {
		t.Errorf("handed on twice: %v, want fenced", err)
	}
	if c, ok, err := s.ClaimCommand(t.Context(), want[1], "other", "other/1"); err != nil || !ok || c.Attempt != 2 {
		t.Errorf("claim after it was handed on: %+v, %v, %v", c, ok, err)
	}
}

func TestCreateCommandRefuses(t *testing.T) {
	s, _ := migrated(t)
	good := command("x", cloudstore.CommandSync, "", "")
	for name, change := range map[string]func(*cloudstore.Command){
		"id":        func(c *cloudstore.Command) { c.ID = "short" },
		"kind":      func(c *cloudstore.Command) { c.Kind = "dance" },
		"arguments": func(c *cloudstore.Command) { c.Args = json.RawMessage("{") },
		"deadline":  func(c *cloudstore.Command) { c.Deadline = time.Time{} },
	} {
		bad := good
		change(&bad)
		if _, _, err := s.CreateCommand(t.Context(), bad); !errors.Is(err, cloudstore.ErrBadInput) {
			t.Errorf("bad %s: %v", name, err)
		}
	}
	bad := good
	bad.SessionID = "a\nb"
	if _, _, err := s.CreateCommand(t.Context(), bad); !errors.Is(err, cloudstore.ErrBadSessionID) {
		t.Errorf("bad session id: %v", err)
	}
}

func TestCreateCommandAnswerLost(t *testing.T) {
	for _, afterwards := range []bool{false, true} {
		_, config := migrated(t)
		p := newProxy(t, config)
		s := open(t, p.config)
		p.cut("COMMIT", afterwards)
		c := command("x", cloudstore.CommandSync, "", "")
		got, created, err := s.CreateCommand(t.Context(), c)
		if err != nil || !created || got.ID != c.ID || p.cuts() != 1 {
			t.Errorf("after commit %v: %v, %v, %d cuts", afterwards, created, err, p.cuts())
		}
	}
}

// A requester has only so many unfinished commands; repeating one is no more.
func TestTooManyCommands(t *testing.T) {
	s, config := migrated(t)
	ask := func(session, by string) error {
		c := command(session, cloudstore.CommandSync, "", "")
		c.RequestedBy, c.MaxUnfinished = by, 2
		_, _, err := s.CreateCommand(t.Context(), c)
		return err
	}
	for _, step := range []struct {
		session, by string
		want        error
	}{
		{"x", "ann", nil},
		{"y", "ann", nil},
		{"z", "ann", cloudstore.ErrTooManyCommands},
		{"x", "ann", nil}, // the same again
		{"z", "Ann", nil}, // somebody else
		{"y", "bob", nil}, // ann's
	} {
		if err := ask(step.session, step.by); !errors.Is(err, step.want) {
			t.Errorf("%s asks for %s: %v, want %v", step.by, step.session, err, step.want)
		}
	}
	mustExec(t, rawDB(t, config), "UPDATE commands SET deadline = NOW(6) - INTERVAL 1 SECOND WHERE session_id = 'x'")
	if err := ask("z", "ann"); err != nil {
		t.Errorf("one is overdue: %v", err)
	}
	free := command("free", cloudstore.CommandSync, "", "")
	free.RequestedBy = "ann"
	if _, _, err := s.CreateCommand(t.Context(), free); err != nil {
		t.Errorf("without a limit: %v", err)
	}
}
