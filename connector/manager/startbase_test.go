package manager

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cloudsession/connector/baileys"
	"cloudsession/connector/capture"
	"cloudsession/connector/capture/capturetest"
	"cloudsession/connector/replicate"
	"cloudsession/connector/watest"
	"cloudsession/connector/whatsapp"
	"cloudsession/infra/local/tidbtest"
	"cloudsession/shared/cloudstore"
	"cloudsession/shared/envelope"
)

// refusedBase is a replication whose base never becomes durable.
type refusedBase struct{}

func (refusedBase) Flush(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// A start whose base is refused for good ends by itself: others wait for its turn.
func TestStartWithoutBaseEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New(Options{})
		if err := m.pushBase(t.Context(), refusedBase{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a start whose base is refused: %v", err)
		}
	})
}

// refusing is a store that takes no base of a session whose id begins with "bad".
type refusing struct {
	*cloudstore.Store
	refused *sync.Map // session ids
}

func (r refusing) AppendFirstBase(ctx context.Context, last cloudstore.Segment, c cloudstore.Credentials) (cloudstore.Outcome, error) {
	if strings.HasPrefix(last.SessionID, "bad") {
		r.refused.Store(last.SessionID, true)
		return cloudstore.Absent, fmt.Errorf("row of %s: %w", last.SessionID, cloudstore.ErrBadInput)
	}
	return r.Store.AppendFirstBase(ctx, last, c)
}

// output is a test's until the test ends: what writes to that afterwards panics.
type output struct {
	mu sync.Mutex
	to io.Writer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.to.Write(p)
}

func (o *output) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.to = io.Discard
}

// starts is a manager whose sessions have a copy in the cloud and start safely.
type starts struct {
	*testing.T
	m       *Manager
	store   *cloudstore.Store
	refused sync.Map
}

func newStarts(t *testing.T) *starts {
	t.Helper()
	s := &starts{T: t}
	var err error
	s.store, err = cloudstore.Open(tidbtest.Start(t))
	s.must(err)
	t.Cleanup(func() { s.must(s.store.Close()) })
	s.must(s.store.Migrate(t.Context()))
	keys, err := envelope.NewKeyring("a secret for tests, 0123456789abcdef")
	s.must(err)
	out := &output{to: t.Output()}
	t.Cleanup(out.end) // the last of all
	log := slog.New(slog.NewTextHandler(out, nil))
	repl := replicate.New(refusing{s.store, &s.refused}, keys, replicate.Options{
		Credentials: baileys.Credentials, Log: log, RetryMin: time.Millisecond, RetryMax: 200 * time.Millisecond,
	})
	t.Cleanup(repl.Close)
	s.m = New(Options{
		DataDir: t.TempDir(), Store: s.store, Keys: keys, Lease: newLease(t, s.store), Replicator: repl, Capacity: 100, Log: log,
		Endpoint: whatsapp.Endpoint{Addr: "127.0.0.1:1", RootKey: watest.TestRootKey}, // nobody is there
	})
	unhurried(s.m)
	s.keepLease()
	t.Cleanup(func() {
		if err := s.m.Abandon(); err != nil { // a busy machine may take longer than a lost lease allows
			t.Log(err)
		}
		s.m.tasks.Wait()
	})
	return s
}

// keepLease renews the lease for as long as the test lasts.
func (s *starts) keepLease() {
	ctx, cancel := context.WithCancel(s.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if err := s.m.opt.Lease.Renew(ctx); err != nil && ctx.Err() == nil {
				s.Logf("renew lease: %v", err)
			}
		}
	})
	s.Cleanup(func() {
		cancel()
		wg.Wait()
	})
}

func (s *starts) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// backedUp makes a session of this connector's that is whole in the cloud and has no file here.
func (s *starts) backedUp(id string, n uint64) cloudstore.Owner {
	s.Helper()
	ctx := s.Context()
	taken, err := s.store.Take(ctx, cloudstore.TakeRequest{
		SessionID: id, ConnectorID: "me", Incarnation: s.m.opt.Lease.Incarnation(), Reason: "test", MayCreate: true,
		Nonce: [16]byte{1, byte(n)},
		Judge: func(context.Context, cloudstore.Parent) (string, error) { return replicate.StartNew, nil },
	})
	s.must(err)
	f, err := capture.Open(ctx, filepath.Join(s.TempDir(), "session.db"), capture.Options{})
	s.must(err)
	_, err = capturetest.NewOps(ctx, f.DB(), n)
	s.must(err)
	_, err = f.Install(ctx)
	s.must(err)
	repl := replicate.New(s.store, s.m.opt.Keys, replicate.Options{Credentials: baileys.Credentials, Log: s.m.log})
	defer repl.Close()
	rep, err := repl.Attach(ctx, f, replicate.Term{SessionID: id, Epoch: taken.Epoch, Start: replicate.StartNew})
	s.must(err)
	s.must(rep.Flush(ctx))
	rep.Close()
	s.must(f.Close())
	o, err := s.store.Owner(ctx, id)
	s.must(err)
	return o
}

// Sixteen sessions whose first base is refused have all the turns, and give them back: the next one opens. Of
// theirs nothing stays behind.
func TestRefusedBasesGiveTheirTurnsBack(t *testing.T) {
	s := newStarts(t)
	s.m.baseTime = 40 * time.Second // enough for the good one's, on a busy machine
	var bad []cloudstore.Owner
	for i := range opensAtOnce {
		bad = append(bad, s.backedUp(fmt.Sprint("bad", i), uint64(i)))
	}
	good := s.backedUp("good", opensAtOnce)
	for _, o := range bad {
		s.m.openLater(o)
	}
	eventually(t, "all turns are taken", func() bool { return len(s.m.turns) == opensAtOnce })
	eventually(t, "the good one is open", func() bool {
		if s.m.idle(good.SessionID, time.Now()) { // as a sweep would, should one try have taken too long
			s.m.openLater(good)
		}
		return len(s.m.held()) == 1
	})
	eventually(t, "turns and places are given back", func() bool { return len(s.m.turns) == 0 && s.m.taken() == 1 })
	for _, o := range bad {
		if _, ok := s.refused.Load(o.SessionID); !ok {
			t.Errorf("no base of %s was refused", o.SessionID)
		}
		o, err := s.store.Owner(t.Context(), o.SessionID)
		s.must(err)
		if o.ConnectorID != "" || o.State != string(StateFailed) || o.Wanted != cloudstore.WantedOpen {
			t.Errorf("%s is %s's, %s, wanted %s", o.SessionID, o.ConnectorID, o.State, o.Wanted)
		}
		if files, _ := filepath.Glob(filepath.Join(filesOf(s.m.opt.DataDir, o.SessionID).dir, "*.db*")); len(files) != 0 {
			t.Errorf("%s left %v", o.SessionID, files)
		}
	}
}
