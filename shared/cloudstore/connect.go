package cloudstore

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/go-sql-driver/mysql"
)

// Lifetimes of pooled connections. AWS drops idle ones after 340 s whatever
// keep-alive says, and TiDB Cloud's gateways may drop any after 30 minutes. The
// server is told to end a session that is silent for serverIdle, which must be
// longer than connMaxIdle: a process that froze inside a transaction would
// otherwise hold its locks, and so a session, for up to an hour.
const (
	connMaxLifetime = 5 * time.Minute
	connMaxIdle     = 20 * time.Second
	serverIdle      = 30 * time.Second
)

// Open checks the configuration and returns a store. It never dials: the first
// use does. That connections to another machine are in plain text is logged.
func Open(c Config) (*Store, error) {
	settings, err := driverConfig(c)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	if !c.UsesTLS() && !isLoopback(c.Host) {
		cmp.Or(c.Log, slog.Default()).Warn("TIDB_TLS=off: connections to TiDB are not encrypted")
	}
	var connector driver.Connector
	if connector, err = mysql.NewConnector(settings); err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	if c.Watcher != nil {
		connector = c.Watcher.Statements(connector)
	}
	s := &Store{db: sql.OpenDB(connector), config: c}
	conns := cmp.Or(c.MaxConns, 16)
	s.db.SetMaxOpenConns(conns)
	s.db.SetMaxIdleConns(conns)
	s.db.SetConnMaxLifetime(connMaxLifetime)
	s.db.SetConnMaxIdleTime(connMaxIdle)
	return s, nil
}

// Close closes the pool's connections.
func (s *Store) Close() error {
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("close database: %w", err)
	}
	return nil
}

// Ping checks that the database can be reached with these settings.
func (s *Store) Ping(ctx context.Context) error {
	if err := s.db.PingContext(ctx); err != nil {
		return fmt.Errorf("reach database: %w", err)
	}
	return nil
}

// driverConfig translates c for the driver, naming the field that is wrong.
func driverConfig(c Config) (*mysql.Config, error) {
	switch {
	case c.Host == "":
		return nil, fmt.Errorf("%w: no host (TIDB_HOST)", ErrBadInput)
	case c.User == "":
		return nil, fmt.Errorf("%w: no user (TIDB_USER)", ErrBadInput)
	case c.Database == "":
		return nil, fmt.Errorf("%w: no database (TIDB_DATABASE)", ErrBadInput)
	case c.Port < 0 || c.Port > 65535:
		return nil, fmt.Errorf("%w: port %d (TIDB_PORT)", ErrBadInput, c.Port)
	}
	security, err := tlsConfig(c)
	if err != nil {
		return nil, err
	}
	d := mysql.NewConfig()
	d.Net = "tcp"
	d.Addr = net.JoinHostPort(c.Host, strconv.Itoa(cmp.Or(c.Port, 4000)))
	d.User, d.Passwd, d.DBName = c.User, c.Password, c.Database
	d.TLS = security
	d.Timeout = cmp.Or(c.Timeout, 10*time.Second)
	d.ReadTimeout, d.WriteTimeout = d.Timeout, d.Timeout
	// One round trip a statement instead of three. Safe: utf8mb4 throughout.
	d.InterpolateParams = true
	d.ParseTime = true
	d.Loc = time.UTC
	d.Collation = "utf8mb4_bin"
	d.Params = map[string]string{
		"time_zone": "'+00:00'",
		// The protocol's transactions lock what they read: never leave that to
		// the server's default.
		"tidb_txn_mode":         "'pessimistic'",
		"transaction_isolation": "'REPEATABLE-READ'",
		"wait_timeout":          strconv.Itoa(int(serverIdle.Seconds())),
		// Shorter than the read timeout, so that waiting for a lock is told
		// apart from a dead connection.
		"innodb_lock_wait_timeout": strconv.Itoa(max(1, int(d.ReadTimeout.Seconds()/2))),
	}
	// What goes wrong comes back as an error; the driver's own log adds noise.
	d.Logger = &mysql.NopLogger{}
	return d, nil
}

// tlsConfig returns nil where the connection is to be in plain text.
func tlsConfig(c Config) (*tls.Config, error) {
	mode := c.TLS
	if mode == TLSDefault {
		mode = TLSVerify
		if isLoopback(c.Host) {
			mode = TLSOff
		}
	}
	switch mode {
	case TLSOff:
		return nil, nil
	case TLSVerify:
	default:
		return nil, fmt.Errorf("%w: TLS mode %q (TIDB_TLS), want verify or off", ErrBadInput, c.TLS)
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.Host}
	if c.CAFile == "" {
		return t, nil
	}
	pem, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, fmt.Errorf("read CA file (TIDB_CA): %w", err)
	}
	if t.RootCAs, err = x509.SystemCertPool(); err != nil {
		t.RootCAs = x509.NewCertPool()
	}
	if !t.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%w: no certificate in CA file %s (TIDB_CA)", ErrBadInput, c.CAFile)
	}
	return t, nil
}

// UsesTLS reports whether connections with these settings are protected.
func (c Config) UsesTLS() bool {
	return c.TLS == TLSVerify || c.TLS == TLSDefault && !isLoopback(c.Host)
}

// isLoopback is about names that can't leave the machine: no lookup is made.
func isLoopback(host string) bool {
	if ip := net.ParseIP(host); ip != nil {
		return ip.IsLoopback()
	}
	return host == "localhost"
}
