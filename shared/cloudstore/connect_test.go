package cloudstore_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"cloudsession/infra/local/faultproxy"
	"cloudsession/infra/local/tidbtest"
	"cloudsession/shared/cloudstore"
)

func TestOpenRefuses(t *testing.T) {
	good := cloudstore.Config{Host: "db.example", User: "u", Password: "s3cret", Database: "d"}
	notPEM := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(notPEM, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*cloudstore.Config){
		"TIDB_HOST":     func(c *cloudstore.Config) { c.Host = "" },
		"TIDB_USER":     func(c *cloudstore.Config) { c.User = "" },
		"TIDB_DATABASE": func(c *cloudstore.Config) { c.Database = "" },
		"TIDB_PORT":     func(c *cloudstore.Config) { c.Port = 70000 },
		"TIDB_TLS":      func(c *cloudstore.Config) { c.TLS = "maybe" },
		"TIDB_CA":       func(c *cloudstore.Config) { c.CAFile = notPEM },
	} {
		bad := good
		change(&bad)
		_, err := cloudstore.Open(bad)
		if !errors.Is(err, cloudstore.ErrBadInput) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v, want an error that names it", name, err)
		} else if strings.Contains(err.Error(), bad.Password) {
			t.Errorf("%s: the password is in the error", name)
		}
	}
	missing := good
	missing.CAFile = filepath.Join(t.TempDir(), "missing.pem")
	if _, err := cloudstore.Open(missing); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing CA file: %v", err)
	}
	open(t, good) // and it doesn't dial
}

func TestUsesTLS(t *testing.T) {
	for _, test := range []struct {
		host string
		mode cloudstore.TLSMode
		want bool
	}{
		{"db.example", "", true},
		{"10.0.0.1", "", true},
		{"127.0.0.1", "", false},
		{"::1", "", false},
		{"localhost", "", false},
		{"localhost.example", "", true},
		{"db.example", cloudstore.TLSOff, false},
		{"127.0.0.1", cloudstore.TLSVerify, true},
	} {
		if got := (cloudstore.Config{Host: test.host, TLS: test.mode}).UsesTLS(); got != test.want {
			t.Errorf("%s, mode %q: %v, want %v", test.host, test.mode, got, test.want)
		}
	}
}

// Whoever opens a database elsewhere in plain text says so, once.
func TestPlainTextIsLogged(t *testing.T) {
	for _, test := range []struct {
		host string
		mode cloudstore.TLSMode
		want int
	}{
		{"db.example", cloudstore.TLSOff, 1},
		{"db.example", "", 0},
		{"127.0.0.1", cloudstore.TLSOff, 0},
		{"localhost", "", 0},
	} {
		var own, standard bytes.Buffer
		before := slog.Default()
		slog.SetDefault(slog.New(slog.NewTextHandler(&standard, nil)))
		t.Cleanup(func() { slog.SetDefault(before) })
		config := cloudstore.Config{Host: test.host, TLS: test.mode, User: "u", Password: "secret", Database: "d"}
		open(t, config)
		config.Log = slog.New(slog.NewTextHandler(&own, nil))
		open(t, config)
		for _, log := range []string{own.String(), standard.String()} {
			if got := strings.Count(log, "not encrypted"); got != test.want || strings.Contains(log, "secret") {
				t.Errorf("%s, mode %q: %q, want %d lines", test.host, test.mode, log, test.want)
			}
		}
	}
}

// tlsServer speaks as much MySQL as a client needs to go over to TLS, in the
// given version, and tells of a completed handshake.
func tlsServer(t *testing.T, cert tls.Certificate, version uint16) (port int, shook chan error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	shook = make(chan error, 100)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer closeQuietly(c)
				if _, err := c.Write(greeting()); err != nil {
					return
				}
				header := make([]byte, 36) // the client asks for TLS
				if _, err := c.Read(header); err != nil {
					return
				}
				if header[5]&0x08 == 0 {
					shook <- errors.New("the client did not ask for TLS")
					return
				}
				server := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: version, MaxVersion: version})
				shook <- server.Handshake()
			})
		}
	})
	t.Cleanup(func() { closeQuietly(l); wg.Wait() })
	return l.Addr().(*net.TCPAddr).Port, shook
}

// greeting is a server's first packet: protocol 10, with TLS on offer.
func greeting() []byte {
	body := append([]byte{10}, "8.0.11-TiDB\x00"...)
	body = append(body, 1, 0, 0, 0)
	body = append(body, "12345678\x00"...)
	body = append(body, 0x00, 0x8a|0x02, 45, 2, 0, 0x0f, 0x00, 21) // protocol 4.1, TLS, secure connection, plugin auth
	body = append(body, make([]byte, 10)...)
	body = append(body, "901234567890\x00mysql_native_password\x00"...)
	return append([]byte{byte(len(body)), 0, 0, 0}, body...)
}

func certificate(t *testing.T, name string) (cert tls.Certificate, caFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	if ip := net.ParseIP(name); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{name}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	caFile = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, caFile
}

// With verification on, only the right name under a known root gets a password.
func TestTLSVerification(t *testing.T) {
	right, rightCA := certificate(t, "127.0.0.1")
	other, otherCA := certificate(t, "db.example")
	for _, test := range []struct {
		name    string
		cert    tls.Certificate
		caFile  string
		version uint16
		want    bool
		mends   bool // by itself, perhaps
	}{
		{"right", right, rightCA, tls.VersionTLS12, true, true},
		{"TLS 1.3", right, rightCA, tls.VersionTLS13, true, true},
		{"TLS 1.1", right, rightCA, tls.VersionTLS11, false, true},
		{"unknown root", right, "", tls.VersionTLS12, false, false},
		{"another name", other, otherCA, tls.VersionTLS12, false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			port, shook := tlsServer(t, test.cert, test.version)
			s := open(t, cloudstore.Config{
				Host: "127.0.0.1", Port: port, User: "u", Database: "d",
				TLS: cloudstore.TLSVerify, CAFile: test.caFile, Timeout: 2 * time.Minute,
			})
			err := s.Ping(t.Context())
			if err == nil {
				t.Fatal("reached a server that isn't one")
			}
			if cloudstore.IsUnavailable(err) != test.mends {
				t.Errorf("%v: counts as unavailable: %v", err, !test.mends)
			}
			if err := <-shook; (err == nil) != test.want {
				t.Errorf("handshake: %v, want success: %v", err, test.want)
			}
		})
	}
}

// The settings the protocol relies on hold on every connection, whatever the
// server's defaults are.
func TestConnectionSettings(t *testing.T) {
	config := tidbtest.Start(t)
	seen := make(chan string, 100)
	p := newProxy(t, config)
	p.watch = func(st faultproxy.Statement) {
		if strings.Contains(st.Text, "SET ") {
			seen <- st.Text
		}
	}
	s := open(t, p.config)
	if err := s.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	set := <-seen
	for _, want := range []string{"time_zone = '+00:00'", "tidb_txn_mode = 'pessimistic'", "transaction_isolation = 'REPEATABLE-READ'", "innodb_lock_wait_timeout = 5", "wait_timeout = 30"} {
		if !strings.Contains(set, want) {
			t.Errorf("connections don't set %s: %q", want, set)
		}
	}
}

func TestIsUnavailable(t *testing.T) {
	server := func(number uint16) error { return fmt.Errorf("wrapped: %w", &mysql.MySQLError{Number: number}) }
	for name, err := range map[string]error{
		"write conflict": server(9007), "deadlock": server(1213), "region unavailable": server(9005), "undetermined": server(8501),
		"too many connections": server(1040), "dead connection": mysql.ErrInvalidConn, "deadline": context.DeadlineExceeded,
		"refused": &net.OpError{Op: "dial", Err: errors.New("refused")},
	} {
		if !cloudstore.IsUnavailable(err) {
			t.Errorf("%s: %v counts as an answer", name, err)
		}
	}
	for name, err := range map[string]error{
		"nil": nil, "canceled": context.Canceled, "access denied": server(1045), "syntax": server(1064), "no table": server(1146),
		"too long": server(1406), "not found": cloudstore.ErrNotFound, "fenced": cloudstore.ErrFenced, "bad id": cloudstore.ErrBadSessionID,
	} {
		if cloudstore.IsUnavailable(err) {
			t.Errorf("%s: %v counts as unavailable", name, err)
		}
	}
}

// Each call on a database that is away says so, and none says "not found".
func TestUnavailableEverywhere(t *testing.T) {
	config := tidbtest.Start(t)
	p := newProxy(t, config)
	s := open(t, p.config)
	p.down()
	ctx := t.Context()
	calls := map[string]func() error{
		"Ping":           func() error { return s.Ping(ctx) },
		"Migrate":        func() error { return s.Migrate(ctx) },
		"Take":           func() error { _, err := s.Take(ctx, request("x", "a")); return err },
		"Takeable":       func() error { _, err := s.Takeable(ctx, "a", 1); return err },
		"Release":        func() error { return s.Release(ctx, "x", 1, "", 0, "") },
		"Owner":          func() error { _, err := s.Owner(ctx, "x"); return err },
		"OwnersOf":       func() error { _, err := s.OwnersOf(ctx, "a"); return err },
		"RefreshOwned":   func() error { _, err := s.RefreshOwned(ctx, "a", cloudstore.Owned{}); return err },
		"SetState":       func() error { return s.SetState(ctx, "x", 1, "s", "") },
		"SetWanted":      func() error { return s.SetWanted(ctx, "x", cloudstore.WantedOpen) },
		"Credentials":    func() error { _, err := s.Credentials(ctx, "x"); return err },
		"PutCredentials": func() error { return s.PutCredentials(ctx, creds("x", 1, "c")) },
		"Segments":       func() error { _, err := s.Segments(ctx, "x", 1, 1, 1); return err },
		"Lineage":        func() error { _, err := s.Lineage(ctx, "x", 1); return err },
		"Prune":          func() error { _, err := s.Prune(ctx, "x", 1, 1, 1); return err },
		"Touch":          func() error { return s.Touch(ctx, []cloudstore.SessionEpoch{{SessionID: "x", Epoch: 1}}) },
		"CopySynced":     func() error { return s.CopySynced(ctx, []string{"x"}) },
		"DeleteSession":  func() error { return s.DeleteSession(ctx, "x") },
		"ListSessions":   func() error { _, _, err := s.ListSessions(ctx, 1, ""); return err },
		"SessionStatus":  func() error { _, err := s.SessionStatus(ctx, "x"); return err },
		"RegisterConnector": func() error {
			return s.RegisterConnector(ctx, cloudstore.Connector{ID: "a", Incarnation: "1"}, "", lease)
		},
		"RenewLease":      func() error { _, err := s.RenewLease(ctx, "a", "1", lease, cloudstore.Load{}); return err },
		"BuryConnector":   func() error { _, err := s.BuryConnector(ctx, "a", "b", "1", 0); return err },
		"BuryNamesake":    func() error { _, err := s.BuryNamesake(ctx, "a", "1", 0); return err },
		"RetireConnector": func() error { return s.RetireConnector(ctx, "a", "1") },
		"Connectors":      func() error { _, err := s.Connectors(ctx); return err },
		"Connector":       func() error { _, err := s.Connector(ctx, "a"); return err },
		"CreateCommand": func() error {
			_, _, err := s.CreateCommand(ctx, command("x", cloudstore.CommandSync, "", ""))
			return err
		},
		"Command":         func() error { _, err := s.Command(ctx, "c"); return err },
		"ClaimCommand":    func() error { _, _, err := s.ClaimCommand(ctx, "c", "a", "1"); return err },
		"FinishCommand":   func() error { return s.FinishCommand(ctx, "c", "1", true, "", "", nil) },
		"RetargetCommand": func() error { return s.RetargetCommand(ctx, "c", "1", "") },
		"HandOver": func() error {
			return s.HandOver(ctx, cloudstore.Handover{SessionID: "x", Epoch: 1, Target: "b", CommandID: "c", Incarnation: "1"})
		},
		"Unreserve":       func() error { return s.Unreserve(ctx, "x", "b", "", 0) },
		"WantedSessions":  func() error { _, err := s.WantedSessions(ctx, "", 1); return err },
		"PendingCommands": func() error { _, err := s.PendingCommands(ctx, "a", 0); return err },
		"ExpireCommands":  func() error { _, err := s.ExpireCommands(ctx); return err },
		"MarkRestored":    func() error { _, err := s.MarkDatabaseRestored(ctx); return err },
	}
	for name, call := range calls {
		if err := call(); !cloudstore.IsUnavailable(err) || errors.Is(err, cloudstore.ErrNotFound) {
			t.Errorf("%s: %v, want unavailable", name, err)
		} else if strings.Contains(err.Error(), config.Password) {
			t.Errorf("%s: the password is in the error", name)
		}
	}
}

// The server ends a silent session, so a frozen process gives its locks back.
func TestServerEndsSilentTransactions(t *testing.T) {
	s, config := migrated(t)
	register(t, s, "a")
	mustTake(t, s, "x", "a")
	frozen, err := rawDB(t, config).Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer closeQuietly(frozen)
	for _, query := range []string{"BEGIN", "UPDATE session_owners SET state = 'locked' WHERE session_id = 'x'", "SET wait_timeout = 1"} {
		if _, err := frozen.ExecContext(t.Context(), query); err != nil {
			t.Fatal(err)
		}
	}
	if taken := mustTake(t, s, "x", "a"); taken.Parent.Owner.State == "locked" {
		t.Error("the frozen transaction was committed")
	}
	if _, err := frozen.ExecContext(t.Context(), "COMMIT"); err == nil {
		t.Error("the frozen session is still there")
	}
}

// One connection is enough for everything, as in a Lambda.
func TestSingleConnection(t *testing.T) {
	direct, config := migrated(t)
	config.MaxConns = 1
	s := open(t, config)
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	register(t, s, "a")
	backedUp(t, s, "x", "a")
	again := []cloudstore.Segment{segment("x", 1, 1, cloudstore.KindBase, "")} // reads tags back
	if got, err := s.AppendSegments(t.Context(), again); err != nil || got[0] != cloudstore.Durable {
		t.Errorf("append: %v, %v", got, err)
	}
	create(t, s, command("x", cloudstore.CommandSync, "", ""))
	if _, _, err := s.ListSessions(t.Context(), 0, ""); err != nil {
		t.Error(err)
	}
	if err := s.DeleteSession(t.Context(), "x"); err != nil {
		t.Error(err)
	}
	if _, err := direct.SessionStatus(t.Context(), "x"); !errors.Is(err, cloudstore.ErrNotFound) {
		t.Errorf("status afterwards: %v", err)
	}
}
