// Command tidbbuild builds the real TiDB engine into .build/bin, showing
// progress: the first build takes some minutes, later ones nothing.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"cloudsession/infra/local/tidbproc"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	_, err := tidbproc.Build(ctx, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "build TiDB:", err)
		os.Exit(1)
	}
}
