package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"go.mau.fi/whatsmeow/types"

	"cloudsession/connector/control"
	"cloudsession/connector/watest"
)

// line is one session with the people around it: the phone it is linked to, a
// peer who writes with it, and the application that uses it.
type line struct {
	h           *Harness
	number      int
	owner, peer *watest.Phone

	mu         sync.Mutex
	session    string          // its id; a new one after each pairing
	device     types.JID       // the linked device
	linked     context.Context // ends when the phone unlinks the device
	unlink     context.CancelFunc
	generation int
	seen       map[string]bool          // keys of what the application was shown
	shown      map[string]bool          // the messages, by session and id
	devices    map[string]types.JID     // by session, those before too
	owed       map[string][]watest.Copy // by session, what its device had acknowledged when it was unlinked
	outbox     []*letter                // what the application has to send
	sent       []*letter                // acknowledged
	counter    int
}

// letter is one message the application sends.
type letter struct {
	to   string
	text string
	key  string
	id   string // once acknowledged
	from string // the session it was acknowledged by
}

func (h *Harness) newLine(n int) (*line, error) {
	l := &line{h: h, number: n, seen: map[string]bool{}, shown: map[string]bool{}, devices: map[string]types.JID{}, owed: map[string][]watest.Copy{}}
	var err error
	if l.owner, err = h.rig.WhatsApp.NewPhone(fmt.Sprintf("62811%04d01", n), fmt.Sprintf("owner %d", n)); err != nil {
		return nil, err
	}
	l.peer, err = h.rig.WhatsApp.NewPhone(fmt.Sprintf("62811%04d02", n), fmt.Sprintf("peer %d", n))
	return l, err
}

// pair links a session of a new name to the owner's phone, through machine m.
func (l *line) pair(ctx context.Context, m *machine) error {
	l.mu.Lock()
	l.generation++
	id := fmt.Sprintf("session %d.%d", l.number, l.generation)
	l.mu.Unlock()
	before := l.owner.Devices()
	var last control.PairEvent
	err := m.client.Pair(ctx, id, control.PairRequest{}, func(e control.PairEvent) error {
		last = e
		if e.Kind != "qr" {
			return nil
		}
		_, err := l.owner.ScanQR(ctx, e.QR)
		return err
	})
	if err != nil {
		return fmt.Errorf("pair %s: %w", id, err)
	}
	if last.Kind != "paired" {
		return fmt.Errorf("pair %s: ended with %q: %s", id, last.Kind, last.Error)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range l.owner.Devices() {
		if !slices.Contains(before, d) {
			l.device = d
		}
	}
	l.session, l.outbox, l.devices[id] = id, nil, l.device
	l.linked, l.unlink = context.WithCancel(l.h.ctx)
	l.h.work.Go(func() { l.send(l.linked, id) })
	return nil
}

// name is the session's id as of now.
func (l *line) name() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.session
}

func (l *line) isLinked() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.linked != nil && l.linked.Err() == nil
}

// text makes a text that nobody else says. Its mark must never be in a log.
func (l *line) text(who string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counter++
	return fmt.Sprintf("%s %d from %s %d", textMark, l.counter, who, l.number)
}

const textMark = "Bumbu-halus"

// chat lets the peer, and now and then the owner's phone, write until ctx ends.
func (l *line) chat(ctx context.Context, r *rand.Rand) {
	for pause(ctx, time.Duration(250+r.IntN(900))*time.Millisecond) {
		from, to := l.peer, l.owner.PN()
		switch r.IntN(8) {
		case 0, 1:
			to = l.h.group
		case 2:
			from, to = l.owner, l.peer.PN()
		}
		// A message that is not accepted is nobody's loss.
		_, _ = from.SendText(ctx, to, l.text("phone"))
	}
}

// write gives the application something to send, until ctx ends.
func (l *line) write(ctx context.Context, r *rand.Rand) {
	for pause(ctx, time.Duration(250+r.IntN(900))*time.Millisecond) {
		to := l.peer.PN().String()
		if r.IntN(5) == 0 {
			to = l.h.group.String()
		}
		text := l.text("session")
		l.mu.Lock()
		l.outbox = append(l.outbox, &letter{to: to, text: text, key: fmt.Sprintf("key of %s", text)})
		l.mu.Unlock()
	}
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// sendTime is how long the application waits for one answer before it tries
// again under the same key, perhaps elsewhere.
const sendTime = 6 * time.Second

// send sends what is in the outbox, in order, through whichever connector says
// that it holds the session, each under its key until it is acknowledged.
func (l *line) send(ctx context.Context, session string) {
	for pause(ctx, 50*time.Millisecond) {
		l.mu.Lock()
		var next *letter
		if len(l.outbox) > 0 {
			next = l.outbox[0]
		}
		l.mu.Unlock()
		if next == nil {
			continue
		}
		for !l.sendOnce(ctx, session, next) {
			if !pause(ctx, 200*time.Millisecond) {
				return
			}
		}
	}
}

// sends waits until n more of the application's messages are acknowledged, or ctx
// ends.
func (l *line) sends(ctx context.Context, n int) {
	acknowledged := func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.sent)
	}
	for before := acknowledged(); acknowledged() < before+n && pause(ctx, 50*time.Millisecond); {
	}
}

func (l *line) sendOnce(ctx context.Context, session string, next *letter) bool {
	for _, m := range l.h.machines {
		if _, ok := m.session(session); !ok {
			continue
		}
		attempt, cancel := context.WithTimeout(ctx, sendTime)
		sent, err := m.client.Send(attempt, session, control.SendRequest{To: next.to, Text: next.text, Key: next.key})
		cancel()
		l.h.count.sendTries.Add(1)
		if err != nil {
			continue
		}
		l.mu.Lock()
		next.id, next.from = sent.ID, session
		l.sent, l.outbox = append(l.sent, next), l.outbox[1:]
		l.mu.Unlock()
		return true
	}
	return false
}
