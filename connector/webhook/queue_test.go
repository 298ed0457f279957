package webhook

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cloudsession/connector/inbox"
)

func TestDelivers(t *testing.T) {
	r := newReceiver(t, nil)
	in := newBox(t)
	m := inbox.Message{
		Chat: "123@lid", ChatPN: "62811@s.whatsapp.net", Sender: "123@lid", SenderPN: "62811@s.whatsapp.net", ID: "A",
		FromMe: true, PushName: "Ani", Text: "hello ☕", Payload: []byte{0, 1, 2},
	}
	store(t, in, m)
	d := dispatcher(t, serve(t, r), nil, io.Discard)
	start(t, d, in)
	store(t, in, inbox.Message{Chat: "1@g.us", Sender: "2@lid", ID: "B"})
	r.wait(2)
	waitDelivered(t, in)
	for _, got := range r.all() {
		if got.ID != "A" {
			continue
		}
		if got.Type != TypeReceived || got.SessionID != sessionID || got.Chat != m.Chat || got.ChatPN != m.ChatPN ||
			got.Sender != m.Sender || got.SenderPN != m.SenderPN || !got.FromMe || got.PushName != m.PushName ||
			got.Kind != "text" || got.Text != m.Text || !bytes.Equal(got.Payload, m.Payload) ||
			time.Since(got.Timestamp) > time.Hour || time.Since(got.ReceivedAt) > time.Hour || got.attempt != 1 {
			t.Errorf("got %+v", got)
		}
	}
	if c := d.Counters(); c.Delivered != 2 || c.Failed != 0 || c.Failing != 0 {
		t.Errorf("counters: %+v", c)
	}
}

// A backlog is read in parts, and a queue that is to run once ends with it.
func TestBacklog(t *testing.T) {
	r := newReceiver(t, nil)
	in := newBox(t)
	const each = scanAtOnce/3 + 10
	for n := 1; n <= each; n++ {
		for _, chat := range []string{"a", "b", "c"} {
			put(t, in, chat, n)
		}
	}
	q := dispatcher(t, serve(t, r), nil, io.Discard).Start(Source{SessionID: sessionID, Box: in, Once: true})
	<-q.Done()
	ids := r.ids()
	inOrder(t, ids)
	if len(ids) != 3*each || undelivered(t, in) != 0 {
		t.Errorf("%d messages were taken, %d are left; want %d", len(ids), undelivered(t, in), 3*each)
	}
}

// A message that isn't taken holds up its chat, and no other one.
func TestOrderPerChatUnderFailures(t *testing.T) {
	var sick atomic.Bool
	sick.Store(true)
	r := newReceiver(t, func(m Message, _ int) int {
		if sick.Load() && m.ID == "a-2" {
			return http.StatusInternalServerError
		}
		return http.StatusNoContent
	})
	in := newBox(t)
	for n := 1; n <= 5; n++ {
		for _, chat := range []string{"a", "b", "c"} {
			put(t, in, chat, n)
		}
	}
	start(t, dispatcher(t, serve(t, r), nil, io.Discard), in)
	ids := r.wait(11)
	if slices.Contains(ids, "a-3") {
		t.Errorf("a-3 went past a-2: %v", ids)
	}
	sick.Store(false)
	inOrder(t, r.wait(15))
	waitDelivered(t, in)
}

// A chat whose LID is learnt stays one chat.
func TestOrderWhenAnAddressIsLearnt(t *testing.T) {
	const lid, pn = "1@lid", "62811@s.whatsapp.net"
	forms := []inbox.Message{
		{Chat: pn, Sender: pn},
		{Chat: lid, Sender: lid},
		{Chat: lid, Sender: lid, ChatPN: pn, SenderPN: pn},
	}
	var sick atomic.Bool
	sick.Store(true)
	r := newReceiver(t, func(m Message, _ int) int {
		if sick.Load() && m.ID == "x-1" {
			return http.StatusServiceUnavailable
		}
		return http.StatusOK
	})
	in := newBox(t)
	for n, m := range []inbox.Message{forms[2], forms[0], forms[1], forms[2], forms[0]} {
		m.ID = "x-" + string(rune('1'+n))
		store(t, in, m)
	}
	put(t, in, "y", 1)
	start(t, dispatcher(t, serve(t, r), nil, io.Discard), in)
	if ids := r.wait(1); !slices.Equal(ids, []string{"y-1"}) {
		t.Errorf("taken: %v; want the other chat's only", ids)
	}
	sick.Store(false)
	inOrder(t, r.wait(6))
}

// Many chats go at once, but not more than a session may have under way.
func TestParallelWithABound(t *testing.T) {
	var now, most atomic.Int64
	full := make(chan struct{})
	var once sync.Once
	r := newReceiver(t, func(Message, int) int {
		n := now.Add(1)
		defer now.Add(-1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		if n == perSession {
			once.Do(func() { close(full) })
		}
		select {
		case <-full:
		case <-time.After(2 * time.Minute):
		}
		return http.StatusOK
	})
	in := newBox(t)
	for n := range 4 * perSession {
		put(t, in, string(rune('A'+n)), 1)
	}
	start(t, dispatcher(t, serve(t, r), nil, io.Discard), in)
	r.wait(4 * perSession)
	if most.Load() != perSession {
		t.Errorf("%d at once, want %d", most.Load(), perSession)
	}
}

// A session whose receiver hangs leaves room for the others.
func TestOneSessionDoesNotStarveAnother(t *testing.T) {
	hang := make(chan struct{})
	r := newReceiver(t, func(m Message, _ int) int {
		if m.SessionID == "slow" {
			<-hang
		}
		return http.StatusOK
	})
	d := dispatcher(t, serve(t, r), nil, io.Discard)
	slow, fast := newBox(t), newBox(t)
	for n := range 2 * perProcess {
		put(t, slow, "s"+strconv.Itoa(n), 1)
	}
	q := d.Start(Source{SessionID: "slow", Box: slow})
	t.Cleanup(func() { q.Stop(0) })
	t.Cleanup(func() { close(hang) }) // before the queue is stopped
	waitFor(t, func() (int, bool) { return len(d.slots), len(d.slots) == perSession })
	start(t, d, fast)
	for n := 1; n <= 20; n++ {
		put(t, fast, "f", n)
	}
	inOrder(t, r.wait(20))
}

// Redirects aren't followed, and the answer's size doesn't matter.
func TestRedirectsAndHugeAnswers(t *testing.T) {
	var elsewhere atomic.Int64
	target := serve(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	var first atomic.Bool
	r := newReceiver(t, nil)
	h := http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if !first.Swap(true) {
			http.Redirect(w, req, target, http.StatusTemporaryRedirect)
			return
		}
		r.ServeHTTP(w, req)
		for range 100 {
			if _, err := w.Write(make([]byte, 1<<20)); err != nil {
				return
			}
		}
	})
	in := newBox(t)
	for n := 1; n <= 3; n++ {
		put(t, in, "a", n)
	}
	start(t, dispatcher(t, serve(t, h), nil, io.Discard), in)
	inOrder(t, r.wait(3))
	if elsewhere.Load() != 0 {
		t.Error("a redirect was followed")
	}
}

// An answer whose status came is an answer, however slowly the rest drips.
func TestSlowBody(t *testing.T) {
	r := newReceiver(t, nil)
	ended := make(chan struct{})
	h := http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.ServeHTTP(w, req)
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err)
		}
		select {
		case <-req.Context().Done():
		case <-ended:
		}
	})
	url := serve(t, h)
	t.Cleanup(func() { close(ended) })
	in := newBox(t)
	put(t, in, "a", 1)
	put(t, in, "a", 2)
	start(t, dispatcher(t, url, nil, io.Discard), in)
	inOrder(t, r.wait(2))
	waitDelivered(t, in)
	if n := len(r.all()); n != 2 {
		t.Errorf("%d attempts, want one a message", n)
	}
}

// The connector ends between the receiver's answer and its note: the same message comes again, under the same key.
func TestEndBetweenAnswerAndNote(t *testing.T) {
	r := newReceiver(t, nil)
	in := newBox(t)
	put(t, in, "a", 1)
	d := dispatcher(t, serve(t, r), nil, io.Discard)
	crashing := &crashingBox{Inbox: in, crashed: make(chan struct{})}
	q := d.Start(Source{SessionID: sessionID, Box: crashing})
	<-crashing.crashed
	q.Stop(time.Minute)
	put(t, in, "a", 2)
	start(t, d, in)
	inOrder(t, r.wait(2))
	waitDelivered(t, in)
	all := r.all()
	if len(all) != 3 || all[0].Key != all[1].Key || all[1].Key == all[2].Key {
		t.Errorf("attempts: %+v; want the first message twice under one key", all)
	}
}

// crashingBox never gets to note a delivery.
type crashingBox struct {
	*inbox.Inbox
	once    sync.Once
	crashed chan struct{}
}

func (b *crashingBox) MarkDelivered(context.Context, inbox.Message) error {
	b.once.Do(func() { close(b.crashed) })
	return errors.New("crashed")
}

// A note that fails is made again; the message is not sent again for it.
func TestNoteThatFails(t *testing.T) {
	r := newReceiver(t, nil)
	in := newBox(t)
	put(t, in, "a", 1)
	put(t, in, "a", 2)
	start(t, dispatcher(t, serve(t, r), nil, io.Discard), &forgetfulBox{Inbox: in})
	inOrder(t, r.wait(2))
	waitDelivered(t, in)
	if n := len(r.all()); n != 2 {
		t.Errorf("%d attempts, want 2", n)
	}
}

// forgetfulBox fails to note a delivery the first time.
type forgetfulBox struct {
	*inbox.Inbox
	failed atomic.Bool
}

func (b *forgetfulBox) MarkDelivered(ctx context.Context, m inbox.Message) error {
	if !b.failed.Swap(true) {
		return errors.New("disk full")
	}
	return b.Inbox.MarkDelivered(ctx, m)
}

// Nothing leaves without a valid lease, and everything does once there is one (A2).
func TestLease(t *testing.T) {
	r := newReceiver(t, nil)
	in := newBox(t)
	put(t, in, "a", 1)
	var valid atomic.Bool
	asked := make(chan struct{}, 1)
	d := dispatcher(t, serve(t, r), nil, io.Discard)
	q := d.Start(Source{SessionID: sessionID, Box: in, May: func() bool {
		select {
		case asked <- struct{}{}:
		default:
		}
		return valid.Load()
	}})
	t.Cleanup(func() { q.Stop(time.Minute) })
	<-asked
	<-asked
	if n := len(r.all()); n != 0 {
		t.Errorf("%d attempts without a lease", n)
	}
	valid.Store(true)
	r.wait(1)
	if c := d.Counters(); c.Failed != 0 {
		t.Errorf("waiting for the lease counts as failing: %+v", c)
	}
}

// Neither the secret nor a text nor the URL's query is logged, and one outage makes two lines.
func TestLog(t *testing.T) {
	var log lockedBuffer
	var sick atomic.Bool
	sick.Store(true)
	tries := make(chan struct{}, 100)
	r := newReceiver(t, func(Message, int) int {
		tries <- struct{}{}
		if sick.Load() {
			return http.StatusBadGateway
		}
		return http.StatusOK
	})
	in := newBox(t)
	store(t, in, inbox.Message{Chat: "a@g.us", Sender: "62811555@s.whatsapp.net", ID: "a-1", Text: "the secret of life"})
	put(t, in, "b", 1)
	d := dispatcher(t, serve(t, r)+"/hook?token=s3cret", nil, &log)
	start(t, d, in)
	for range 4 {
		<-tries
	}
	sick.Store(false)
	r.wait(2)
	waitFor(t, func() (Counters, bool) { return d.Counters(), d.Counters().Failing == 0 })
	text := log.String()
	if n := strings.Count(text, "webhook doesn't take messages"); n != 1 {
		t.Errorf("the failure was said %d times:\n%s", n, text)
	}
	if n := strings.Count(text, "webhook takes messages again"); n != 1 || !strings.Contains(text, "502 Bad Gateway") {
		t.Errorf("the recovery was said %d times:\n%s", n, text)
	}
	for _, hidden := range []string{"s3cret", "secret of life", "62811555", vectorSecret} {
		if strings.Contains(text, hidden) {
			t.Errorf("the log holds %q:\n%s", hidden, text)
		}
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Stop gives an attempt under way its time to be answered, and ends one that takes longer.
func TestStop(t *testing.T) {
	for name, grace := range map[string]time.Duration{"in time": time.Minute, "too slow": 0} {
		t.Run(name, func(t *testing.T) {
			entered, answer := make(chan struct{}), make(chan struct{})
			r := newReceiver(t, func(Message, int) int {
				close(entered)
				<-answer
				return http.StatusOK
			})
			in := newBox(t)
			put(t, in, "a", 1)
			q := dispatcher(t, serve(t, r), nil, io.Discard).Start(Source{SessionID: sessionID, Box: in})
			<-entered
			if grace > 0 {
				close(answer)
			}
			q.Stop(grace)
			want := 0
			if grace == 0 {
				close(answer)
				want = 1
			}
			if n := undelivered(t, in); n != want {
				t.Errorf("%d messages undelivered, want %d", n, want)
			}
		})
	}
}
