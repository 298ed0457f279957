package webhook

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"cloudsession/connector/inbox"
)

const (
	scanAtOnce = 500             // messages noted by one query
	noteTime   = 5 * time.Second // for the note that a message was delivered
)

// Box is what a queue needs of a session's inbox: *inbox.Inbox.
type Box interface {
	// Undelivered returns up to limit messages above after that are to be delivered, oldest first.
	Undelivered(ctx context.Context, after int64, limit int) ([]inbox.Pending, error)
	// NextUndelivered returns the oldest of them in one chat.
	NextUndelivered(ctx context.Context, chats []string, after int64) (m inbox.Message, ok bool, err error)
	// MarkDelivered notes that the application has taken a message.
	MarkDelivered(ctx context.Context, m inbox.Message) error
	// Watch tells of new messages.
	Watch() (added <-chan struct{}, stop func())
}

// Source is where a queue's messages come from.
type Source struct {
	SessionID string
	Box       Box
	// May is asked before each attempt whether this process may deliver (A2). Nil means that it always may.
	May func() bool
	// Once ends the queue when everything is delivered.
	Once bool
}

// Queue delivers the messages of one session.
type Queue struct {
	d   *Dispatcher
	src Source
	log *slog.Logger

	stopping chan struct{} // closed when no attempt is to be begun any more
	cancel   context.CancelFunc
	done     chan struct{}

	// What only run touches.
	chats    *chats
	scanned  int64
	due      bool // there may be messages that were not noted yet
	retryAt  time.Time
	misreads int
	running  int
	shown    int // messages that wait, as the dispatcher counts them
	results  chan result
}

// result is how an attempt ended.
type result struct {
	chat   *chat
	merges int   // of the chat, when the attempt began
	seq    int64 // the message that it was about, or the last one that might have been there
	upTo   int64 // everything of the chat up to here is delivered
	posted int64 // the receiver has taken this message, which isn't noted yet
	err    error
}

// boxError is a failure of this machine, not of the receiver.
type boxError struct{ error }

// Unwrap returns the inbox's error.
func (e boxError) Unwrap() error { return e.error }

// errNotAllowed ends an attempt that Source.May forbade.
var errNotAllowed = errors.New("not allowed to deliver at present")

// Start begins to deliver a session's messages. Stop ends it, before the session's file is closed.
func (d *Dispatcher) Start(src Source) *Queue {
	if src.May == nil {
		src.May = func() bool { return true }
	}
	ctx, cancel := context.WithCancel(context.Background())
	q := &Queue{
		d: d, src: src, log: d.log.With("session", src.SessionID), cancel: cancel,
		stopping: make(chan struct{}), done: make(chan struct{}),
		chats: newChats(), due: true, results: make(chan result, perSession),
	}
	go q.run(ctx)
	return q
}

// Stop ends the queue: no new attempt is begun, one under way gets grace to be answered, then it is given up. Call it
// once.
func (q *Queue) Stop(grace time.Duration) {
	close(q.stopping)
	timer := time.AfterFunc(grace, q.cancel)
	defer timer.Stop()
	<-q.done
}

// Done is closed when the queue has ended: by Stop, or with everything delivered (Source.Once).
func (q *Queue) Done() <-chan struct{} { return q.done }

func (q *Queue) run(ctx context.Context) {
	defer close(q.done)
	defer q.cancel()
	added, stop := q.src.Box.Watch()
	defer stop()
	defer func() { q.d.health.left(q.chats.failing()) }()
	defer q.show(0)
	for {
		q.scan(ctx)
		q.launch(ctx)
		q.show(q.chats.waiting)
		if q.src.Once && !q.due && q.running == 0 && len(q.chats.byName) == 0 {
			return
		}
		timer, stopTimer := q.timer()
		select {
		case <-added:
			q.due = true
		case r := <-q.results:
			q.settle(r)
		case <-timer:
		case <-q.stopping:
			stopTimer()
			q.finish()
			return
		}
		stopTimer()
	}
}

// show tells the dispatcher how many messages wait.
func (q *Queue) show(waiting int) {
	q.d.waiting.Add(int64(waiting - q.shown))
	q.shown = waiting
}

// finish waits for the attempts under way.
func (q *Queue) finish() {
	for q.running > 0 {
		q.settle(<-q.results)
	}
}

// timer fires when there may be something to do without anything happening.
func (q *Queue) timer() (<-chan time.Time, func()) {
	at := q.chats.wake()
	if q.due && (at.IsZero() || q.retryAt.Before(at)) {
		at = q.retryAt
	}
	if at.IsZero() || q.running >= perSession {
		return nil, func() {}
	}
	t := time.NewTimer(time.Until(at))
	return t.C, func() { t.Stop() }
}

// scan notes which chats have messages to deliver.
func (q *Queue) scan(ctx context.Context) {
	for q.due && !time.Now().Before(q.retryAt) {
		list, err := q.src.Box.Undelivered(ctx, q.scanned, scanAtOnce)
		if err != nil {
			q.misread(err)
			return
		}
		q.misreads, q.due = 0, len(list) >= scanAtOnce
		for _, p := range list {
			q.chats.note(p)
			q.scanned = p.Seq
		}
	}
	q.d.health.left(q.chats.lost)
	q.chats.lost = 0
}

// misread puts off the use of an inbox that failed. The first failures may only say that the file is being closed.
func (q *Queue) misread(err error) {
	q.misreads++
	q.retryAt = time.Now().Add(pause(q.misreads, 0))
	if q.misreads == 3 {
		q.log.Error("undelivered messages can't be read or noted as delivered", "error", err)
	}
}

// launch begins as many attempts as may be.
func (q *Queue) launch(ctx context.Context) {
	for q.running < perSession {
		now := time.Now()
		g := q.chats.next(now)
		if g == nil {
			return
		}
		if !q.src.May() {
			q.chats.rest(g, now.Add(leasePause))
			q.chats.list(g)
			continue
		}
		q.running++
		g.running++
		a := attempt{q: q, chat: g, names: g.names, merges: g.merges, after: g.after, last: g.last, posted: g.posted, number: g.failures + 1}
		go func() { q.results <- a.run(ctx) }()
	}
}

// attempt is one try at a chat's next message, with what it needs to know of the chat.
type attempt struct {
	q                   *Queue
	chat                *chat
	names               []string
	merges              int
	after, last, posted int64
	number              int
}

func (a attempt) run(ctx context.Context) result {
	q, r := a.q, result{chat: a.chat, merges: a.merges, upTo: a.after, posted: a.posted}
	select {
	case q.d.slots <- struct{}{}:
	case <-ctx.Done():
		r.err = ctx.Err()
		return r
	}
	defer func() { <-q.d.slots }()
	// The message is read only now, so that what waits for its turn costs no memory.
	m, ok, err := q.src.Box.NextUndelivered(ctx, a.names, a.after)
	switch {
	case err != nil:
		r.err = boxError{err}
		return r
	case !ok:
		r.seq, r.upTo = a.last+1, a.last
		return r
	}
	r.seq = m.Seq
	if m.Seq != a.posted {
		if !q.src.May() { // last of all: the turn may have been long in coming
			r.err = errNotAllowed
			return r
		}
		if r.err = q.d.endpoint.post(ctx, q.src.SessionID, m, a.number); r.err != nil {
			return r
		}
		q.d.delivered.Add(1)
	}
	r.posted = m.Seq
	noting, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteTime)
	defer cancel()
	if err := q.src.Box.MarkDelivered(noting, m); err != nil {
		r.err = boxError{err}
		return r
	}
	r.upTo = m.Seq
	return r
}

// settle takes the outcome of an attempt.
func (q *Queue) settle(r result) {
	q.running--
	g := r.chat.whole()
	g.running--
	if g == r.chat && g.merges == r.merges { // else what counts for one part says nothing about the others
		g.after, g.posted = max(g.after, r.upTo), r.posted
		if g.failed != 0 && r.seq > g.failed {
			q.d.health.expired(q.src.SessionID)
			g.failed = 0
		}
	}
	now := time.Now()
	switch {
	case r.err == nil:
		if r.upTo == r.seq {
			q.chats.forget(g, 1)
		}
		if g.failed = 0; g.failures > 0 {
			g.failures = 0
			q.d.health.recovered()
		}
	case errors.Is(r.err, errNotAllowed):
		q.chats.rest(g, now.Add(leasePause))
	case q.ended():
		// Stopped in the middle: whoever goes on sends it again, under the same key.
	default:
		q.failed(g, r, now)
	}
	q.chats.settled(g)
}

func (q *Queue) ended() bool {
	select {
	case <-q.stopping:
		return true
	default:
		return false
	}
}

func (q *Queue) failed(g *chat, r result, now time.Time) {
	if _, ok := errors.AsType[boxError](r.err); ok {
		q.misread(r.err)
		q.chats.rest(g, q.retryAt)
		return
	}
	q.d.failed.Add(1)
	g.failures++
	g.failed = r.seq
	var asked time.Duration
	if refused, ok := errors.AsType[*refusal](r.err); ok {
		asked = refused.after
	}
	q.chats.rest(g, now.Add(pause(g.failures, asked)))
	q.d.health.failed(q.src.SessionID, r.err, g.failures == 1)
}
