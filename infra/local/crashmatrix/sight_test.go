package crashmatrix_test

import (
	"context"
	"fmt"
	"maps"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// witness notes failures that a test is meant to see, instead of failing.
type witness struct {
	testing.TB
	mu       sync.Mutex
	failures []string
}

func (w *witness) note(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failures = append(w.failures, text)
}

// Error and those below stand in for the test's own.
func (w *witness) Error(args ...any) { w.note(fmt.Sprint(args...)) }

// Errorf notes a failure.
func (w *witness) Errorf(format string, args ...any) { w.note(fmt.Sprintf(format, args...)) }

// Fatal notes a failure and ends what is being witnessed.
func (w *witness) Fatal(args ...any) {
	w.note(fmt.Sprint(args...))
	runtime.Goexit()
}

// Fatalf notes a failure and ends what is being witnessed.
func (w *witness) Fatalf(format string, args ...any) {
	w.note(fmt.Sprintf(format, args...))
	runtime.Goexit()
}

// sees runs f and reports whether one of its failures holds a text.
func (w *witness) sees(f func(), text string) bool {
	var done sync.WaitGroup
	done.Go(f)
	done.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, failure := range w.failures {
		if strings.Contains(failure, text) {
			return true
		}
	}
	return false
}

// A harness that can't see a loss proves nothing. Here a row that was durable is
// taken out of the log, as a store that forgets would.
func TestMatrixSeesLostRow(t *testing.T) {
	s := newScene(t, newWorld(t))
	s.first = s.paired("first", s.link)
	s.tell("durable")
	s.wait("the text to be in the inbox", func() bool { return s.first.has("durable") })
	s.wait("a quiet moment", func() bool {
		s.acked = s.durable(s.first)
		return maps.Equal(s.acked, s.fileRows(s.first))
	})
	s.first.crash()
	none := func() []rows { return nil }
	s.checkKept(s.acked, none)
	s.exec("DELETE FROM session_segments WHERE session_id = ? AND kind = 'delta' ORDER BY epoch DESC, seq DESC LIMIT 1", s.id)
	w := &witness{TB: t}
	s.t = w
	if !w.sees(func() { s.checkKept(s.acked, none) }, "a row that was durable is not in the cloud") {
		t.Errorf("the loss of a durable row was not seen: %q", w.failures)
	}
}

// afterCommit is the first thing that a taker reads once its take is committed.
func afterCommit(digest string) bool {
	return strings.Contains(digest, "FROM session_epochs") && !strings.Contains(digest, "FOR UPDATE")
}

// A connector that lives on after its session was taken receives a text between
// the taker's commit and its socket. The fence keeps it from acknowledging what
// the taker can't know of. Without the fence's row the text is lost, and the
// matrix's check says so.
func TestMatrixSeesMissingFence(t *testing.T) {
	for _, fence := range []bool{true, false} {
		t.Run(fmt.Sprintf("fence=%v", fence), func(t *testing.T) {
			s := newScene(t, newWorld(t))
			stale := s.paired("stale", nil)
			s.bury("stale") // its lease is over, and it doesn't know
			taker := s.start("taker", s.t.TempDir(), s.link)
			s.link.arm(&fault{match: afterCommit, mode: waits})
			opened := make(chan error, 1)
			go func() { opened <- taker.open(context.WithoutCancel(t.Context())) }()
			<-s.link.fired // committed; nothing is read yet
			if !fence {
				s.exec("DELETE FROM session_segments WHERE session_id = ? AND kind = 'fence'", s.id)
			}
			s.tell("in between")
			if fence {
				s.wait("the stale connector to be told", func() bool { return !stale.live() })
			} else {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				s.must("the text to be acknowledged", s.whatsapp.Wait(ctx, func() bool { return s.whatsapp.Device(s.linked()).Queued == 0 }))
			}
			s.link.release()
			s.must("open", <-opened)
			stale.crash()
			s.first = taker
			if fence {
				s.checkRecovered(taker, "after the take")
				return
			}
			// Texts come in order: what is not there before a later one never comes.
			s.talk(taker, "after the take")
			w := &witness{TB: t}
			s.t, s.patience = w, 0
			if !w.sees(func() { s.checkInbox(taker) }, "the text in between to be in the inbox") {
				t.Errorf("the loss of a text was not seen: %q", w.failures)
			}
		})
	}
}
