// Command demo tells the story of the system against the simulated WhatsApp
// service: pair on one connector, hand the session over to another, lose that one
// and its disk, then the first one too, restore the session on a new machine, and
// talk on all the while. It exits 0 only if every step held.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"go.mau.fi/whatsmeow/types"

	"cloudsession/connector/watest"
	"cloudsession/infra/local/rig"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// timeLimit ends a demo that hangs; a good one takes well under a minute, where
// nothing else keeps the machine busy.
const timeLimit = 5 * time.Minute

// logName is the file in the folder for temporary files that the processes' logs go to.
const logName = "cloudsession-demo.log"

func run(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, timeLimit)
	defer cancel()
	dir, err := os.MkdirTemp("", "cloudsession-demo-*")
	if err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	logPath := filepath.Join(os.TempDir(), logName)
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	defer func() { err = errors.Join(err, log.Close(), os.RemoveAll(dir)) }()

	watest.SilenceSignal()
	d := &demo{dir: dir, out: os.Stdout, began: time.Now()}
	err = d.tell(ctx, d.story(log))
	if d.rig != nil {
		err = errors.Join(err, d.rig.Close())
	}
	if err != nil {
		return fmt.Errorf("%w (the processes' logs: %s)", err, logPath)
	}
	fmt.Printf("\nEvery step held, in %s. Nothing was lost, nothing was shown twice, no message key was used twice.\n",
		time.Since(d.began).Round(100*time.Millisecond))
	return nil
}

// demo is the story's state.
type demo struct {
	dir   string
	out   io.Writer
	began time.Time
	rig   *rig.Rig
	a, b  *rig.Connector
	c     atomic.Pointer[rig.Connector] // starts while there is traffic
	// owner's phone is linked to the session; the peer is whom it talks to.
	owner, peer *watest.Phone
	device      types.JID // the session, as the service knows it
	traffic     *rig.Traffic
	gap         func() (time.Duration, error) // since A died
}

// tell runs the steps one after the other, up to the first that fails, and prints how
// long each took.
func (d *demo) tell(ctx context.Context, steps []step) error {
	for _, s := range steps {
		start := time.Now()
		said, err := s.do(ctx)
		if err != nil {
			fmt.Fprintf(d.out, "  ✗ %s\n", s.what)
			return fmt.Errorf("%s: %w", s.what, err)
		}
		fmt.Fprintf(d.out, "  ✓ %-58s %7s\n", s.what, time.Since(start).Round(time.Millisecond))
		if said != "" {
			fmt.Fprintf(d.out, "      %s\n", said)
		}
	}
	return nil
}
