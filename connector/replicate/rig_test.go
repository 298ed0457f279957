package replicate

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloudsession/connector/capture"
	"cloudsession/connector/capture/capturetest"
	"cloudsession/infra/local/leaktest"
	"cloudsession/infra/local/tidbtest"
	"cloudsession/shared/cloudstore"
	"cloudsession/shared/envelope"
	"cloudsession/shared/sessionlog"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(helperEnv); path != "" {
		os.Exit(helper(path))
	}
	tidbtest.Main(m, func() error { return leaktest.Find(leaktest.Whatsmeow()) })
}

const secret = "a secret for tests, 0123456789abcdef"

// testSeed is random, printed, and can be given again.
func testSeed(t testing.TB) uint64 {
	seed := mathrand.Uint64()
	if s := os.Getenv("CLOUDSESSION_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("CLOUDSESSION_SEED=%d", seed)
	return seed
}

// rig is a connector as far as replication goes.
type rig struct {
	testing.TB
	store *faulty
	keys  *envelope.Keyring
	opt   Options
	repl  *Replicator
	boot  string
}

func newRig(t testing.TB, c cloud, change ...func(*Options)) *rig {
	keys, err := envelope.NewKeyring(secret)
	if err != nil {
		t.Fatal(err)
	}
	g := &rig{TB: t, store: &faulty{cloud: c}, keys: keys, boot: "boot"}
	g.opt = Options{
		Credentials: testCredentials, Log: slog.New(slog.DiscardHandler),
		Coalesce: time.Millisecond, MaxWait: 5 * time.Millisecond, RetryMin: time.Millisecond, RetryMax: 5 * time.Millisecond,
	}
	for _, f := range change {
		f(&g.opt)
	}
	g.repl = New(g.store, keys, g.opt)
	t.Cleanup(func() { g.repl.Close() })
	return g
}

// freshKeys forgets the keys derived so far.
func (g *rig) freshKeys() {
	var err error
	g.keys, err = envelope.NewKeyring(secret)
	g.must(err)
}

// crash stops pushing at once and starts a process anew.
func (g *rig) crash() {
	g.repl.Close()
	g.repl = New(g.store, g.keys, g.opt)
}

// testCredentials stands in for baileys.Credentials: what counts here is that it follows the device row.
func testCredentials(ctx context.Context, db *sql.DB) ([]byte, error) {
	var jid, name string
	var noise []byte
	if err := db.QueryRowContext(ctx, "SELECT jid, push_name, noise_key FROM whatsmeow_device").Scan(&jid, &name, &noise); err != nil {
		return nil, err
	}
	return json.Marshal(map[string]any{"creds": map[string]any{"me": jid, "name": name, "noise": noise}, "timestamp": time.Now().UnixMilli()})
}

// live is a session that runs on a rig.
type live struct {
	*rig
	id    string
	file  *capture.File
	ops   *capturetest.Ops
	repl  *Session
	taken cloudstore.Taken
	term  Term

	current atomic.Pointer[Session]
}

func (g *rig) ctx() context.Context { return g.Context() }

// must ends the test on an error.
func (g *rig) must(err error) {
	g.Helper()
	if err != nil {
		g.Fatal(err)
	}
}

func (g *rig) take(id string, withoutParent bool, judge func(cloudstore.Parent) string) cloudstore.Taken {
	g.Helper()
	req := cloudstore.TakeRequest{
		SessionID: id, ConnectorID: testConnector, Incarnation: testIncarnation, Reason: "test", MayCreate: true,
		WithoutParent: withoutParent, AnyWanted: true, ByCommand: true,
		Judge: func(_ context.Context, p cloudstore.Parent) (string, error) { return judge(p), nil },
	}
	_, err := rand.Read(req.Nonce[:])
	g.must(err)
	taken, err := g.store.Take(g.ctx(), req)
	g.must(err)
	return taken
}

const (
	testConnector   = "vm-1"
	testIncarnation = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
)

// pair starts a new session with a device.
func (g *rig) pair(id string, seed uint64) *live {
	g.Helper()
	l := g.newSession(id)
	var err error
	l.ops, err = capturetest.NewOps(g.ctx(), l.file.DB(), seed)
	g.must(err)
	_, err = l.file.Install(g.ctx())
	g.must(err)
	l.attach(Term{Start: StartNew})
	return l
}

// newSession opens an empty file for a new term without parent.
func (g *rig) newSession(id string) *live {
	g.Helper()
	l := &live{rig: g, id: id}
	l.taken = g.take(id, true, func(cloudstore.Parent) string { return StartNew })
	l.open(filepath.Join(g.TempDir(), "session.db"))
	return l
}

func (l *live) open(path string) {
	l.Helper()
	var err error
	l.file, err = capture.Open(l.ctx(), path, capture.Options{OnCommit: l.changed})
	l.must(err)
	l.Cleanup(func() { _ = l.file.Close() })
}

func (l *live) changed() {
	if s := l.current.Load(); s != nil {
		s.Changed()
	}
}

func (l *live) attach(term Term) {
	l.Helper()
	l.must(l.tryAttach(term))
}

func (l *live) tryAttach(term Term) error {
	term.SessionID, term.Epoch, term.BootID = l.id, l.taken.Epoch, l.boot
	if term.Start != StartNew {
		term.Parent = sessionlog.Cursor{Epoch: l.taken.ParentEpoch, Seq: l.taken.ParentSeq, Tag: l.taken.ParentTag}
	}
	l.term = term
	s, err := l.rig.repl.Attach(l.ctx(), l.file, term)
	if err != nil {
		return err
	}
	l.repl = s
	l.current.Store(s)
	return s.ForgetParent(l.ctx())
}

// steps runs n random operations of whatsmeow's store.
func (l *live) steps(n int) {
	l.Helper()
	for range n {
		_, err := l.ops.Step(l.ctx())
		l.must(err)
	}
}

func (l *live) flush() {
	l.Helper()
	l.must(l.repl.Flush(l.limit()))
}

// patience is for what must happen, on a machine that may be busy.
const patience = 2 * time.Minute

// await polls until a condition holds.
func (g *rig) await(what string, condition func() bool) {
	g.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for late := time.After(patience); !condition(); {
		select {
		case <-tick.C:
		case <-late:
			g.must(fmt.Errorf("waited in vain for %s", what))
		}
	}
}

// limit is a context that ends a test which hangs.
func (g *rig) limit() context.Context {
	ctx, cancel := context.WithTimeout(g.ctx(), patience)
	g.Cleanup(cancel)
	return ctx
}

func (g *rig) dump(f *capture.File) map[string][]string {
	g.Helper()
	d, err := capturetest.Dump(g.ctx(), f.DB())
	g.must(err)
	return d
}

// dumpAt reads a closed file without changing it.
func (g *rig) dumpAt(path string) map[string][]string {
	g.Helper()
	f, err := capture.Open(g.ctx(), path, capture.Options{})
	g.must(err)
	defer func() { g.must(f.Close()) }()
	return g.dump(f)
}

// restored takes the session and restores it into an empty folder.
func (g *rig) restored(id, start string) (cloudstore.Taken, string, Restored) {
	g.Helper()
	taken := g.take(id, false, func(p cloudstore.Parent) string {
		if start != "" {
			return start
		}
		if ok, err := JudgeExact(g.keys, p, HighWater{}); err != nil {
			g.Fatal(err)
		} else if ok {
			return StartExact
		}
		return StartSafe
	})
	path := filepath.Join(g.TempDir(), "restored.db")
	found, err := Restore(g.ctx(), g.store, g.keys, taken, path)
	g.must(err)
	return taken, path, found
}

// equal compares two dumps.
func (g *rig) equal(what string, want, got map[string][]string) {
	g.Helper()
	if d := cmp.Diff(want, got); d != "" {
		g.Fatalf("%s: restored file differs (-was +restored):\n%.4000s", what, d)
	}
}

// onBoth runs a test on the store in memory and on the real engine.
func onBoth(t *testing.T, test func(t *testing.T, c cloud)) {
	t.Run("memory", func(t *testing.T) { test(t, newMemory()) })
	t.Run("tidb", func(t *testing.T) { test(t, newTiDB(t)) })
}

// newTiDB returns a store on an empty database of the real engine.
func newTiDB(t testing.TB) cloud {
	t.Helper()
	return openTiDB(t, tidbtest.Start(t))
}

func openTiDB(t testing.TB, config cloudstore.Config) cloud {
	t.Helper()
	store, err := cloudstore.Open(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := store.Migrate(ctx); err != nil {
		t.Fatal(fmt.Errorf("migrate: %w", err))
	}
	c := cloudstore.Connector{ID: testConnector, Incarnation: testIncarnation}
	if err := store.RegisterConnector(ctx, c, "", time.Hour); err != nil {
		t.Fatal(fmt.Errorf("register connector: %w", err))
	}
	return store
}

// untilTried sets the store's faults, and returns a context for calls that must not
// come back: it ends when an operation is tried for the nth time, and so after the
// outcome of the time before.
func (g *rig) untilTried(op string, n int, faults func(op string) fault) context.Context {
	ctx, giveUp := context.WithCancel(g.limit())
	g.Cleanup(giveUp)
	var tried atomic.Int32
	g.store.set(func(_ context.Context, now string, _ []string) fault {
		if now == op && int(tried.Add(1)) == n {
			giveUp()
		}
		return faults(now)
	})
	return ctx
}

func always(f fault) func(string) fault { return func(string) fault { return f } }
