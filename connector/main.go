// Command connector holds WhatsApp sessions: it keeps their sockets, pushes
// every change of their state to TiDB, sealed, and brings them back on any
// machine without a new QR scan.
//
// `connector run` is the service; the other subcommands talk to it over its
// local socket, or to TiDB directly.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// version is set at build time.
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// exitConfig is EX_CONFIG of sysexits.h: a service manager that knows it need not
// start the program again before somebody has mended the configuration.
const exitConfig = 78

// run executes one command line and returns the exit code: 0, 1, or exitConfig.
func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) int {
	cmd := rootCommand(program{env: parseEnviron(environ), out: stdout, errOut: stderr})
	cmd.SetArgs(args)
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	if err := cmd.ExecuteContext(ctx); err != nil {
		fmt.Fprintf(stderr, "connector: %v\n", err)
		if _, mistake := errors.AsType[configMistake](err); mistake {
			return exitConfig
		}
		return 1
	}
	return 0
}

// program is what every subcommand works with.
type program struct {
	env    map[string]string
	out    io.Writer
	errOut io.Writer
}

func rootCommand(p program) *cobra.Command {
	root := &cobra.Command{
		Use:           "connector",
		Short:         "Holds WhatsApp sessions and keeps them in TiDB, sealed and always current",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(
		runCommand(p), pairCommand(p), openCommand(p), closeCommand(p), sendCommand(p), messagesCommand(p),
		sessionsCommand(p), drainCommand(p), inspectCommand(p), importCommand(p), exportCommand(p), rekeyCommand(p), migrateCommand(p), tokenCommand(p), configCommand(p), versionCommand(p),
		databaseRestoredCommand(p), forgetCommand(p), restoreAtCommand(p), setCommand(p),
	)
	return root
}

func versionCommand(p program) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		Run: func(*cobra.Command, []string) { fmt.Fprintln(p.out, version) },
	}
}
