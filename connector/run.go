package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"cloudsession/connector/baileys"
	"cloudsession/connector/control"
	"cloudsession/connector/logctx"
	"cloudsession/connector/manager"
	"cloudsession/connector/ownership"
	"cloudsession/connector/replicate"
	"cloudsession/shared/cloudstore"
	"cloudsession/shared/command"
	"cloudsession/shared/envelope"
)

func runCommand(p program) *cobra.Command {
	return &cobra.Command{
		Use:   "run",
		Short: "Run the connector: hold sessions until SIGTERM or SIGINT",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var cfg Config
			if err := p.load(&cfg); err != nil {
				return err
			}
			return serve(cmd.Context(), cfg, p.env["NOTIFY_SOCKET"], p.errOut)
		},
	}
}

// serve runs the connector until ctx ends or its lease is lost. notify is the
// service manager's socket, if any.
func serve(ctx context.Context, cfg Config, notify string, logTo io.Writer) (err error) {
	log, err := newLogger(cfg, logTo)
	if err != nil {
		return err
	}
	watcher, err := newNotifier(notify, log)
	if err != nil {
		return err
	}
	path, err := cfg.dataDir()
	if err != nil {
		return err
	}
	dir, err := ownership.OpenDir(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	seen, err := openMonitor(ctx, cfg.Addr, dir.Path(), log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, seen.close()) }()
	c, err := start(ctx, cfg, dir, watcher, seen, log)
	if err != nil && ctx.Err() != nil {
		// It was told to stop and holds nothing yet: that is no failure, whatever it waited for.
		log.Info("connector has stopped before its start was done", "reason", err)
		return nil
	}
	if err != nil {
		return err
	}
	return c.run(ctx)
}

// connector is a running connector's parts.
type connector struct {
	cfg     Config
	log     *slog.Logger
	dir     *ownership.Dir
	watcher *notifier
	monitor *monitor
	store   *cloudstore.Store
	lease   *ownership.Lease
	rep     *replicate.Replicator
	manager *manager.Manager
}

// start takes the connector's place in TiDB. While TiDB is away it says so and
// goes on trying: a machine often starts before its network. SQS is not waited
// for: without it commands come a little later, by the heartbeat.
func start(ctx context.Context, cfg Config, dir *ownership.Dir, watcher *notifier, seen *monitor, log *slog.Logger) (_ *connector, err error) {
	keys, err := cfg.keyring()
	if err != nil {
		return nil, err
	}
	endpoint, err := cfg.endpoint()
	if err != nil {
		return nil, err
	}
	c := &connector{cfg: cfg, log: log, dir: dir, watcher: watcher, monitor: seen}
	database := cfg.store(0)
	database.Watcher, database.Log = seen, log
	if c.store, err = cloudstore.Open(database); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.store.Close())
		}
	}()
	queue, err := cfg.queue(ctx)
	if err != nil {
		return nil, fmt.Errorf("set up SQS: %w", err)
	}
	hook, err := cfg.dispatcher(log)
	if err != nil {
		return nil, err
	}
	err = retry(ctx, log, watcher, "waiting for TiDB", func(ctx context.Context) error {
		seen.pulse.Beat(startPatience)
		return c.store.Migrate(ctx)
	})
	if err != nil {
		return nil, err
	}
	if err := c.register(ctx); err != nil {
		return nil, err
	}
	c.assemble(keys, manager.Options{
		DataDir: dir.Path(), Store: c.store, Keys: keys, Lease: c.lease,
		Queue: seen.Queue(queue), QueueName: command.QueueName(cfg.QueuePrefix, cfg.ConnectorID),
		Capacity: cfg.Capacity, Endpoint: endpoint, DeviceName: cfg.DeviceName, Webhook: hook, Log: log,
		ProtectTime: time.Duration(cfg.ProtectTime) * time.Second,
		Observer:    seen.Sessions, Traffic: seen.Traffic,
	})
	seen.watch(c, hook)
	return c, nil
}

func (c *connector) assemble(keys *envelope.Keyring, o manager.Options) {
	c.rep = replicate.New(c.store, keys, replicate.Options{Credentials: baileys.Credentials, Log: c.log, Observer: c.monitor.Replication})
	o.Replicator = c.rep
	c.manager = manager.New(o)
}

// register takes the connector's place. One of this name that lives elsewhere is
// waited for, and so is the end of one that has died.
func (c *connector) register(ctx context.Context) error {
	opt := ownership.Options{
		Store: c.store, Dir: c.dir, Log: c.log,
		Connector: cloudstore.Connector{ID: c.cfg.ConnectorID, Version: version, Capacity: c.cfg.Capacity},
		Load: aliveBy(c.watcher, func() cloudstore.Load {
			load := c.manager.Load()
			c.monitor.pulse.Beat(heartbeatPatience)
			return load
		}),
	}
	return retry(ctx, c.log, c.watcher, "waiting for this connector's place", func(ctx context.Context) (err error) {
		c.monitor.pulse.Beat(startPatience)
		c.lease, err = ownership.Register(ctx, opt)
		if !errors.Is(err, cloudstore.ErrIncarnation) {
			return err
		}
		if err := ownership.AwaitNamesake(ctx, opt); err != nil {
			return err
		}
		c.lease, err = ownership.Register(ctx, opt)
		return err
	})
}

// aliveBy wraps what each heartbeat asks for: with TiDB away or not, a manager
// that still beats and still counts its sessions is alive to the watchdog.
func aliveBy(watcher *notifier, load func() cloudstore.Load) func() cloudstore.Load {
	return func() cloudstore.Load {
		l := load()
		watcher.alive()
		return l
	}
}

// How long one attempt of retry may take, and the pause before the next.
const (
	attemptTime = time.Minute
	longestRest = 15 * time.Second
)

// retry calls f until it succeeds, with a pause that grows. Only what may mend
// itself is tried again; the first failure of a kind is logged.
func retry(ctx context.Context, log *slog.Logger, watcher *notifier, what string, f func(context.Context) error) error {
	pause, last := time.Second, ""
	for {
		attempt, cancel := context.WithTimeout(ctx, attemptTime)
		err := f(attempt)
		cancel()
		if err == nil || ctx.Err() != nil || !mayMend(err) {
			return err
		}
		if err.Error() != last {
			log.Warn(what, "error", err)
			last = err.Error()
		}
		watcher.starting(what, longestRest+attemptTime+longestRest)
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
		pause = min(2*pause, longestRest)
	}
}

func mayMend(err error) bool {
	return cloudstore.IsUnavailable(err) || errors.Is(err, cloudstore.ErrIncarnation)
}

// run serves the local socket and the sessions, then stops cleanly.
func (c *connector) run(ctx context.Context) error {
	local := control.NewServer(c.manager.Local())
	listener, err := control.Listen(c.dir.Path())
	if err != nil {
		return errors.Join(err, c.stop(nil, local))
	}
	c.log.Info("connector is running", "connector", c.cfg.ConnectorID, "version", version, "capacity", c.cfg.Capacity)
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.manager.Run(gctx) })
	g.Go(func() error { return returnMemory(gctx) })
	g.Go(func() error { return local.Serve(listener) })
	g.Go(func() error {
		<-gctx.Done()
		return local.End()
	})
	c.watcher.ready()
	err = g.Wait()
	return errors.Join(err, c.stop(err, local))
}

// answerTime is how long the callers of the local socket may take to get their answers
// once the sessions are closed: a send without an outcome is looked for in TiDB for 2 s
// (whatsapp.Grace.Promise).
const answerTime = 3 * time.Second

// stop closes every session, answers who waits for that, and gives up the connector's
// place. After a lost lease nothing may be pushed any more.
func (c *connector) stop(cause error, local *control.Server) error {
	atMost := time.Duration(c.cfg.StopDeadline) * time.Second
	ctx, cancel := context.WithTimeout(context.Background(), atMost)
	defer cancel()
	started := time.Now()
	c.watcher.stopping(atMost)
	c.monitor.stopping.Store(true)
	var err error
	if errors.Is(cause, ownership.ErrLost) {
		err = c.manager.Abandon()
	} else if err = c.manager.Close(ctx); err == nil {
		err = c.lease.Retire(ctx)
	}
	c.answer(ctx, local)
	// Without a clean end the lease runs out by itself: this connector's own
	// files are the newest state, and its next start should find them unclaimed.
	c.rep.Close()
	err = errors.Join(err, c.store.Close())
	c.log.Info("connector has stopped", "took", time.Since(started).Round(time.Millisecond), "clean", err == nil)
	return err
}

// answer waits for the requests of the local socket, whose sends have ended with their
// sessions. One that can't be answered is not what a stop fails for.
func (c *connector) answer(ctx context.Context, local *control.Server) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	if err := local.Close(ctx); err != nil {
		c.log.Warn("requests of the local socket were cut off", "error", err)
	}
}

func newLogger(cfg Config, w io.Writer) (*slog.Logger, error) {
	level, err := cfg.logLevel()
	if err != nil {
		return nil, err
	}
	opt := &slog.HandlerOptions{Level: level}
	if cfg.LogFormat == "json" {
		return slog.New(logctx.Handler(slog.NewJSONHandler(w, opt))), nil
	}
	return slog.New(logctx.Handler(slog.NewTextHandler(w, opt))), nil
}
