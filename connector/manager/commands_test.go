package manager

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"cloudsession/connector/ownership"
	"cloudsession/infra/local/faultproxy"
	"cloudsession/infra/local/tidbtest"
	"cloudsession/shared/cloudstore"
)

// office is a manager that carries out commands, and TiDB. They concern sessions
// that don't exist: each comes to an outcome at once.
type office struct {
	t      *testing.T
	m      *Manager
	direct *cloudstore.Store // past the proxy
	proxy  *faultproxy.Proxy
	config cloudstore.Config // past the proxy
	done   carriedOut

	mu   sync.Mutex
	hook func(faultproxy.Statement) faultproxy.Verdict // nil: every statement passes
}

// carriedOut counts the commands that came to an outcome.
type carriedOut struct {
	nobody
	mu sync.Mutex
	n  int
}

func (c *carriedOut) Command(string, string, time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
}

func newOffice(t *testing.T) *office {
	t.Helper()
	o := &office{t: t}
	config := tidbtest.Start(t)
	o.config, o.direct = config, o.store(config)
	if err := o.direct.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	var err error
	if o.proxy, err = faultproxy.StartMySQL(fmt.Sprintf("%s:%d", config.Host, config.Port), o.judge); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := o.proxy.Close(); err != nil {
			t.Error(err)
		}
	})
	_, port, err := net.SplitHostPort(o.proxy.Addr())
	if err != nil {
		t.Fatal(err)
	}
	if config.Port, err = strconv.Atoi(port); err != nil {
		t.Fatal(err)
	}
	store := o.store(config)
	o.m = New(Options{
		DataDir: t.TempDir(), Store: store, Lease: newLease(t, store), Capacity: 1,
		Log: slog.New(slog.DiscardHandler), Observer: &o.done,
	})
	return o
}

func (o *office) store(config cloudstore.Config) *cloudstore.Store {
	o.t.Helper()
	store, err := cloudstore.Open(config)
	if err != nil {
		o.t.Fatal(err)
	}
	o.t.Cleanup(func() {
		if err := store.Close(); err != nil {
			o.t.Error(err)
		}
	})
	return store
}

// newLease enters connector "me".
func newLease(t *testing.T, store ownership.Store) *ownership.Lease {
	t.Helper()
	dir, err := ownership.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := dir.Close(); err != nil {
			t.Error(err)
		}
	})
	lease, err := ownership.Register(t.Context(), ownership.Options{
		Store: store, Dir: dir, Connector: cloudstore.Connector{ID: "me", Capacity: 1}, Log: slog.New(slog.DiscardHandler),
		Load: func() cloudstore.Load { return cloudstore.Load{Capacity: 1} },
	})
	if err != nil {
		t.Fatal(err)
	}
	return lease
}

func (o *office) judge(st faultproxy.Statement) faultproxy.Verdict {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.hook == nil {
		return faultproxy.Verdict{}
	}
	return o.hook(st)
}

// onStatement has f decide what becomes of each statement of the manager; nil ends that.
func (o *office) onStatement(f func(faultproxy.Statement) faultproxy.Verdict) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.hook = f
}

// awayAfter takes TiDB away with the answer to the first statement that contains a text.
func (o *office) awayAfter(text string) {
	found := false
	o.onStatement(func(st faultproxy.Statement) faultproxy.Verdict {
		if found || !bytes.Contains(st.Message, []byte(text)) {
			return faultproxy.Verdict{}
		}
		found = true
		return faultproxy.Verdict{Action: faultproxy.FailAfter, Then: func() { o.proxy.Set(faultproxy.Fault{Cut: true}) }}
	})
}

// order queues a command for this connector.
func (o *office) order(kind string) string {
	o.t.Helper()
	c, _, err := o.direct.CreateCommand(o.t.Context(), cloudstore.Command{
		ID: ulid.Make().String(), SessionID: "x", Kind: kind, ConnectorID: "me",
		RequestedBy: "user", Deadline: time.Now().Add(time.Hour),
	})
	if err != nil {
		o.t.Fatal(err)
	}
	return c.ID
}

func (o *office) row(id string) cloudstore.Command {
	o.t.Helper()
	c, err := o.direct.Command(o.t.Context(), id)
	if err != nil {
		o.t.Fatal(err)
	}
	return c
}

func (o *office) outcomes() int {
	o.done.mu.Lock()
	defer o.done.mu.Unlock()
	return o.done.n
}

// The claim is committed, its answer lost, and TiDB away when the row is looked at:
// the command runs under this process, which doesn't know. The heartbeat finds it.
func TestClaimWhoseAnswerIsLost(t *testing.T) {
	o := newOffice(t)
	id := o.order(cloudstore.CommandSync)
	o.awayAfter("COMMIT")
	o.m.runCommand(id)
	o.m.tasks.Wait()
	if c := o.row(id); c.State != cloudstore.CommandRunning || o.outcomes() != 0 {
		t.Fatalf("%+v, carried out %d times; want a claim that nobody knows of", c, o.outcomes())
	}
	o.proxy.Set(faultproxy.Fault{})
	if err := o.m.pollCommands(t.Context()); err != nil {
		t.Fatal(err)
	}
	o.m.tasks.Wait()
	if c := o.row(id); c.State != cloudstore.CommandFailed || c.ErrorCode != "session_not_open" || o.outcomes() != 1 {
		t.Errorf("%+v, carried out %d times; want it refused once", c, o.outcomes())
	}
}

// A message that comes twice, and heartbeats meanwhile, do nothing twice.
func TestCommandIsCarriedOutOnce(t *testing.T) {
	o := newOffice(t)
	id := o.order(cloudstore.CommandRestore)
	held := o.hold()
	o.m.runCommand(id)
	o.waitRunning(id)
	o.m.runCommand(id)
	if err := o.m.pollCommands(t.Context()); err != nil {
		t.Fatal(err)
	}
	held.mu.Unlock()
	o.m.tasks.Wait()
	if c := o.row(id); c.State != cloudstore.CommandFailed || c.Attempt != 1 || o.outcomes() != 1 {
		t.Errorf("%+v, carried out %d times; want one attempt", c, o.outcomes())
	}
}

// hold keeps the session from whoever wants to change it.
func (o *office) hold() *session {
	o.t.Helper()
	s, err := o.m.entry("x")
	if err != nil {
		o.t.Fatal(err)
	}
	s.mu.Lock()
	return s
}

func (o *office) waitRunning(id string) {
	o.t.Helper()
	ctx, cancel := context.WithTimeout(o.t.Context(), 2*time.Minute)
	defer cancel()
	for o.row(id).State != cloudstore.CommandRunning {
		select {
		case <-ctx.Done():
			o.t.Fatal("the command was never claimed")
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// A command that the process's end breaks off has not failed: it stays for whoever
// comes next, as if the process had been killed.
func TestCommandCutShortByTheEnd(t *testing.T) {
	o := newOffice(t)
	id := o.order(cloudstore.CommandRestore)
	held := o.hold()
	o.m.runCommand(id)
	o.waitRunning(id)
	o.m.stopNew()
	held.mu.Unlock()
	o.m.tasks.Wait()
	if c := o.row(id); c.State != cloudstore.CommandRunning || o.outcomes() != 0 {
		t.Fatalf("%+v, %d outcomes; want it left as it was", c, o.outcomes())
	}
	if err := o.m.opt.Lease.Retire(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := o.direct.RegisterConnector(t.Context(), cloudstore.Connector{ID: "next", Incarnation: "next/1"}, "", time.Minute); err != nil {
		t.Fatal(err)
	}
	pending, err := o.direct.PendingCommands(t.Context(), "next", 0)
	if err != nil || len(pending) != 1 {
		t.Fatalf("%d commands are pending elsewhere, %v; want this one", len(pending), err)
	}
	if c, ok, err := o.direct.ClaimCommand(t.Context(), id, "next", "next/1"); err != nil || !ok || c.Attempt != 2 {
		t.Errorf("claimed elsewhere: %+v, %v, %v", c, ok, err)
	}
}

// The session was handed over before the command was claimed: its owner carries it out.
func TestSyncFollowsItsSession(t *testing.T) {
	for name, handed := range map[string]func(*office) error{
		"taken": func(*office) error { return nil },
		"on its way": func(o *office) error {
			return o.direct.Release(o.t.Context(), "x", 1, "other", time.Minute, cloudstore.WantedOpen)
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOffice(t)
			if err := o.direct.RegisterConnector(t.Context(), cloudstore.Connector{ID: "other", Incarnation: "other/1"}, "", time.Minute); err != nil {
				t.Fatal(err)
			}
			o.take("x", "other", "other/1")
			if err := handed(o); err != nil {
				t.Fatal(err)
			}
			id := o.order(cloudstore.CommandSync)
			o.m.runCommand(id)
			o.m.tasks.Wait()
			if c := o.row(id); c.State != cloudstore.CommandQueued || c.ConnectorID != "other" {
				t.Errorf("%+v, want it queued for the owner", c)
			}
		})
	}
}

// take gives a new session to a connector.
func (o *office) take(id, connector, incarnation string) {
	o.t.Helper()
	if _, err := o.direct.Take(o.t.Context(), cloudstore.TakeRequest{
		SessionID: id, ConnectorID: connector, Incarnation: incarnation, Reason: "test", Nonce: [16]byte{id[0]}, MayCreate: true,
		Judge: func(context.Context, cloudstore.Parent) (string, error) { return cloudstore.StartNew, nil },
	}); err != nil {
		o.t.Fatal(err)
	}
}

func TestWhatCutsACommandShort(t *testing.T) {
	for _, c := range []struct {
		err        error
		ended, cut bool
	}{
		{nil, true, false},
		{fmt.Errorf("take: %w", context.Canceled), true, true},
		{fmt.Errorf("take: %w", context.Canceled), false, false},
		{ErrClosing, false, true}, // said before the end is
		{context.DeadlineExceeded, true, false},
		{ErrElsewhere, true, false},
	} {
		m := New(Options{})
		if c.ended {
			m.end()
		}
		if m.cutShort(c.err) != c.cut {
			t.Errorf("%v, ended %v: cut short %v", c.err, c.ended, !c.cut)
		}
	}
}
