package webhook

import (
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"time"
)

// What waits is counted while the receiver refuses, and no more once it has it,
// or once the queue has ended.
func TestWaitingIsCounted(t *testing.T) {
	in := newBox(t)
	for n := range 3 {
		put(t, in, "a", n)
		put(t, in, "b", n)
	}
	var open atomic.Bool
	r := newReceiver(t, func(Message, int) int {
		if open.Load() {
			return http.StatusOK
		}
		return http.StatusServiceUnavailable
	})
	d := dispatcher(t, "http://127.0.0.1:1", r, io.Discard)
	q := d.Start(Source{SessionID: sessionID, Box: in})
	waiting := func(want int64) {
		t.Helper()
		waitFor(t, func() (int64, bool) {
			n := d.Counters().Waiting
			return n, n == want
		})
	}
	waiting(6)
	open.Store(true)
	waitDelivered(t, in)
	waiting(0)

	open.Store(false)
	put(t, in, "a", 3)
	waiting(1)
	q.Stop(time.Minute)
	if n := d.Counters().Waiting; n != 0 {
		t.Errorf("%d messages wait in a queue that has ended", n)
	}
}

// One chat under two addresses is counted once, and what an inbox no longer holds
// not for ever.
func TestWaitingOfMergedAndExpired(t *testing.T) {
	c := newChats()
	a := &chat{names: []string{"a"}, after: 0, last: 2, waiting: 2}
	b := &chat{names: []string{"b"}, after: 2, last: 5, waiting: 3}
	c.byName["a"], c.byName["b"], c.waiting = a, b, 5
	c.merge(a, b)
	if b.waiting != 5 || a.waiting != 0 || c.waiting != 5 {
		t.Errorf("merged: %d and %d of %d", b.waiting, a.waiting, c.waiting)
	}
	c.forget(b, 1)
	b.after = b.last
	c.settled(b)
	if b.waiting != 0 || c.waiting != 0 {
		t.Errorf("after the last message %d of %d wait", b.waiting, c.waiting)
	}
}
