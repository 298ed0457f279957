package inbox

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestSends(t *testing.T) {
	in, _, now := newInbox(t)
	ctx := t.Context()
	s, created, err := in.Reserve(ctx, "key", "ID1", pn, "hello")
	want := Send{Key: "key", ID: "ID1", To: pn, Text: "hello", State: SendPending, CreatedAt: start}
	if diff := cmp.Diff(want, s); diff != "" || !created || err != nil {
		t.Fatalf("reserve: created %v, %v (-want +got):\n%s", created, err, diff)
	}
	if s, created, err = in.Reserve(ctx, "key", "ID2", pn, "hello"); created || err != nil || s.ID != "ID1" {
		t.Fatalf("the same again: %+v, created %v, %v", s, created, err)
	}
	for _, other := range [][2]string{{lid, "hello"}, {pn, "hello!"}} {
		if _, _, err := in.Reserve(ctx, "key", "ID3", other[0], other[1]); !errors.Is(err, ErrKeyReused) {
			t.Errorf("the key for %v: %v", other, err)
		}
	}
	now.advance(time.Second)
	if _, _, err := in.Reserve(ctx, "second", "ID4", pn, "hello"); err != nil {
		t.Fatal(err)
	}
	if err := in.Attempt(ctx, "ID1"); err != nil {
		t.Fatal(err)
	}
	unfinished := func() (ids []string) {
		t.Helper()
		sends, err := in.Unfinished(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range sends {
			ids = append(ids, s.ID)
		}
		return ids
	}
	if diff := cmp.Diff([]string{"ID1", "ID4"}, unfinished()); diff != "" {
		t.Errorf("unfinished:\n%s", diff)
	}
	open := func(want int, since time.Time) {
		t.Helper()
		if n, oldest := in.OpenSends(); n != want || !oldest.Equal(since) {
			t.Errorf("%d open sends since %v, want %d since %v", n, oldest, want, since)
		}
	}
	open(2, start)
	again := New(in.db, Options{})
	_, err = again.Unfinished(ctx)
	if n, oldest := again.OpenSends(); err != nil || n != 2 || !oldest.Equal(start) {
		t.Errorf("another process knows of %d open sends since %v (%v), want 2 since %v", n, oldest, err, start)
	}
	if err := in.MarkSent(ctx, "ID1", start); err != nil {
		t.Fatal(err)
	}
	open(1, start.Add(time.Second))
	if err := in.MarkFailed(ctx, "ID1", "late"); !errors.Is(err, ErrNotPending) {
		t.Errorf("failed after it was sent: %v", err)
	}
	if err := in.Attempt(ctx, "ID1"); !errors.Is(err, ErrNotPending) {
		t.Errorf("attempted after it was sent: %v", err)
	}
	if err := in.MarkFailed(ctx, "ID4", "refused"); err != nil {
		t.Fatal(err)
	}
	open(0, time.Time{})
	if left := unfinished(); len(left) != 0 {
		t.Errorf("unfinished: %v", left)
	}
	s, _, err = in.Reserve(ctx, "key", "ID5", pn, "hello")
	want = Send{Key: "key", ID: "ID1", To: pn, State: SendDone, Attempts: 1, CreatedAt: start, SentAt: start}
	if diff := cmp.Diff(want, s); diff != "" || err != nil {
		t.Errorf("after it was sent: %v (-want +got):\n%s", err, diff)
	}
	if byID, ok, err := in.SendByID(ctx, "ID1"); err != nil || !ok || !cmp.Equal(want, byID) {
		t.Errorf("by its id: %+v, %v, %v", byID, ok, err)
	}
	if _, ok, err := in.SendByID(ctx, "ID5"); err != nil || ok {
		t.Errorf("by an id that stands for nothing: %v, %v", ok, err)
	}
	s, _, err = in.Reserve(ctx, "second", "ID6", pn, "hello")
	if err != nil || s.State != SendFailed || s.Error != "refused" || s.Text != "" {
		t.Errorf("after it was refused: %+v, %v", s, err)
	}
}

// That an earlier attempt may have reached the service is kept with the reason.
func TestUncertainSend(t *testing.T) {
	in, _, _ := newInbox(t)
	ctx := t.Context()
	for _, mark := range []struct {
		id, reason string
		by         func(context.Context, string, string) error
		uncertain  bool
	}{
		{"ID1", "no such group", in.MarkUncertain, true},
		{"ID2", "no such group", in.MarkFailed, false},
	} {
		if _, _, err := in.Reserve(ctx, mark.id, mark.id, pn, "hello"); err != nil {
			t.Fatal(err)
		}
		if err := mark.by(ctx, mark.id, mark.reason); err != nil {
			t.Fatal(err)
		}
		s, ok, err := in.SendByID(ctx, mark.id)
		if err != nil || !ok || s.State != SendFailed || s.Uncertain != mark.uncertain || s.Error != mark.reason || s.Text != "" {
			t.Errorf("%s: %+v, %v", mark.id, s, err)
		}
	}
	if n, _ := in.OpenSends(); n != 0 {
		t.Errorf("%d sends are open", n)
	}
}

func TestReserveNeedsAllNames(t *testing.T) {
	in, _, _ := newInbox(t)
	for _, args := range [][3]string{{"", "ID", pn}, {"k", "", pn}, {"k", "ID", ""}} {
		if _, _, err := in.Reserve(t.Context(), args[0], args[1], args[2], "x"); err == nil {
			t.Errorf("reserved %v", args)
		}
	}
}

// watched tells of each statement that has run on a database, before database/sql hears of it.
type watched struct {
	inner driver.Driver
	path  string
	ran   func(query string)
}

// Driver implements driver.Connector.
func (w *watched) Driver() driver.Driver { return w.inner }

// Connect implements driver.Connector.
func (w *watched) Connect(context.Context) (driver.Conn, error) {
	c, err := w.inner.Open(w.path)
	if err != nil {
		return nil, err
	}
	return &watchedConn{c.(sqliteConn), w.ran}, nil
}

// sqliteConn is what the driver's connection offers to database/sql.
type sqliteConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ExecerContext
	driver.QueryerContext
}

type watchedConn struct {
	sqliteConn
	ran func(query string)
}

// ExecContext implements driver.ExecerContext.
func (c *watchedConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	res, err := c.sqliteConn.ExecContext(ctx, query, args)
	c.ran(query)
	return res, err
}

// The caller gives up right after the record was written: what he is told has to be true of it.
func TestReserveWhileTheCallerGivesUp(t *testing.T) {
	first, db, _ := newInbox(t)
	var path string
	if err := db.QueryRowContext(t.Context(), `SELECT file FROM pragma_database_list WHERE name = 'main'`).Scan(&path); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ending := sql.OpenDB(&watched{db.Driver(), path, func(query string) {
		if strings.Contains(query, "INSERT INTO inbox_sends") {
			cancel()
		}
	}})
	defer func() {
		if err := ending.Close(); err != nil {
			t.Error(err)
		}
	}()
	_, _, err := New(ending, Options{}).Reserve(ctx, "key", "ID1", pn, "hello")
	if ctx.Err() == nil {
		t.Fatal("nothing was written")
	}
	sends, listErr := first.Unfinished(t.Context())
	if listErr != nil {
		t.Fatal(listErr)
	}
	if (err == nil) != (len(sends) == 1) {
		t.Errorf("the caller is told %v, and %d sends are recorded", err, len(sends))
	}
}
