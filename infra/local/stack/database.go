package stack

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"cloudsession/infra/local/tidbproc"
	"cloudsession/shared/cloudstore"
)

// database is the engine of this stack, or somebody else's TiDB.
type database struct {
	binary  string
	dir     string
	release func() error   // gives up the engine's port; nil: not ours, or done
	proc    *tidbproc.Proc // nil: not ours, or stopped
	config  cloudstore.Config
}

const (
	databaseName = "cloudsession"
	databaseUser = "cloudsession"
)

// startDatabase starts the engine on dir, or takes the database that TIDB_HOST names.
func startDatabase(ctx context.Context, root, dir, password string, getenv func(string) string) (*database, error) {
	if getenv("TIDB_HOST") != "" {
		config, err := databaseFromEnv(getenv)
		return &database{config: config}, err
	}
	d := &database{binary: filepath.Join(root, ".build", "bin", "tidb"), dir: filepath.Join(dir, "tidb")}
	addr, release, err := reservePort()
	if err != nil {
		return nil, err
	}
	d.release = release
	if err := d.start(ctx, addr); err != nil {
		return nil, errors.Join(err, d.close())
	}
	config, err := d.proc.CreateDatabase(ctx, databaseName, databaseUser, password)
	if err != nil {
		return nil, errors.Join(err, d.close())
	}
	d.config = config
	return d, nil
}

func databaseFromEnv(getenv func(string) string) (cloudstore.Config, error) {
	c := cloudstore.Config{
		Host: getenv("TIDB_HOST"), User: getenv("TIDB_USER"), Password: getenv(tidbPassword), Database: getenv("TIDB_DATABASE"),
		TLS: cloudstore.TLSMode(getenv("TIDB_TLS")), CAFile: getenv("TIDB_CA"),
	}
	if port := getenv("TIDB_PORT"); port != "" {
		n, err := strconv.Atoi(port)
		if err != nil {
			return c, errors.New("TIDB_PORT is not a number")
		}
		c.Port = n
	}
	if c.User == "" || c.Database == "" {
		return c, errors.New("TIDB_HOST is set, but not TIDB_USER and TIDB_DATABASE")
	}
	return c, nil
}

// environment is how processes are told of the database.
func (d *database) environment() environment {
	e := environment{
		"TIDB_HOST": d.config.Host, "TIDB_USER": d.config.User, tidbPassword: d.config.Password,
		"TIDB_DATABASE": d.config.Database, "TIDB_TLS": string(d.config.TLS), "TIDB_CA": d.config.CAFile,
	}
	if d.config.Port != 0 {
		e["TIDB_PORT"] = strconv.Itoa(d.config.Port)
	}
	return e
}

// migrate makes the tables, so that the API answers before the first connector runs.
func (d *database) migrate(ctx context.Context) error {
	store, err := cloudstore.Open(d.config)
	if err != nil {
		return fmt.Errorf("open the database: %w", err)
	}
	if err := store.Migrate(ctx); err != nil {
		return errors.Join(fmt.Errorf("make the tables: %w", err), store.Close())
	}
	return store.Close()
}

func (d *database) start(ctx context.Context, addr string) (err error) {
	if err := built(d.binary); err != nil {
		return err
	}
	d.proc, err = tidbproc.StartBinary(ctx, d.binary, d.dir, addr)
	return err
}

// databaseStop is how long the engine may take to write what it holds.
const databaseStop = 2 * time.Minute

func (d *database) stop() error {
	if d.proc == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), databaseStop)
	defer cancel()
	proc := d.proc
	d.proc = nil
	return proc.Stop(ctx)
}

// close ends the engine for good.
func (d *database) close() error {
	err := d.stop()
	if d.release != nil {
		err = errors.Join(err, d.release())
		d.release = nil
	}
	return err
}

// DatabasePid is the process id of the stack's own engine while it runs, else 0.
func (s *Stack) DatabasePid() int {
	if s.db.proc == nil {
		return 0
	}
	return s.db.proc.Pid()
}

var errNotOurs = errors.New("the database is not this stack's to stop")

// StopDatabase stops the engine cleanly, for tests of its absence.
func (s *Stack) StopDatabase() error {
	if s.db.proc == nil {
		return errNotOurs
	}
	return s.db.stop()
}

// KillDatabase kills the engine as a crash would.
func (s *Stack) KillDatabase() error {
	if s.db.proc == nil {
		return errNotOurs
	}
	s.db.proc.Kill()
	s.db.proc = nil
	return nil
}

// StartDatabase starts the engine again, at the same address and with the same data.
func (s *Stack) StartDatabase(ctx context.Context) error {
	if s.db.dir == "" || s.db.proc != nil {
		return errors.New("the database is not stopped")
	}
	return s.db.start(ctx, s.db.config.Host+":"+strconv.Itoa(s.db.config.Port))
}
