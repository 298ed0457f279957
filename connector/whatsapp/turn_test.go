package whatsapp

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"
)

// An encryption that took longer than its turn, as on a busy machine, doesn't end
// the turn of the one that came after it.
func TestLateEndLeavesTheNextTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turn := newTurn()
		free := func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), maxTurn/10)
			defer cancel()
			if !turn.take(ctx) {
				return false
			}
			turn.give()
			return true
		}
		late, next, over := make(chan struct{}), make(chan struct{}), make(chan struct{})
		go func() {
			turn.begin(t.Context())
			<-late
			turn.end()
			over <- struct{}{}
		}()
		synctest.Wait()
		go func() {
			turn.begin(t.Context())
			<-next
			turn.end()
			over <- struct{}{}
		}()
		if free() {
			t.Error("two have the turn")
		}
		time.Sleep(maxTurn) // the first one's turn is over, and the second has it
		close(late)
		<-over
		if free() {
			t.Error("who was late ended the turn of the next")
		}
		close(next)
		<-over
		if !free() {
			t.Error("nobody has the turn, and it is not free")
		}
		turn.begin(t.Context())
		time.Sleep(maxTurn + time.Millisecond)
		if !free() {
			t.Error("a turn that is never ended has no end")
		}
	})
}

// An encryption that fails between reading and writing is heard of in the log, and
// nobody waits for it.
func TestFailureEndsTheTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turn := newTurn()
		log := (&logAdapter{log: slog.New(slog.DiscardHandler), complained: func(string, []any) { turn.end() }}).Sub("Client")
		for _, complain := range []func(string, ...any){log.Warnf, log.Errorf} {
			began := time.Now()
			turn.begin(t.Context())
			log.Infof("all is well")
			complain("no session can be built")
			if !turn.take(t.Context()) || time.Since(began) > 0 {
				t.Errorf("the turn was free after %v", time.Since(began))
			}
			turn.give()
		}
	})
}
