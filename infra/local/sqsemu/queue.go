package sqsemu

import (
	"slices"
	"time"
)

// window is how long a deduplication id and a receive attempt are remembered.
const window = 5 * time.Minute

// A queue is guarded by its Server's mutex.
type queue struct {
	name              string
	settings          settings
	created, modified time.Time
	messages          []*message // in the order sent
	sent              map[string]sent
	attempts          map[string]attempt
	wake              chan struct{} // closed when a waiting receiver should look again
}

type message struct {
	id, body, group, dedup string
	seq                    uint64
	sentAt, firstReceived  time.Time
	receives               int
	receipt                string    // of the last receive
	hiddenUntil            time.Time // in flight before this
}

// sent remembers a deduplication id after its message may be long gone.
type sent struct {
	at  time.Time
	msg *message
}

// attempt remembers what a ReceiveRequestAttemptId was answered with.
type attempt struct {
	at       time.Time
	messages []*message
	receipts []string
}

func newQueue(name string, s settings) *queue {
	now := time.Now()
	return &queue{
		name: name, settings: s, created: now, modified: now,
		sent: map[string]sent{}, attempts: map[string]attempt{}, wake: make(chan struct{}),
	}
}

func (q *queue) wakeReceivers() {
	close(q.wake)
	q.wake = make(chan struct{})
}

func (m *message) inFlight(now time.Time) bool { return now.Before(m.hiddenUntil) }

func (q *queue) count(now time.Time) (visible, hidden int) {
	for _, m := range q.messages {
		if m.inFlight(now) {
			hidden++
		}
	}
	return len(q.messages) - hidden, hidden
}

// nextVisible is when the first message in flight comes back; zero if none is.
func (q *queue) nextVisible(now time.Time) (next time.Time) {
	for _, m := range q.messages {
		if m.inFlight(now) && (next.IsZero() || m.hiddenUntil.Before(next)) {
			next = m.hiddenUntil
		}
	}
	return next
}

// tidy drops what has outlived its time and moves messages received too often
// to the dead-letter queue. The caller holds s.mu.
func (s *Server) tidy(q *queue, now time.Time) {
	for id, d := range q.sent {
		if now.Sub(d.at) >= window {
			delete(q.sent, id)
		}
	}
	for id, a := range q.attempts {
		if now.Sub(a.at) >= window {
			delete(q.attempts, id)
		}
	}
	dead := s.queues[q.settings.deadLetter]
	q.messages = slices.DeleteFunc(q.messages, func(m *message) bool {
		if now.Sub(m.sentAt) >= q.settings.retention {
			return true
		}
		if dead == nil || m.inFlight(now) || m.receives < q.settings.maxReceives {
			return false
		}
		moved := *m
		moved.sentAt, moved.receipt = now, "" // a FIFO queue's retention starts anew
		dead.messages = append(dead.messages, &moved)
		dead.wakeReceivers()
		return true
	})
}

// take puts up to limit messages in flight: in order, none of a group that has
// one in flight already, several of one group if they stand first. The caller holds s.mu.
func (s *Server) take(q *queue, limit int, visibility time.Duration, now time.Time) (taken []*message) {
	busy := map[string]bool{}
	for _, m := range q.messages {
		if m.inFlight(now) {
			busy[m.group] = true
		}
	}
	for _, m := range q.messages {
		if len(taken) == limit {
			break
		}
		if busy[m.group] {
			continue
		}
		m.receives++
		if m.receives == 1 {
			m.firstReceived = now
		}
		m.receipt = s.newReceipt(m)
		m.hiddenUntil = now.Add(visibility)
		taken = append(taken, m)
	}
	return taken
}

// again answers a repeated receive attempt with what the first one got, and
// hides it for the whole time again; nothing when any of it was deleted, came
// back or was received by somebody else in between.
func (q *queue) again(id string, visibility time.Duration, now time.Time) []*message {
	a, ok := q.attempts[id]
	if !ok || len(a.messages) == 0 {
		return nil
	}
	for i, m := range a.messages {
		if m.receipt != a.receipts[i] || !m.inFlight(now) || !slices.Contains(q.messages, m) {
			delete(q.attempts, id)
			return nil
		}
	}
	for _, m := range a.messages {
		m.hiddenUntil = now.Add(visibility)
	}
	return a.messages
}

func (q *queue) remember(id string, taken []*message, now time.Time) {
	if id == "" {
		return
	}
	a := attempt{at: now, messages: taken}
	for _, m := range taken {
		a.receipts = append(a.receipts, m.receipt)
	}
	q.attempts[id] = a
}
