package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"cloudsession/connector/health"
	"cloudsession/connector/metrics"
	"cloudsession/connector/ownership"
	"cloudsession/connector/webhook"
)

// Monitoring says where metrics and health are served.
type Monitoring struct {
	Addr string `env:"METRICS_ADDR" unset:"127.0.0.1:9464" help:"host:port where /metrics, /healthz and /readyz are served, without authentication; port 0 takes a free one; empty for nowhere"`
}

func (c Monitoring) addrProblem() error {
	if c.Addr == "" {
		return nil
	}
	_, port, err := net.SplitHostPort(c.Addr)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fmt.Errorf("METRICS_ADDR: %q is not host:port, such as 127.0.0.1:9464; empty turns it off", c.Addr)
	}
	return nil
}

// monitor is what others see of a connector: its metrics, whether it works and
// whether it may be given sessions. It is there from before the start, which may
// have to wait for TiDB, until after the stop.
type monitor struct {
	*metrics.Metrics
	pulse    *health.Pulse
	dir      string
	running  atomic.Pointer[connector] // nil before the start is done
	stopping atomic.Bool

	server *http.Server // nil: turned off
	served sync.WaitGroup
}

// heartbeatPatience is how old the last heartbeat may be: they come every 3 s, and
// take up to 3 s while TiDB hangs.
const heartbeatPatience = 20 * time.Second

// startPatience is how long a start may take before it tries something again.
const startPatience = attemptTime + 2*longestRest

// openMonitor listens on addr, unless that is empty.
func openMonitor(ctx context.Context, addr, dir string, log *slog.Logger) (*monitor, error) {
	m := &monitor{Metrics: metrics.New(version), pulse: health.NewPulse(ownership.BootClock, startPatience), dir: dir}
	if addr == "" {
		return m, nil
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("serve metrics on METRICS_ADDR, is another connector running?: %w", err)
	}
	if tcp, ok := listener.Addr().(*net.TCPAddr); ok && !tcp.IP.IsLoopback() {
		log.Warn("metrics are served without authentication on an address that other machines may reach", "addr", tcp.String())
	}
	m.server = &http.Server{Handler: m.routes(), ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute}
	m.served.Go(func() {
		// The sessions matter more than who watches: the connector goes on.
		if err := m.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			log.Error("metrics are not served any more", "error", err)
		}
	})
	log.Info("metrics are served", "addr", listener.Addr().String())
	return m, nil
}

func (m *monitor) routes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", m.Handler())
	mux.Handle("GET /healthz", health.Handler(m.works))
	mux.Handle("GET /readyz", health.Handler(m.ready))
	return mux
}

func (m *monitor) close() error {
	if m.server == nil {
		return nil
	}
	err := m.server.Close()
	m.served.Wait()
	if err != nil {
		return fmt.Errorf("stop serving metrics: %w", err)
	}
	return nil
}

// watch shows a connector that has started.
func (m *monitor) watch(c *connector, hook *webhook.Dispatcher) {
	s := metrics.Sources{Overview: c.manager.Overview, Lease: c.lease, Heartbeat: m.pulse.Age}
	if hook != nil {
		s.Webhook = hook.Counters
	}
	m.Watch(s)
	m.running.Store(c)
}

// works are the conditions of /healthz: those that a restart may mend. TiDB being
// away is not among them.
func (m *monitor) works() []health.Check {
	loop := health.Check{Name: "heartbeat"}
	if !m.pulse.Alive() {
		loop.Problem = fmt.Sprintf("the last one was %v ago", m.pulse.Age().Round(time.Second))
	}
	disk := health.Check{Name: "data_dir"}
	if err := writable(m.dir); err != nil {
		disk.Problem = "it can't be written: " + err.Error()
	}
	return []health.Check{loop, disk}
}

// probeFile is written to see whether the data directory can be.
const probeFile = "writable"

// writable returns why not, without the path: who asks isn't told where things lie.
func writable(dir string) error {
	err := os.WriteFile(filepath.Join(dir, probeFile), []byte{'\n'}, 0o600)
	if where, ok := errors.AsType[*fs.PathError](err); ok {
		return where.Err
	}
	return err
}

// ready are the conditions of /readyz: those of taking sessions and commands.
func (m *monitor) ready() []health.Check {
	c := m.running.Load()
	if c == nil {
		return []health.Check{{Name: "start", Problem: "it waits for TiDB, or for this connector's place there"}}
	}
	load := c.manager.Load()
	checks := []health.Check{{Name: "lease"}, {Name: "tidb"}, {Name: "draining"}, {Name: "capacity"}, {Name: "stopping"}}
	for i, problem := range []struct {
		is   bool
		text string
	}{
		{!c.lease.Valid(), "it has run out"},
		{!c.lease.Answered(), "it did not answer the last renewal of the lease"},
		{load.Draining, "the connector is draining"},
		{load.Sessions >= load.Capacity, fmt.Sprintf("the connector holds %d sessions of %d", load.Sessions, load.Capacity)},
		{m.stopping.Load(), "the connector is stopping"},
	} {
		if problem.is {
			checks[i].Problem = problem.text
		}
	}
	return checks
}
