package tidbproc_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql" // the database/sql driver

	"cloudsession/infra/local/leaktest"
	"cloudsession/infra/local/tidbproc"
	"cloudsession/shared/cloudstore"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// start runs an engine on dir; the first build may take minutes.
func start(t *testing.T, dir string) *tidbproc.Proc {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
	defer cancel()
	p, err := tidbproc.Start(ctx, dir, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p
}

func exec(t *testing.T, c cloudstore.Config, query string) string {
	t.Helper()
	db, err := sql.Open("mysql", fmt.Sprintf("%s:%s@tcp(%s:%d)/%s", c.User, c.Password, c.Host, c.Port, c.Database))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	var out sql.NullString
	err = db.QueryRowContext(t.Context(), query).Scan(&out)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		t.Fatalf("%s: %v", query, err)
	}
	return out.String
}

// What was committed survives a clean stop and a kill, a folder serves one
// engine at a time, and a new password replaces the old.
func TestDataSurvives(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir)
	config, err := p.CreateDatabase(t.Context(), "keep", "keeper", "first")
	if err != nil {
		t.Fatal(err)
	}
	exec(t, config, "CREATE TABLE t (v VARCHAR(20) PRIMARY KEY)")
	exec(t, config, "INSERT INTO t (v) VALUES ('kept')")

	if q, err := tidbproc.Start(t.Context(), dir, "127.0.0.1:0"); err == nil {
		q.Kill()
		t.Error("a second engine started on a folder in use")
	} else if !strings.Contains(err.Error(), "in use") {
		t.Errorf("second engine on a folder: %v; want it to say the folder is in use", err)
	}

	p.Kill()
	p = start(t, dir)
	if config, err = p.CreateDatabase(t.Context(), "keep", "keeper", "second"); err != nil {
		t.Fatal(err)
	}
	if got := exec(t, config, "SELECT v FROM t"); got != "kept" {
		t.Errorf("after a kill: %q, want the row", got)
	}
	stop(t, p)

	p = start(t, dir)
	if config, err = p.CreateDatabase(t.Context(), "keep", "keeper", "third"); err != nil {
		t.Fatal(err)
	}
	if got := exec(t, config, "SELECT v FROM t"); got != "kept" {
		t.Errorf("after a clean stop: %q, want the row", got)
	}
	stop(t, p)
}

func stop(t *testing.T, p *tidbproc.Proc) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := p.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.Done():
	default:
		t.Error("stopped, but not done")
	}
}

func TestRefusesOtherThanLoopback(t *testing.T) {
	p, err := tidbproc.Start(t.Context(), "", "0.0.0.0:0")
	if err == nil {
		p.Kill()
		t.Fatal("an engine without password listens on every interface")
	}
	if !strings.Contains(err.Error(), "loopback") {
		t.Errorf("error %q does not say why", err)
	}
}

func TestBadNames(t *testing.T) {
	var p tidbproc.Proc
	for _, bad := range []string{"", "a b", "a`; DROP", "x'y", "1a"} {
		if _, err := p.CreateDatabase(t.Context(), bad, "user", "p"); err == nil {
			t.Errorf("database name %q accepted", bad)
		}
		if _, err := p.CreateDatabase(t.Context(), "db", bad, "p"); err == nil {
			t.Errorf("user name %q accepted", bad)
		}
	}
}
