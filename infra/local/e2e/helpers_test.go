package e2e

import (
	"bytes"
	"database/sql"
	"sync"

	"github.com/go-sql-driver/mysql"

	"cloudsession/shared/cloudstore"
)

// lockedBuffer collects a process's log while it is being read.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// openDatabase opens TiDB as an intruder or an accident would: around the store.
func openDatabase(c cloudstore.Config) (*sql.DB, error) {
	cfg := mysql.NewConfig()
	cfg.Net, cfg.Addr = "tcp", hostPort(c)
	cfg.User, cfg.Passwd, cfg.DBName = c.User, c.Password, c.Database
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector), nil
}
