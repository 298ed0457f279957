package main

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"time"

	"github.com/pingcap/tidb/pkg/config"
	"github.com/pingcap/tidb/pkg/domain"
	"github.com/pingcap/tidb/pkg/kv"
	"github.com/pingcap/tidb/pkg/server"
	"github.com/pingcap/tidb/pkg/session"
	"github.com/pingcap/tidb/pkg/store/mockstore"
	unistore "github.com/pingcap/tidb/pkg/store/mockstore/unistore/config"
	"github.com/pingcap/tidb/pkg/util/logutil"
)

// engine is a running server with its storage.
type engine struct {
	addr   string
	ended  chan error // receives once if the server stops by itself
	store  kv.Storage
	domain *domain.Domain
	server *server.Server
}

// start opens the storage in dir, creating what a new one needs, and listens.
func start(addr, dir, logLevel string) (*engine, error) {
	host, port, err := listenAddr(addr)
	if err != nil {
		return nil, err
	}
	cfg := configure(host, port, dir, logLevel)
	if err := logutil.InitLogger(cfg.Log.ToLogConfig()); err != nil {
		return nil, fmt.Errorf("set up the engine's log: %w", err)
	}

	e := &engine{ended: make(chan error, 1)}
	e.store, err = mockstore.NewMockStore(mockstore.WithStoreType(mockstore.EmbedUnistore), mockstore.WithPath(dir))
	if err != nil {
		return nil, fmt.Errorf("open storage: %w", err)
	}
	if e.domain, err = session.BootstrapSession(e.store); err != nil {
		return nil, errors.Join(fmt.Errorf("bootstrap: %w", err), e.store.Close())
	}
	if err := settle(e.store); err != nil {
		e.domain.Close()
		return nil, errors.Join(err, e.store.Close())
	}
	if e.server, err = server.NewServer(cfg, server.NewTiDBDriver(e.store)); err != nil {
		e.domain.Close()
		return nil, errors.Join(fmt.Errorf("create server: %w", err), e.store.Close())
	}
	e.server.SetDomain(e.domain)
	e.domain.InfoSyncer().SetSessionManager(e.server)
	return e, e.listen()
}

// listen runs the server and waits until it accepts connections.
func (e *engine) listen() error {
	// The server's own switch for tests: with it, it says when it listens, and
	// takes port 0.
	server.RunInGoTest = true
	server.RunInGoTestChan = make(chan struct{})
	go func() { e.ended <- e.server.Run(e.domain) }()
	select {
	case <-server.RunInGoTestChan:
		e.addr = e.server.ListenAddr().String()
		return nil
	case err := <-e.ended:
		e.domain.Close()
		return errors.Join(fmt.Errorf("listen: %w", err), e.store.Close())
	}
}

// listenAddr splits addr and checks that it is loopback, since there is no
// password.
func listenAddr(addr string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, fmt.Errorf("-addr: %w", err)
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return "", 0, fmt.Errorf("-addr: %q is not a loopback address", host)
	}
	if port, err = strconv.Atoi(text); err != nil || port < 0 || port > 65535 {
		return "", 0, fmt.Errorf("-addr: bad port %q", text)
	}
	return host, port, nil
}

// configure sets the process-wide settings of the engine: quiet, on one port,
// and small, since it shares a machine with what it serves.
func configure(host string, port int, dir, logLevel string) *config.Config {
	cfg := config.NewConfig()
	cfg.Host = host
	cfg.Port = uint(port)
	cfg.Path = dir
	cfg.TempDir = filepath.Join(dir, "tmp")
	cfg.TempStoragePath = filepath.Join(dir, "tmp", "spill")
	cfg.Socket = ""
	cfg.Status.ReportStatus = false
	cfg.Log.Level = logLevel
	cfg.Log.EnableSlowLog.Store(false)
	cfg.Instance.EnableSlowLog.Store(false)
	cfg.Performance.TCPNoDelay = true
	config.StoreGlobalConfig(cfg)

	// Nobody reads the optimizer's statistics of tables this small.
	session.SetStatsLease(0)
	session.SetSchemaLease(time.Second)

	// The storage engine reserves these up front, per kind of file.
	store := &unistore.DefaultConf.Engine
	store.MaxMemTableSize = 16 << 20
	store.NumMemTables = 2
	store.VlogFileSize = 64 << 20
	store.NumCompactors = 1
	store.L1Size = 128 << 20
	// Stopping must not take longer the more there is.
	store.CompactL0WhenClose = false
	return cfg
}

// close stops the server, then what stands below it.
func (e *engine) close() {
	// Give statements under way a moment to end, then cut.
	e.server.DrainClients(200*time.Millisecond, 200*time.Millisecond)
	e.server.Close()
	e.domain.Close()
	// Nothing can be done about a storage that closes badly: it is replayed
	// from its log at the next start.
	_ = e.store.Close()
}
