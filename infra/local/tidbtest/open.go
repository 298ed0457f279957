package tidbtest

import (
	"database/sql"
	"fmt"
	"testing"

	"github.com/go-sql-driver/mysql"

	"cloudsession/shared/cloudstore"
)

// Open connects to a database that Start made, for statements of the test's own.
// It is closed when the test ends.
func Open(t testing.TB, cfg cloudstore.Config) *sql.DB {
	t.Helper()
	c := mysql.NewConfig()
	c.Net, c.Addr = "tcp", fmt.Sprintf("%s:%d", cfg.Host, cfg.Port)
	c.User, c.Passwd, c.DBName = cfg.User, cfg.Password, cfg.Database
	connector, err := mysql.NewConnector(c)
	if err != nil {
		t.Fatalf("connect to the test database: %v", err)
	}
	db := sql.OpenDB(connector)
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("close the test database: %v", err)
		}
	})
	return db
}
