package capture

import (
	"database/sql"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

// signalled opens a file with one captured table and counts its signals.
func signalled(t *testing.T) (*File, *atomic.Int64) {
	t.Helper()
	var n atomic.Int64
	f := open(t, "", Options{OnCommit: func() { n.Add(1) }})
	exec(t, f, "CREATE TABLE inbox_x (k INTEGER PRIMARY KEY, v)")
	install(t, f)
	n.Store(0)
	return f, &n
}

func TestCommitsAreSignalled(t *testing.T) {
	f, n := signalled(t)
	exec(t, f, "INSERT INTO inbox_x VALUES (1, 1)")
	if n.Swap(0) == 0 {
		t.Error("no signal for a write of its own")
	}
	tx, err := f.DB().BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.ExecContext(t.Context(), "INSERT INTO inbox_x VALUES (2, 1)"); err != nil {
		t.Fatal(err)
	}
	if n.Load() != 0 {
		t.Error("signal before the commit")
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	if n.Swap(0) == 0 {
		t.Error("no signal for a transaction")
	}
	var k int
	if err := f.DB().QueryRowContext(t.Context(), "INSERT INTO inbox_x VALUES (3, 1) RETURNING k").Scan(&k); err != nil {
		t.Fatal(err)
	}
	if n.Swap(0) == 0 {
		t.Error("no signal for a write that returns rows")
	}
}

func TestNoSignalWithoutCommit(t *testing.T) {
	f, n := signalled(t)
	tx, err := f.DB().BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.ExecContext(t.Context(), "INSERT INTO inbox_x VALUES (2, 1)"); err != nil {
		t.Fatal(err)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.DB().ExecContext(t.Context(), "INSERT INTO inbox_x VALUES (1, 1), (1, 1)"); err == nil {
		t.Error("duplicate key accepted")
	}
	var count int
	if err := f.DB().QueryRowContext(t.Context(), "SELECT count(*) FROM inbox_x").Scan(&count); err != nil {
		t.Fatal(err)
	}
	if got := n.Load(); got != 0 || count != 0 {
		t.Errorf("%d signals, %d rows after rollbacks and a read", got, count)
	}
}

func TestBookkeepingIsQuiet(t *testing.T) {
	f, n := signalled(t)
	begin(t, f, Begin{SessionID: "a", Epoch: 1})
	c, err := f.Base(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p := InFlight{Epoch: 1, FirstSeq: 1, Tags: [][32]byte{{1}}, Base: true, Mark: c.Mark}
	if err := f.SetInFlight(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if err := f.Acknowledge(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	install(t, f)
	if got := n.Load(); got != 0 {
		t.Errorf("%d signals for bookkeeping", got)
	}
	exec(t, f, "INSERT INTO inbox_x VALUES (1, 1)")
	if n.Load() == 0 {
		t.Error("no signal afterwards")
	}
}

// A reader that only looks when signalled sees the last commit.
func TestSignalComesWhenTheCommitIsVisible(t *testing.T) {
	const writes = 500
	wake := make(chan struct{}, 1)
	f := open(t, "", Options{OnCommit: func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	}})
	exec(t, f, "CREATE TABLE inbox_x (k INTEGER PRIMARY KEY, v)")
	failed := make(chan error, 1)
	go func() {
		for k := range writes {
			if _, err := f.DB().ExecContext(t.Context(), "INSERT INTO inbox_x VALUES (?, 1)", k); err != nil {
				failed <- err
				return
			}
		}
		failed <- nil
	}()
	deadline := time.After(2 * time.Minute)
	for count := 0; count < writes; {
		select {
		case <-wake:
		case <-deadline:
			t.Fatalf("%d of %d writes seen", count, writes)
		}
		if err := f.DB().QueryRowContext(t.Context(), "SELECT count(*) FROM inbox_x").Scan(&count); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
}

// The last signal comes after the commit. Without another one, what woke up
// too early would not look again.
func TestLastSignalSeesTheCommit(t *testing.T) {
	var other *File
	var seen []int
	f := open(t, "", Options{OnCommit: func() {
		if other == nil {
			return
		}
		var count int
		if err := other.DB().QueryRowContext(t.Context(), "SELECT count(*) FROM inbox_x").Scan(&count); err != nil {
			t.Error(err)
		}
		seen = append(seen, count)
	}})
	exec(t, f, "CREATE TABLE inbox_x (k INTEGER PRIMARY KEY, v)")
	other = open(t, f.Path(), Options{})
	exec(t, f, "INSERT INTO inbox_x VALUES (1, 1)")
	if len(seen) == 0 || seen[len(seen)-1] != 1 {
		t.Errorf("rows seen at each signal: %v", seen)
	}
	// A connection that is kept signals too.
	kept, err := f.DB().Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	seen = nil
	if _, err := kept.ExecContext(t.Context(), "INSERT INTO inbox_x VALUES (2, 1)"); err != nil {
		t.Fatal(err)
	}
	if len(seen) == 0 {
		t.Error("no signal from a connection that is kept")
	}
	if err := kept.Close(); err != nil {
		t.Fatal(err)
	}
	if seen[len(seen)-1] != 2 {
		t.Errorf("rows seen at each signal: %v", seen)
	}
}

// W5: a transaction that Close finds running commits nothing.
func TestCloseIsABarrier(t *testing.T) {
	path := filepath.Join(t.TempDir(), "session.db")
	f, err := Open(t.Context(), path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	f.closeWait = time.Hour // this test's transaction is open until it has seen Close begin
	exec(t, f, "CREATE TABLE inbox_x (k INTEGER PRIMARY KEY, v)")
	tx, err := f.DB().BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.ExecContext(t.Context(), "INSERT INTO inbox_x VALUES (1, 1)"); err != nil {
		t.Fatal(err)
	}
	closed := make(chan error, 1)
	go func() { closed <- f.Close() }()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for late := time.After(2 * time.Minute); !f.closing.Load(); {
		select {
		case <-tick.C:
		case <-late:
			t.Fatal("Close did not begin")
		}
	}
	if err := tx.Commit(); err == nil {
		t.Error("a transaction committed after Close")
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if _, err := f.DB().ExecContext(t.Context(), "INSERT INTO inbox_x VALUES (2, 1)"); err == nil {
		t.Error("a write succeeded after Close")
	}
	var count int
	again := open(t, path, Options{})
	if err := again.DB().QueryRowContext(t.Context(), "SELECT count(*) FROM inbox_x").Scan(&count); err != nil {
		t.Fatal(err)
	}
	if count != 0 {
		t.Errorf("%d rows", count)
	}
}

// A statement whose rows are open can be run again on the same connection.
func TestStatementInUseTwice(t *testing.T) {
	f, _ := signalled(t)
	exec(t, f, "INSERT INTO inbox_x VALUES (1, 1), (2, 2), (3, 3)")
	tx, err := f.DB().BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	const query = "SELECT k FROM inbox_x ORDER BY k"
	sum := 0
	err = scanAll(t.Context(), tx, query, nil, func(*sql.Rows) error {
		return scanAll(t.Context(), tx, query, nil, func(inner *sql.Rows) error {
			var k int
			err := inner.Scan(&k)
			sum += k
			return err
		})
	})
	if err != nil || sum != 18 {
		t.Errorf("sum %d, %v", sum, err)
	}
}
