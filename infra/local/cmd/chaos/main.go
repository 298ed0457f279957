// Command chaos tries to break the system for as long as it is told to, and
// exits 0 only if it held every promise. DURATION is how long (5m), SEED what
// the first schedule is made from (random); each further schedule takes the next
// seed, so that any of them can be played again on its own. SEED=loss is the one
// schedule that was made by hand. CONNECTOR names
// another build of the connector program; without
// it one is built whose clock can be stepped, which takes some minutes the first
// time.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"cloudsession/infra/local/chaos"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, os.Getenv)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, getenv func(string) string) error {
	duration, seed := 5*time.Minute, cmp.Or(getenv("SEED"), strconv.FormatUint(uint64(rand.Uint32()), 10)) //nolint:gosec // G404: any will do
	if v := getenv("DURATION"); v != "" {
		d, err := time.ParseDuration(v)
		if err != nil {
			return fmt.Errorf("DURATION: %w", err)
		}
		duration = d
	}
	schedules, err := chaos.Named(seed)
	if err != nil {
		return fmt.Errorf("SEED: %w", err)
	}
	dir, err := os.MkdirTemp("", "chaos-*")
	if err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	fmt.Printf("seed %s, for %s; data and logs in %s\n", seed, duration, dir)
	program, clocks := getenv("CONNECTOR"), false
	if program == "" {
		clocks = true
		if program, err = chaos.BuildWithClock(ctx, dir); err != nil {
			return err
		}
	}
	report, err := chaos.Run(ctx, chaos.Options{
		Dir: dir, Schedules: schedules, Duration: duration, Out: os.Stdout, Built: true,
		Connector: program, Clocks: clocks,
	})
	if report != nil {
		fmt.Println()
		if e := report.Text(os.Stdout); e != nil {
			err = errors.Join(err, e)
		}
	}
	if err != nil {
		return err
	}
	fmt.Println("violations: 0")
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove data: %w", err)
	}
	return nil
}
