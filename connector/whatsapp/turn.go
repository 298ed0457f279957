package whatsapp

import (
	"context"
	"sync"
	"time"
)

// maxTurn is how long an encryption is waited for that has read its session and not written it back. It takes
// microseconds; one that failed in between never comes back.
const maxTurn = 500 * time.Millisecond

// turn lets what moves Signal sessions go one after the other: decryptions, writes of sends, and what whatsmeow
// encrypts outside its send lock, from reading the session to writing it back.
//
// It isn't what keeps message keys from being used twice: advance is, and holds without it. But an answer to a retry
// request that is refused there can only be asked for again over a new connection, and where many phones ask at once
// (TestStorm) a session without turns did nothing but reconnect.
type turn struct {
	token chan struct{} // has a value while nobody's turn it is

	mu    sync.Mutex
	lease *time.Timer // the end of a turn that an encryption has
}

func newTurn() *turn {
	t := &turn{token: make(chan struct{}, 1)}
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
	if !t.take(ctx) {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	var lease *time.Timer
	lease = time.AfterFunc(maxTurn, func() {
		t.mu.Lock()
		late := t.lease == lease
		t.mu.Unlock()
		if late {
			t.end()
		}
	})
	t.lease = lease
}

// end ends the turn of the encryption that has it, if one has.
func (t *turn) end() {
	t.mu.Lock()
	lease := t.lease
	t.lease = nil
	t.mu.Unlock()
	if lease != nil {
		lease.Stop()
		t.give()
	}
}
