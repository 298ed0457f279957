package whatsapp

import (
	"context"
	"sync"
	"time"

	"github.com/petermattis/goid"
)

// maxTurn is how long an encryption is waited for that has read its session and not written it back. It takes
// milliseconds, a thousand times that on a machine that is overloaded. One that failed in between never comes back:
// whatsmeow says so in its log, which ends the turn at once (logAdapter), or it is waited for this long.
const maxTurn = 5 * time.Second

// turn lets what moves Signal sessions go one after the other: decryptions, writes of sends, and what whatsmeow
// encrypts outside its send lock, from reading the session to writing it back.
//
// It isn't what keeps message keys from being used twice: advance is, and holds without it. But an answer to a retry
// request that is refused there can only be asked for again over a new connection, and where many phones ask at once
// (TestStorm) a session without turns did nothing but reconnect.
type turn struct {
	token   chan struct{} // has a value while nobody's turn it is
	longest time.Duration // maxTurn, but in tests

	mu    sync.Mutex
	lease *lease // an encryption's turn, if one has it
}

// lease is the turn of one encryption. whatsmeow reads and writes back in one goroutine and passes nothing on from the
// one to the other, so the goroutine is what tells whose turn ends: one that took too long must not end the turn of
// who came after it, or on a busy machine everybody's turn is cut short by the one before.
type lease struct {
	goroutine int64
	timer     *time.Timer
}

func newTurn() *turn {
	t := &turn{token: make(chan struct{}, 1), longest: maxTurn}
	t.token <- struct{}{}
	return t
}

// take waits for the turn; ok is false when ctx ended before. Who goes on without is still checked by advance.
func (t *turn) take(ctx context.Context) (ok bool) {
	select {
	case <-t.token:
		return true
	case <-ctx.Done():
		return false
	}
}

func (t *turn) give() { t.token <- struct{}{} }

// during does what needs the turn.
func (t *turn) during(ctx context.Context, do func() error) error {
	if t.take(ctx) {
		defer t.give()
	}
	return do()
}

// begin takes the turn for an encryption, until end is called or it has taken too long.
func (t *turn) begin(ctx context.Context) {
	if t.mine() || !t.take(ctx) {
		return
	}
	l := &lease{goroutine: goid.Get()}
	t.mu.Lock()
	defer t.mu.Unlock()
	l.timer = time.AfterFunc(t.longest, func() { t.endIf(func(now *lease) bool { return now == l }) })
	t.lease = l
}

// mine reports whether this goroutine has the turn: an earlier encryption of it failed before writing back.
func (t *turn) mine() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lease != nil && t.lease.goroutine == goid.Get()
}

// end ends the turn that this goroutine began, if it still has it.
func (t *turn) end() {
	self := goid.Get()
	t.endIf(func(now *lease) bool { return now.goroutine == self })
}

// endIf ends an encryption's turn that is as asked for.
func (t *turn) endIf(asked func(*lease) bool) {
	t.mu.Lock()
	l := t.lease
	ends := l != nil && asked(l)
	if ends {
		t.lease = nil
	}
	t.mu.Unlock()
	if ends {
		l.timer.Stop()
		t.give()
	}
}
