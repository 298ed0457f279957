// Package leaktest fails a package's tests that leave goroutines behind. It is goleak
// with more patience: that looks for less than half a second, while a connection that
// was closed may need seconds on a busy machine until its goroutines have ended.
package leaktest

import (
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// patience is how long goroutines may take to end after the last test.
const patience = 30 * time.Second

// Main runs the package's tests and exits the process, with 1 where goroutines are left
// after tests that passed. Call it as the last thing in TestMain.
func Main(m *testing.M, options ...goleak.Option) {
	code := m.Run()
	if code == 0 {
		if err := Find(options...); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// Whatsmeow allows for the goroutine that whatsmeow leaves behind: its reader hands each
// frame to a channel without watching for the end of the connection. When the client
// hangs up while a frame comes in, it stays, and nobody outside can reach the channel.
func Whatsmeow() goleak.Option {
	return goleak.IgnoreTopFunction("go.mau.fi/whatsmeow/socket.(*FrameSocket).frameComplete")
}

// Find waits until no goroutine is left but the caller's and those that options name, and
// returns an error that describes the rest if that takes too long.
func Find(options ...goleak.Option) error {
	for begin := time.Now(); ; {
		err := goleak.Find(options...) // looks again and again for 0.4 s
		if err == nil || time.Since(begin) > patience {
			return err
		}
	}
}
