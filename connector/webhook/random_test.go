package webhook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cloudsession/connector/inbox"
)

func seed(t *testing.T) *rand.Rand {
	t.Helper()
	n := rand.Uint64()
	if s := os.Getenv("CLOUDSESSION_SEED"); s != "" {
		var err error
		if n, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("CLOUDSESSION_SEED=%d", n)
	return rand.New(rand.NewPCG(n, 0))
}

// Whatever the receiver, the connector and the lease do: every message is taken at least once, each under one key and
// no two under the same, each chat's in order.
func TestRandomSchedules(t *testing.T) {
	random := seed(t)
	for i := range 8 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { randomSchedule(t, rand.New(rand.NewPCG(random.Uint64(), uint64(i)))) })
		})
	}
}

// world is everything that may go wrong, until it is mended.
type world struct {
	mu     sync.Mutex
	random *rand.Rand
	mended bool
	valid  bool
}

func (w *world) chance(percent int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.mended && w.random.IntN(100) < percent
}

func (w *world) pick(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.random.IntN(n)
}

func (w *world) may() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.mended || w.valid
}

func randomSchedule(t *testing.T, random *rand.Rand) {
	w := &world{random: random, valid: true}
	r := newReceiver(t, func(Message, int) int {
		if w.chance(20) {
			return []int{301, 400, 404, 410, 429, 500, 503}[w.pick(7)]
		}
		return http.StatusOK
	})
	lossy := roundTrip(func(req *http.Request) (*http.Response, error) {
		if !w.may() {
			t.Error("a message left without a lease")
		}
		time.Sleep(time.Duration(w.pick(50)) * time.Millisecond)
		if w.chance(5) {
			<-req.Context().Done() // never arrives
			return nil, req.Context().Err()
		}
		resp, err := r.RoundTrip(req)
		if w.chance(10) {
			return nil, io.ErrUnexpectedEOF // arrived, the answer didn't
		}
		return resp, err
	})
	in := newBox(t)
	d := dispatcher(t, "http://receiver/", lossy, io.Discard)
	source := Source{SessionID: sessionID, Box: &faultyBox{Inbox: in, w: w}, May: w.may}
	q := d.Start(source)
	chats, total := map[string]int{}, 0
	for range 150 {
		switch p := w.pick(100); {
		case p < 75:
			chat := string(rune('a' + w.pick(6)))
			chats[chat]++
			total++
			put(t, in, chat, chats[chat])
		case p < 85: // the process ends and another one goes on
			q.Stop(time.Duration(w.pick(2)) * 20 * time.Millisecond)
			q = d.Start(source)
		case p < 90:
			if _, err := in.Prune(t.Context()); err != nil {
				t.Fatal(err)
			}
		default:
			// Only while nothing is under way: an attempt that has begun may end.
			q.Stop(time.Minute)
			w.mu.Lock()
			w.valid = !w.valid
			w.mu.Unlock()
			q = d.Start(source)
		}
		time.Sleep(time.Duration(w.pick(2000)) * time.Millisecond)
	}
	q.Stop(time.Minute)
	w.mu.Lock()
	w.mended = true
	w.mu.Unlock()
	source.Once = true
	<-d.Start(source).Done()
	checkTaken(t, r, total)
	if n := undelivered(t, in); n != 0 {
		t.Errorf("%d messages are left undelivered", n)
	}
}

func checkTaken(t *testing.T, r *receiver, total int) {
	t.Helper()
	ids := r.ids()
	if len(ids) != total {
		t.Errorf("%d messages were taken, want %d", len(ids), total)
	}
	inOrder(t, ids)
	keys := map[string]string{}
	for _, m := range r.all() {
		if other, ok := keys[m.ID]; ok && other != m.Key {
			t.Errorf("%s came under two keys", m.ID)
		}
		keys[m.ID] = m.Key
	}
}

// faultyBox sometimes can't read or write.
type faultyBox struct {
	*inbox.Inbox
	w *world
}

// MarkDelivered implements Box.
func (b *faultyBox) MarkDelivered(ctx context.Context, m inbox.Message) error {
	if b.w.chance(5) {
		return errors.New("disk full")
	}
	return b.Inbox.MarkDelivered(ctx, m)
}

// Undelivered implements Box.
func (b *faultyBox) Undelivered(ctx context.Context, after int64, limit int) ([]inbox.Pending, error) {
	if b.w.chance(5) {
		return nil, errors.New("disk on fire")
	}
	return b.Inbox.Undelivered(ctx, after, limit)
}
