// Command run is `make run`: the whole system on this machine, with one
// connector, until Ctrl-C. Its data stays in ./data.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"cloudsession/infra/local/stack"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends it without waiting
	if err := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "run:", err)
		os.Exit(1)
	}
}

// config is what `make run` reads besides the variables that the functions and
// the connector document. Those it passes on, but for two of the connector's:
// DATA_DIR is in DATA, and CREDENTIALS_DIRECTORY is for what a service manager
// starts; a shell may have inherited one.
type config struct {
	Port int    // PORT, default 3000; 0 takes a free one
	Data string // DATA, default ./data
}

func readConfig(getenv func(string) string) (config, error) {
	c := config{Port: 3000, Data: cmp.Or(getenv("DATA"), "data")}
	if text := getenv("PORT"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 || n > 65535 {
			return c, fmt.Errorf("PORT: %q is not a port number", text)
		}
		c.Port = n
	}
	return c, nil
}

// tokenLife is how long the printed token is good.
const tokenLife = 24 * time.Hour

func run(ctx context.Context, args []string, getenv func(string) string, out, log io.Writer) (err error) {
	if len(args) > 0 {
		return errors.New("it takes no arguments; PORT and DATA are set in the environment")
	}
	c, err := readConfig(getenv)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "starting the database, the queue and the API …")
	s, err := stack.Start(ctx, stack.Options{
		Dir: c.Data, APIAddr: "127.0.0.1:" + strconv.Itoa(c.Port), Out: log, Getenv: getenv, Built: true,
	})
	if err != nil {
		return stopped(ctx, err)
	}
	defer func() {
		fmt.Fprintln(out, "\nstopping …")
		if err = errors.Join(err, s.Close()); err == nil {
			fmt.Fprintln(out, "stopped; the data is in", s.Dir())
		}
	}()
	dataDir := filepath.Join(s.Dir(), "connector")
	connector, err := s.StartConnector(ctx, stack.ConnectorOptions{ID: cmp.Or(getenv("CONNECTOR_ID"), "local"), DataDir: dataDir})
	if err != nil {
		return stopped(ctx, err)
	}
	if err := s.NoteRun(connector); err != nil {
		return err
	}
	if err := welcome(out, s, c.Data); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return nil
	case <-connector.Done():
		return stopped(ctx, fmt.Errorf("the connector ended: %w", cmp.Or(connector.Wait(ctx), errors.New("exit status 0"))))
	case <-s.DatabaseEnded():
		return stopped(ctx, errors.New("the database engine ended"))
	}
}

// stopped forgives what failed because the user stopped it.
func stopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// welcome says where the system is and what to type next.
func welcome(out io.Writer, s *stack.Stack, data string) error {
	prefix := ""
	if filepath.Clean(data) != "data" { // else the connector's own default fits
		prefix = "DATA_DIR=" + filepath.Join(data, "connector") + " "
	}
	fmt.Fprintf(out, "\nCloud Session Sync is running. Ctrl-C stops it; the data stays in %s.\n\n  API    %s\n", s.Dir(), s.APIURL())
	token, err := s.TokenFor(tokenLife)
	switch {
	case s.Issuer() != "":
		fmt.Fprintln(out, "  Token  from", s.Issuer())
	case err != nil:
		return err
	default:
		fmt.Fprintf(out, "  Token  good for %d hours; in another terminal:\n\n", int(tokenLife.Hours()))
		fmt.Fprintf(out, "  export TOKEN=%s\n", token)
	}
	fmt.Fprintf(out, `
Next, there:

  %[1]s.build/bin/connector pair personal
  curl -H "Authorization: Bearer $TOKEN" %[2]s/cloud/sessions
  curl -X POST -H "Authorization: Bearer $TOKEN" %[2]s/cloud/sessions/personal/sync

`, prefix, s.APIURL())
	return nil
}
