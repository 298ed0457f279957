// Command tidb runs the real TiDB engine in one process on its embedded
// storage, for development and tests on one machine. It speaks the MySQL
// protocol on loopback; its user is root without password.
//
// It lives in a module of its own so that its several hundred dependencies
// stay out of the project's go.mod.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	if err := run(context.Background(), os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "tidb:", err)
		os.Exit(1)
	}
}

// run serves until a signal comes, or, with -exit-with-stdin, until stdin ends.
func run(ctx context.Context, args []string, stdin io.Reader, stdout io.Writer) error {
	flags := flag.NewFlagSet("tidb", flag.ContinueOnError)
	addr := flags.String("addr", "127.0.0.1:4000", "loopback `host:port` to listen on; port 0 picks a free one")
	dir := flags.String("dir", "", "data `folder`; empty keeps everything in a temporary one, removed at the end")
	exitWithStdin := flags.Bool("exit-with-stdin", false, "stop when standard input ends, so that nothing outlives the parent")
	logLevel := flags.String("log-level", "fatal", "the engine's own log: debug, info, warn, error or fatal")
	if err := flags.Parse(args); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	if *exitWithStdin {
		ctx = untilEOF(ctx, stdin)
	}

	folder, release, err := openFolder(*dir)
	if err != nil {
		return err
	}
	defer release()
	e, err := start(*addr, folder, *logLevel)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "tidb: ready on %s\n", e.addr)
	select {
	case <-ctx.Done():
	case err = <-e.ended:
	}
	e.close()
	return err
}

// untilEOF returns a context that also ends when r does.
func untilEOF(ctx context.Context, r io.Reader) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		// Whether it ended or broke, the parent is gone.
		_, _ = io.Copy(io.Discard, r)
		cancel()
	}()
	return ctx
}
