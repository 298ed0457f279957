package faultproxy_test

import (
	"database/sql"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"cloudsession/infra/local/faultproxy"
	"cloudsession/infra/local/tidbtest"
	"cloudsession/shared/cloudstore"
)

// database is one behind a proxy, and the way past it.
type database struct {
	through, direct *sql.DB
	proxy           *faultproxy.Proxy

	mu   sync.Mutex
	hook func(faultproxy.Statement) faultproxy.Verdict
	seen []faultproxy.Statement
}

func startDatabase(t *testing.T) *database {
	t.Helper()
	config := tidbtest.Start(t)
	d := &database{}
	var err error
	d.proxy, err = faultproxy.StartMySQL(fmt.Sprintf("%s:%d", config.Host, config.Port), d.judge)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.proxy.Close(); err != nil {
			t.Error(err)
		}
	})
	d.through = openDB(t, config, d.proxy.Addr())
	d.direct = openDB(t, config, fmt.Sprintf("%s:%d", config.Host, config.Port))
	if _, err := d.direct.ExecContext(t.Context(), "CREATE TABLE t (n INT PRIMARY KEY, s VARBINARY(100))"); err != nil {
		t.Fatal(err)
	}
	return d
}

func openDB(t *testing.T, c cloudstore.Config, addr string) *sql.DB {
	t.Helper()
	m := mysql.NewConfig()
	m.Net, m.Addr, m.User, m.Passwd, m.DBName = "tcp", addr, c.User, c.Password, c.Database
	m.InterpolateParams, m.Logger = true, &mysql.NopLogger{}
	connector, err := mysql.NewConnector(m)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func (d *database) judge(st faultproxy.Statement) faultproxy.Verdict {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.seen = append(d.seen, st)
	if d.hook == nil {
		return faultproxy.Verdict{}
	}
	return d.hook(st)
}

// once gives the verdict v about the first statement of a kind on table t.
func (d *database) once(kind faultproxy.Kind, v faultproxy.Verdict) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.hook = func(st faultproxy.Statement) faultproxy.Verdict {
		if st.Kind != kind || !strings.HasPrefix(st.Text, "INSERT INTO t ") {
			return faultproxy.Verdict{}
		}
		d.hook = nil
		return v
	}
}

// insert uses a statement as text or a prepared one.
func (d *database) insert(t *testing.T, n int, kind faultproxy.Kind) error {
	const query = "INSERT INTO t (n, s) VALUES (?, ?)"
	if kind == faultproxy.Query {
		_, err := d.through.ExecContext(t.Context(), query, n, []byte("it's\\'"))
		return err
	}
	st, err := d.through.PrepareContext(t.Context(), query)
	if err != nil {
		return err
	}
	defer func() { _ = st.Close() }()
	_, err = st.ExecContext(t.Context(), n, "value")
	return err
}

func (d *database) has(t *testing.T, n int) bool {
	t.Helper()
	var rows int
	if err := d.direct.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM t WHERE n = ?", n).Scan(&rows); err != nil {
		t.Error(err)
	}
	return rows == 1
}

func TestStatementsSeen(t *testing.T) {
	d := startDatabase(t)
	if err := d.insert(t, 12, faultproxy.Query); err != nil {
		t.Fatal(err)
	}
	if err := d.insert(t, 13, faultproxy.Execute); err != nil {
		t.Fatal(err)
	}
	want := []struct {
		kind   faultproxy.Kind
		text   string
		digest string
	}{
		{faultproxy.Query, `INSERT INTO t (n, s) VALUES (12, _binary'it\'s\\\'')`, "INSERT INTO t (n, s) VALUES (?, ?)"},
		{faultproxy.Prepare, "INSERT INTO t (n, s) VALUES (?, ?)", "INSERT INTO t (n, s) VALUES (?, ?)"},
		{faultproxy.Execute, "INSERT INTO t (n, s) VALUES (?, ?)", "INSERT INTO t (n, s) VALUES (?, ?)"},
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.seen) != len(want) {
		t.Fatalf("saw %+v", d.seen)
	}
	for i, st := range d.seen {
		if st.Number != i+1 || st.Kind != want[i].kind || st.Text != want[i].text || st.Digest() != want[i].digest {
			t.Errorf("saw %+v with digest %q, want %+v", st, st.Digest(), want[i])
		}
	}
}

func TestDigestOfManyRows(t *testing.T) {
	one := faultproxy.Statement{Text: "INSERT INTO t (n, s) VALUES (1, 'a')"}
	many := faultproxy.Statement{Text: "INSERT INTO t (n, s)\n\t\tVALUES (1, 'a, (b) \\' c'), (2, _binary'x'), (3.5, '')"}
	if one.Digest() != many.Digest() {
		t.Errorf("digests %q and %q", one.Digest(), many.Digest())
	}
}

func TestFailBeforeAndAfter(t *testing.T) {
	d := startDatabase(t)
	n := 0
	for _, kind := range []faultproxy.Kind{faultproxy.Query, faultproxy.Execute} {
		for action, effect := range map[faultproxy.Action]bool{faultproxy.FailBefore: false, faultproxy.FailAfter: true} {
			n++
			then := make(chan bool, 1)
			d.once(kind, faultproxy.Verdict{Action: action, Then: func() { then <- d.has(t, n) }})
			if err := d.insert(t, n, kind); err == nil {
				t.Errorf("%s, action %d: no error", kind, action)
			}
			if before := next(t, then); d.has(t, n) != effect || before != effect {
				t.Errorf("%s, action %d: row there %v, and %v before the client knew; want %v", kind, action, d.has(t, n), before, effect)
			}
			if err := d.insert(t, n+100, kind); err != nil {
				t.Errorf("the next statement: %v", err)
			}
		}
	}
}

// A statement lands when its client is long gone.
func TestLate(t *testing.T) {
	d := startDatabase(t)
	release, landed := make(chan struct{}), make(chan struct{})
	d.once(faultproxy.Query, faultproxy.Verdict{Action: faultproxy.LateCut, Until: release, Then: func() { close(landed) }})
	if err := d.insert(t, 1, faultproxy.Query); err == nil {
		t.Error("no error from a cut connection")
	}
	if d.has(t, 1) {
		t.Error("the row is there before its statement")
	}
	d.proxy.Set(faultproxy.Fault{Cut: true}) // comes too late for it
	close(release)
	next(t, landed)
	d.proxy.Set(faultproxy.Fault{})
	if !d.has(t, 1) {
		t.Error("the row is not there after its statement")
	}

	release, landed = make(chan struct{}), make(chan struct{})
	d.once(faultproxy.Query, faultproxy.Verdict{Action: faultproxy.Late, Until: release, Then: func() { close(landed) }})
	time.AfterFunc(10*time.Millisecond, func() { close(release) })
	if err := d.insert(t, 2, faultproxy.Query); err != nil {
		t.Errorf("a client that waits: %v", err)
	}
	next(t, landed)
}
