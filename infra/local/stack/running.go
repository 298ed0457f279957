package stack

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"cloudsession/infra/local/flock"
)

// runFile is there while a stack runs: all that other commands need to use it.
const runFile = "run.env"

// ErrNotRunning says that no stack runs on the folder.
var ErrNotRunning = errors.New("no system runs on this folder")

// NoteRun writes the folder's run.env (0600): the environment of a connector,
// and API_URL, for commands beside this process and for Running.
func (s *Stack) NoteRun(c *Connector) error {
	e := environment{"API_URL": s.APIURL()}.merge(s.functionEnv(), c.env)
	if err := s.lock.Note(fmt.Sprintf("process %d, API on %s", os.Getpid(), s.APIURL())); err != nil {
		return err
	}
	return e.write(filepath.Join(s.options.Dir, runFile), "The system that runs now. Removed when it stops.")
}

func (s *Stack) forgetRun() error {
	if err := os.Remove(filepath.Join(s.options.Dir, runFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", runFile, err)
	}
	return nil
}

// Running reads what NoteRun wrote, if that stack still runs; ErrNotRunning
// otherwise.
func Running(dir string) (map[string]string, error) {
	e, err := readEnvironment(filepath.Join(dir, runFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", dir, ErrNotRunning)
	} else if err != nil {
		return nil, err
	}
	// A stack that was killed leaves the file, but not its lock.
	lock, _, err := flock.Try(filepath.Join(dir, "stack.lock"))
	switch {
	case errors.Is(err, flock.ErrHeld):
		return e, nil
	case err != nil:
		return nil, err
	}
	return nil, errors.Join(fmt.Errorf("%s: %w", dir, ErrNotRunning), lock.Unlock())
}

// functionOnly are the variables of a run that functions get; the secret that
// opens sessions is not among them.
var functionOnly = []string{
	"TIDB_HOST", "TIDB_PORT", "TIDB_USER", tidbPassword, "TIDB_DATABASE", "TIDB_TLS", "TIDB_CA",
	jwtSecret, "JWT_JWKS_URL", "JWT_ISSUER", "JWT_AUDIENCE",
	"AWS_ENDPOINT_URL_SQS", "AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN",
	"COMMAND_WAIT", "DEPLOYMENT", "LOG_LEVEL", "LOG_FORMAT", "SSL_CERT_FILE", "SSL_CERT_DIR",
}

// FunctionEnv picks from an environment what a function may see, "NAME=value".
func FunctionEnv(getenv func(string) string) []string {
	e := environment{}
	for _, name := range functionOnly {
		if value := getenv(name); value != "" {
			e[name] = value
		}
	}
	return e.list()
}

// Bootstrap is the path of a function's binary; an error if it is not built.
func Bootstrap(function string) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	binary := bootstrap(root, function)
	return binary, built(binary)
}
