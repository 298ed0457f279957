// Command invoke is `make invoke FN=list-sessions EVENT=infra/events/list.json`:
// it runs a function's real binary once, without Docker, against the database
// that TIDB_HOST names or that of the running `make run`.
package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"cloudsession/infra/local/lambdaemu"
	"cloudsession/infra/local/stack"
	"cloudsession/shared/devtoken"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "invoke:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, getenv func(string) string, out, log io.Writer) error {
	if len(args) != 2 {
		return errors.New("usage: make invoke FN=list-sessions EVENT=infra/events/list.json")
	}
	binary, err := stack.Bootstrap(args[0])
	if err != nil {
		return err
	}
	getenv, err = environment(getenv)
	if err != nil {
		return err
	}
	event, err := readEvent(args[1], getenv)
	if err != nil {
		return err
	}
	host, err := lambdaemu.New(lambdaemu.Options{
		Out: log, InitTimeout: 2 * time.Minute, // Lambda's own limit is for Lambda's machines
		Functions: []lambdaemu.Function{{Name: args[0], Binary: binary, Env: stack.FunctionEnv(getenv)}},
	})
	if err != nil {
		return err
	}
	defer host.Close()
	result, err := host.Invoke(ctx, args[0], event)
	if err != nil {
		return err
	}
	fmt.Fprintf(log, "start %s, response after %s\n", result.Init.Round(10*time.Microsecond), result.Duration.Round(10*time.Microsecond))
	return printResponse(out, result.Payload)
}

// environment is the caller's if it names a database, else the running system's.
// Tokens need a secret that function and caller share: without one it is made
// up for this call.
func environment(getenv func(string) string) (func(string) string, error) {
	if getenv("TIDB_HOST") == "" {
		dir := cmp.Or(getenv("DATA"), "data")
		e, err := stack.Running(dir)
		if errors.Is(err, stack.ErrNotRunning) {
			return nil, fmt.Errorf("%w: start it with `make run`, or set TIDB_HOST", err)
		} else if err != nil {
			return nil, err
		}
		return func(name string) string { return cmp.Or(e[name], getenv(name)) }, nil
	}
	if getenv("JWT_SECRET") == "" && getenv("JWT_JWKS_URL") == "" {
		secret := rand.Text() + rand.Text()
		return func(name string) string {
			if name == "JWT_SECRET" {
				return secret
			}
			return getenv(name)
		}, nil
	}
	return getenv, nil
}

// holes are what readEvent fills in an event: the variable of that name, or a
// fresh token with these scopes.
var holes = map[string][]string{
	"TOKEN":      {devtoken.ScopeRead, devtoken.ScopeWrite},
	"READ_TOKEN": {devtoken.ScopeRead},
}

// readEvent reads the event and fills its holes, ${TOKEN} and ${READ_TOKEN}.
func readEvent(file string, getenv func(string) string) ([]byte, error) {
	event, err := os.ReadFile(file) //nolint:gosec // the caller's own file
	if err != nil {
		return nil, fmt.Errorf("read event: %w", err)
	}
	for name, scopes := range holes {
		hole := []byte("${" + name + "}")
		if !bytes.Contains(event, hole) {
			continue
		}
		token := getenv(name)
		if token == "" {
			token, err = devtoken.Mint([]byte(getenv("JWT_SECRET")), "local", scopes, time.Hour)
			if err != nil {
				return nil, fmt.Errorf("fill %s: %w", hole, err)
			}
		}
		event = bytes.ReplaceAll(event, hole, []byte(token))
	}
	if !json.Valid(event) {
		return nil, fmt.Errorf("read event: %s is not JSON", file)
	}
	return event, nil
}

func printResponse(out io.Writer, payload []byte) error {
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, payload, "", "  "); err != nil {
		return fmt.Errorf("print response: %w", err)
	}
	pretty.WriteByte('\n')
	if _, err := pretty.WriteTo(out); err != nil {
		return fmt.Errorf("print response: %w", err)
	}
	return nil
}
