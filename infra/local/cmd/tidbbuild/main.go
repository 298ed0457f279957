// Command tidbbuild builds the real TiDB engine into .build/bin, showing
// progress: the first build takes some minutes, later ones nothing. With -check it
// vets and tests the engine's module instead, with -lint it lints it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"cloudsession/infra/local/tidbproc"
)

func main() {
	check := flag.Bool("check", false, "vet and test the engine's module")
	linter := flag.String("lint", "", "lint the engine's module with the golangci-lint at this path")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	what, err := "build TiDB", error(nil)
	switch {
	case *linter != "":
		what, err = "lint TiDB", tidbproc.Lint(ctx, os.Stdout, *linter)
	case *check:
		what, err = "check TiDB", tidbproc.Check(ctx, os.Stdout)
	default:
		_, err = tidbproc.Build(ctx, os.Stderr)
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, what+":", err)
		os.Exit(1)
	}
}
