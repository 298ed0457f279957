package tidbtest_test

import (
	"database/sql"
	"fmt"
	"testing"

	"github.com/go-sql-driver/mysql"

	"cloudsession/infra/local/leaktest"
	"cloudsession/infra/local/tidbtest"
	"cloudsession/shared/cloudstore"
)

func TestMain(m *testing.M) {
	tidbtest.Main(m, func() error { return leaktest.Find() })
}

func open(t *testing.T, c cloudstore.Config) *sql.DB {
	t.Helper()
	cfg := mysql.NewConfig()
	cfg.Net, cfg.Addr = "tcp", fmt.Sprintf("%s:%d", c.Host, c.Port)
	cfg.User, cfg.Passwd, cfg.DBName = c.User, c.Password, c.Database
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// Two databases of one test binary know nothing of each other, and neither
// user may look into the other's.
func TestDatabasesAreSeparate(t *testing.T) {
	first, second := tidbtest.Start(t), tidbtest.Start(t)
	a, b := open(t, first), open(t, second)
	for _, db := range []*sql.DB{a, b} {
		if _, err := db.ExecContext(t.Context(), "CREATE TABLE t (id INT PRIMARY KEY)"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := a.ExecContext(t.Context(), "INSERT INTO t (id) VALUES (1)"); err != nil {
		t.Fatal(err)
	}
	var n int
	if err := b.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM t").Scan(&n); err != nil {
		t.Fatal(err)
	}
	if n != 0 {
		t.Errorf("a new database holds %d rows of another", n)
	}
	if _, err := b.ExecContext(t.Context(), "INSERT INTO "+first.Database+".t (id) VALUES (2)"); err == nil {
		t.Error("one database's user may write to another database")
	}
	var version string
	if err := a.QueryRowContext(t.Context(), "SELECT TIDB_VERSION()").Scan(&version); err != nil {
		t.Errorf("not TiDB: %v", err)
	}
}
