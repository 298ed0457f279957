package docs

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"
)

// databaseName is what makeDatabase calls the database, beside the one that the
// stack has made itself.
const databaseName = "documented"

// makeDatabase runs the statements of docs/deploy.md as the engine's root: first the
// database and its users, then `connector migrate` as the connectors' user.
func (w *world) makeDatabase() {
	w.t.Helper()
	config := w.rig.Stack.StoreConfig()
	m := mysql.NewConfig()
	m.Net, m.Addr, m.User = "tcp", fmt.Sprintf("%s:%d", config.Host, config.Port), "root"
	db, err := sql.Open("mysql", m.FormatDSN())
	w.must(err)
	defer func() { w.must(db.Close()) }()
	for _, statement := range documentedSQL(w.t) {
		if _, err := db.ExecContext(w.ctx, statement); err != nil {
			w.t.Fatalf("%s: %v", statement, err)
		}
	}
	w.database = []string{"TIDB_DATABASE=" + databaseName, "TIDB_USER=PREFIX.connector", "TIDB_PASSWORD=PASSWORD-1"}
}

// documentedSQL are the statements of docs/deploy.md, for databaseName.
func documentedSQL(t *testing.T) []string {
	t.Helper()
	all := statements(read(t, "docs/deploy.md"))
	if len(all) == 0 {
		t.Fatal("docs/deploy.md has no SQL")
	}
	return all
}

func statements(d document) (all []string) {
	for _, f := range d.fences {
		if f.language != "sql" {
			continue
		}
		text := strings.NewReplacer("cloudsession.*", databaseName+".*", "DATABASE cloudsession", "DATABASE "+databaseName).
			Replace(strings.Join(f.lines, "\n"))
		for statement := range strings.SplitSeq(text, ";") {
			if statement = strings.TrimSpace(statement); statement != "" {
				all = append(all, statement)
			}
		}
	}
	return all
}

// lookUp runs the statements of all other texts as tidb-reader, who they are for.
func (w *world) lookUp() {
	w.t.Helper()
	config := w.rig.Stack.StoreConfig()
	m := mysql.NewConfig()
	m.Net, m.Addr, m.DBName = "tcp", fmt.Sprintf("%s:%d", config.Host, config.Port), databaseName
	m.User, m.Passwd = "PREFIX.tidb-reader", "PASSWORD-2"
	db, err := sql.Open("mysql", m.FormatDSN())
	w.must(err)
	defer func() { w.must(db.Close()) }()
	for _, d := range documents(w.t) {
		if d.name == filepath.Join("docs", "deploy.md") {
			continue
		}
		for _, statement := range statements(d) {
			if err := answered(w.ctx, db, statement); err != nil {
				w.t.Errorf("%s: %s: %v", d.name, statement, err)
			}
		}
	}
}

// answered tells why a query has no answer, if it has none.
func answered(ctx context.Context, db *sql.DB, query string) (err error) {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	if !rows.Next() {
		return errors.Join(errors.New("no row"), rows.Err())
	}
	return nil
}

// TestDatabaseUsers: the connectors' user can do all that a connector does, and the
// functions' users have what the functions are tested with.
func TestDatabaseUsers(t *testing.T) {
	w := newWorld(t)
	a := w.connector("jakarta-1")
	w.have(a, "toko", w.owner)
	run := func(env []string, args ...string) (string, error) {
		cmd := a.Command(w.ctx, args...)
		cmd.Env = append(cmd.Env, env...)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	for _, args := range [][]string{
		{"migrate"},
		{"inspect", "verify", "toko"},
		{"close", "toko"},
		{"open", "toko"},
		{"rekey", "--dry-run"},
		{"import", "node-rows", "--dry-run"},
		{"close", "toko"},
		{"database-restored"},
		{"open", "toko"},
	} {
		if out, err := run(nil, args...); err != nil {
			t.Errorf("connector %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	w.lookUp()
	// The functions' users make no tables.
	out, err := run([]string{"TIDB_USER=PREFIX.tidb-writer", "TIDB_PASSWORD=PASSWORD-3"}, "migrate")
	if err == nil || !strings.Contains(out, "command denied") {
		t.Errorf("migrate as tidb-writer: %v\n%s", err, out)
	}
	if err := sameGrants(documentedSQL(t)); err != nil {
		t.Error(err)
	}
}

// sameGrants compares with functions/grants_test.go, where the functions run with
// these rights.
func sameGrants(statements []string) error {
	source, err := os.ReadFile(filepath.Join(top, "functions", "grants_test.go"))
	if err != nil {
		return err
	}
	var errs []error
	for _, who := range []string{"reader", "writer"} {
		tested := regexp.MustCompile(`account\(t, config, "` + who + `", "([A-Z, ]+)"\)`).FindSubmatch(source)
		if tested == nil {
			return fmt.Errorf("functions/grants_test.go has no account %s", who)
		}
		want := fmt.Sprintf("GRANT %s ON %s.* TO 'PREFIX.tidb-%s'", tested[1], databaseName, who)
		if !strings.Contains(strings.Join(statements, ";\n"), want) {
			errs = append(errs, fmt.Errorf("docs/deploy.md does not say: %s", want))
		}
	}
	return errors.Join(errs...)
}
