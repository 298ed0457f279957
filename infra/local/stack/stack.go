// Package stack runs the whole system on one machine with real processes: the
// TiDB engine, an SQS emulator, the Lambda bootstraps behind a local API
// gateway, and any number of connectors. `make run`, the demo and the
// end-to-end tests are built on it.
package stack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"cloudsession/infra/local/childproc"
	"cloudsession/infra/local/flock"
	"cloudsession/infra/local/lambdaemu"
	"cloudsession/infra/local/sqsemu"
	"cloudsession/shared/cloudstore"
	"cloudsession/shared/devtoken"
)

// ErrInUse says that another stack runs on the folder.
var ErrInUse = errors.New("folder is in use")

// Options says where and how a Stack runs. The zero value plus Dir is usable.
type Options struct {
	// Dir holds everything that is kept: the database, secrets, connectors'
	// folders. It is made (0700) when missing. One Stack at a time uses a folder.
	Dir string
	// APIAddr is the gateway's address. Default 127.0.0.1:0, a free port.
	APIAddr string
	// Out gets progress and every process's log. Default: nowhere.
	Out io.Writer
	// Getenv is the environment that TIDB_HOST, AWS_ENDPOINT_URL_SQS, the secrets
	// and everything else that the README documents are taken from, but for
	// CONNECTOR_ID, DATA_DIR and CREDENTIALS_DIRECTORY. Default: none of it,
	// everything local.
	Getenv func(string) string
	// FunctionEnv are more variables for the functions, "NAME=value"; they win.
	FunctionEnv []string
	// Built says that the programs are there: nothing is built.
	Built bool
}

// Stack is the running system without connectors; see StartConnector.
type Stack struct {
	options Options
	root    string
	lock    *flock.Lock
	secrets environment
	db      *database
	queue   *sqsemu.Server // nil: somebody else's
	shared  environment    // what functions and connectors both get
	host    *lambdaemu.Host
	socket  net.Listener // the API's; api serves it
	api     *http.Server
	served  sync.WaitGroup
	out     *childproc.Log

	mu         sync.Mutex
	connectors []*Connector
}

// Start builds what is not built yet and starts everything but connectors.
// When it returns, the API answers. ErrInUse when another stack has the folder.
func Start(ctx context.Context, o Options) (s *Stack, err error) {
	if o.Getenv == nil {
		o.Getenv = func(string) string { return "" }
	}
	o.Out = cmp.Or(o.Out, io.Discard)
	s = &Stack{options: o, out: childproc.NewLog(o.Out)}
	if s.root, err = Root(); err != nil {
		return nil, err
	}
	if s.options.Dir, err = filepath.Abs(o.Dir); err != nil {
		return nil, fmt.Errorf("find the data folder: %w", err)
	}
	if !o.Built {
		if err := Build(ctx, s.out); err != nil {
			return nil, err
		}
	}
	if err := s.takeFolder(); err != nil {
		return nil, err
	}
	for _, start := range []func(context.Context) error{s.listen, s.startDatabase, s.startQueue, s.startAPI, s.checkAPI} {
		if err := start(ctx); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	return s, nil
}

// takeFolder locks the folder and reads its secrets.
func (s *Stack) takeFolder() error {
	dir := s.options.Dir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("create data folder: %w", err)
	}
	lock, holder, err := flock.Try(filepath.Join(dir, "stack.lock"))
	if errors.Is(err, flock.ErrHeld) {
		return fmt.Errorf("%s: %w by %s", dir, ErrInUse, cmp.Or(holder, "another process"))
	} else if err != nil {
		return err
	}
	own, err := secrets(dir)
	if err == nil {
		err = lock.Note(fmt.Sprintf("process %d", os.Getpid()))
	}
	if err != nil {
		return errors.Join(err, lock.Unlock())
	}
	s.lock, s.secrets = lock, own.merge(s.pass(sessionSecret, jwtSecret))
	return nil
}

func (s *Stack) startDatabase(ctx context.Context) (err error) {
	s.db, err = startDatabase(ctx, s.root, s.options.Dir, s.secrets[tidbPassword], s.options.Getenv)
	if err != nil {
		return err
	}
	return s.db.migrate(ctx)
}

// APIURL is the gateway's address, http://host:port.
func (s *Stack) APIURL() string { return "http://" + s.socket.Addr().String() }

// Dir is the data folder, absolute.
func (s *Stack) Dir() string { return s.options.Dir }

// Queue is the SQS emulator, for its faults; nil when AWS_ENDPOINT_URL_SQS names another.
func (s *Stack) Queue() *sqsemu.Server { return s.queue }

// SQSEndpoint is the queue service's address, for AWS_ENDPOINT_URL_SQS.
func (s *Stack) SQSEndpoint() string { return s.shared["AWS_ENDPOINT_URL_SQS"] }

// StoreConfig says how to reach the database.
func (s *Stack) StoreConfig() cloudstore.Config { return s.db.config }

// SessionSecret is what this stack's connectors seal with.
func (s *Stack) SessionSecret() string { return s.secrets[sessionSecret] }

// JWTSecret is what its functions check tokens with.
func (s *Stack) JWTSecret() string { return s.secrets[jwtSecret] }

// DatabaseEnded is closed when the stack's own engine has ended, whoever ended
// it; nil, which blocks for ever, for somebody else's.
func (s *Stack) DatabaseEnded() <-chan struct{} {
	if s.db.proc == nil {
		return nil
	}
	return s.db.proc.Done()
}

// Issuer says whom tokens come from that can't be minted here; "" where they can.
func (s *Stack) Issuer() string {
	switch given := s.pass("JWT_JWKS_URL", "JWT_ISSUER", "JWT_AUDIENCE"); {
	case given["JWT_JWKS_URL"] != "":
		return "the issuer behind JWT_JWKS_URL"
	case len(given) > 0:
		return "whom JWT_ISSUER and JWT_AUDIENCE ask for"
	default:
		return ""
	}
}

// Token mints a bearer token good for an hour, with the given scopes; none means all.
func (s *Stack) Token(scopes ...string) (string, error) { return s.TokenFor(time.Hour, scopes...) }

// TokenFor is Token for another life than an hour.
func (s *Stack) TokenFor(life time.Duration, scopes ...string) (string, error) {
	if issuer := s.Issuer(); issuer != "" {
		return "", errors.New("tokens come from " + issuer)
	}
	if len(scopes) == 0 {
		scopes = []string{devtoken.ScopeRead, devtoken.ScopeWrite}
	}
	return devtoken.Mint([]byte(s.secrets[jwtSecret]), "local", scopes, life)
}

// Close stops connectors, functions, queue and database in that order, and
// waits for them. Data stays. Closing twice does nothing.
func (s *Stack) Close() error {
	errs := []error{s.closeConnectors()}
	if s.api != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if s.api.Shutdown(ctx) != nil { // requests that take longer are cut
			errs = append(errs, s.api.Close())
		}
	} else if s.socket != nil {
		errs = append(errs, s.socket.Close())
	}
	if s.host != nil {
		s.host.Close()
	}
	s.served.Wait()
	if s.queue != nil {
		errs = append(errs, s.queue.Close())
	}
	if s.db != nil {
		errs = append(errs, s.db.close())
	}
	if s.lock != nil {
		errs = append(errs, s.forgetRun(), s.lock.Unlock())
	}
	s.api, s.socket, s.host, s.queue, s.lock = nil, nil, nil, nil, nil
	return errors.Join(errs...)
}

// pass gives those of the named variables that the environment has.
func (s *Stack) pass(names ...string) environment {
	e := environment{}
	for _, name := range names {
		if value := s.options.Getenv(name); value != "" {
			e[name] = value
		}
	}
	return e
}

func (s *Stack) logger() *slog.Logger { return slog.New(slog.NewTextHandler(s.out, nil)) }
