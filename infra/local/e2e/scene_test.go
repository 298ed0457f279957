package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"cloudsession/connector/watest"
	"cloudsession/infra/local/faultproxy"
	"cloudsession/shared/cloudstore"
)

// grantScenes lets the connectors' user into every scene's own database. Once
// for all of them: when TiDB carries out two grants side by side, what it read first
// can be the last that it remembers, without the other (privileges.Handle.UpdateAll
// reads the tables, then replaces what it had).
func grantScenes(ctx context.Context) error {
	return asRoot(ctx, "GRANT ALL PRIVILEGES ON `scene\\_%`.* TO '"+world.Stack.StoreConfig().User+"'@'%'")
}

// ownDatabase gives the scene a database in which no other's connectors look for
// sessions. The API does not serve it.
func (s *scene) ownDatabase() {
	s.t.Helper()
	s.schema = fmt.Sprintf("scene_%d", world.next.Add(1))
	s.must(asRoot(s.ctx, "CREATE DATABASE "+s.schema))
}

// asRoot runs a statement as the user that the engine comes with, who is known
// on this machine only.
func asRoot(ctx context.Context, statement string) error {
	cfg := world.Stack.StoreConfig()
	cfg.User, cfg.Password, cfg.Database = "root", "", ""
	db, err := openDatabase(cfg)
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, statement)
	return errors.Join(err, db.Close())
}

// beside is another session in the same database, with the same deadline.
func (s *scene) beside() *scene {
	s.t.Helper()
	other := newScene(s.t)
	other.schema, other.ctx = s.schema, s.ctx
	return other
}

func (s *scene) storeConfig() cloudstore.Config {
	cfg := world.Stack.StoreConfig()
	if s.schema != "" {
		cfg.Database = s.schema
	}
	return cfg
}

// faultyDatabase puts a fault proxy between a connector and TiDB and returns the
// variables that lead the connector over it.
func (s *scene) faultyDatabase() (*faultproxy.Proxy, []string) {
	s.t.Helper()
	p, err := faultproxy.Start(hostPort(world.Stack.StoreConfig()))
	s.must(err)
	s.t.Cleanup(func() {
		if err := p.Close(); err != nil {
			s.t.Error(err)
		}
	})
	host, port, err := net.SplitHostPort(p.Addr())
	s.must(err)
	return p, []string{"TIDB_HOST=" + host, "TIDB_PORT=" + port, protects}
}

// databaseWith puts a proxy that judges statements between a connector and TiDB and
// returns the variables that lead the connector over it.
func (s *scene) databaseWith(judge func(faultproxy.Statement) faultproxy.Verdict) []string {
	s.t.Helper()
	p, err := faultproxy.StartMySQL(hostPort(world.Stack.StoreConfig()), judge)
	s.must(err)
	s.t.Cleanup(func() {
		if err := p.Close(); err != nil {
			s.t.Error(err)
		}
	})
	host, port, err := net.SplitHostPort(p.Addr())
	s.must(err)
	return []string{"TIDB_HOST=" + host, "TIDB_PORT=" + port}
}

func hostPort(cfg cloudstore.Config) string {
	return net.JoinHostPort(cfg.Host, strconv.Itoa(cfg.Port))
}

// refuseLogins cuts the session's socket and refuses its logins until the rule
// is removed.
func (s *scene) refuseLogins(reason int) *watest.Rule {
	s.t.Helper()
	device := s.device()
	rule := world.WhatsApp.Faults().RefuseLogins(&device, watest.Refusal{Reason: reason})
	world.WhatsApp.Faults().Cut(&device)
	return rule
}

// waitFailoverKnown waits until a connector has looked at the session's owner
// row once more.
func (s *scene) waitFailoverKnown(c *rigConnector, of *scene) {
	s.t.Helper()
	// A heartbeat that began after the change has looked at every owner row.
	db := of.database()
	var before string
	const renewed = "SELECT CAST(lease_until AS CHAR) FROM connectors WHERE connector_id = ?"
	for range 3 {
		s.must(db.QueryRowContext(s.ctx, renewed, c.ID()).Scan(&before))
		for now := before; now == before; {
			s.must(db.QueryRowContext(s.ctx, renewed, c.ID()).Scan(&now))
			s.pause()
		}
	}
}

// pause is the interval of polling.
func (s *scene) pause() {
	s.t.Helper()
	select {
	case <-s.ctx.Done():
		s.t.Fatal(context.Cause(s.ctx))
	case <-time.After(50 * time.Millisecond):
	}
}

// waitDetail waits until a connector says something of the session.
func (s *scene) waitDetail(c *rigConnector, text string) {
	s.t.Helper()
	for !strings.Contains(s.mine(c).Detail, text) {
		s.pause()
	}
}

// waitOwner waits until the session's owner row is as a condition says.
func (s *scene) waitOwner(condition string) {
	s.t.Helper()
	db := s.database()
	for n := 0; n != 1; s.pause() {
		s.must(db.QueryRowContext(s.ctx, "SELECT COUNT(*) FROM session_owners WHERE session_id = ? AND "+condition, s.session).Scan(&n))
	}
}

// saidOnce checks that a connector has logged a message once for the session.
func (s *scene) saidOnce(c *rigConnector, message string) {
	s.t.Helper()
	n := 0
	for line := range strings.Lines(c.Logs()) {
		if strings.Contains(line, message) && strings.Contains(line, fmt.Sprintf("%q", s.session)) {
			n++
		}
	}
	if n != 1 {
		s.t.Errorf("connector %s said %q %d times", c.ID(), message, n)
	}
}

// endsItself waits until a connector process has ended because of a lost lease.
func (s *scene) endsItself(c *rigConnector) {
	s.t.Helper()
	select {
	case <-c.Done():
	case <-s.ctx.Done():
		s.t.Fatalf("connector %s goes on without its lease", c.ID())
	}
	_ = c.Kill9() // it has ended: only so that nobody stops it
	if logs := c.Logs(); strings.Count(logs, "lease was taken over") != 1 {
		s.t.Errorf("connector %s doesn't say once why it ended:\n%s", c.ID(), logs)
	}
}

// asideFiles are the session files that a data directory has set aside.
func (s *scene) asideFiles(dataDir string) []string {
	s.t.Helper()
	return s.glob(dataDir, "aside", "*.db")
}
