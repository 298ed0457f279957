package whatsapp

import (
	"sync"
	"testing"
)

// tally is an Observer that counts by name.
type tally struct {
	mu sync.Mutex
	n  map[string]int
}

func (t *tally) add(what string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n == nil {
		t.n = map[string]int{}
	}
	t.n[what]++
}

func (t *tally) of(what string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.n[what]
}

func (t *tally) Received()      { t.add("received") }
func (t *tally) Sent()          { t.add("sent") }
func (t *tally) Refused()       { t.add("refused") }
func (t *tally) Repeated()      { t.add("repeated") }
func (t *tally) RetryAsked()    { t.add("asked") }
func (t *tally) RetryAnswered() { t.add("answered") }
func (t *tally) Reconnecting()  { t.add("reconnecting") }

func (t *tally) Undecryptable(unavailable bool) {
	if unavailable {
		t.add("unavailable")
		return
	}
	t.add("undecryptable")
}

func (t *tally) watch(c *Config) { c.Observer = t }

func TestObserverCountsMessages(t *testing.T) {
	w, seen := newWorld(t), &tally{}
	c := w.open(w.linkedFile(), seen.watch)
	c.connect(false)
	c.send(w.other.PN(), "one")
	c.send(w.other.PN(), "two")
	w.sendText(w.other, w.own.PN(), "three")
	w.wait("the text is counted", func() bool { return seen.of("received") > 0 })
	if _, err := c.Send(testContext(t), "+62 899 0000 0000", "to nobody", ""); err == nil {
		t.Error("a text to nobody was sent")
	}
	for what, want := range map[string]int{"sent": 2, "received": 1, "refused": 1, "repeated": 0, "asked": 0, "undecryptable": 0, "reconnecting": 0} {
		if got := seen.of(what); got != want {
			t.Errorf("%s: %d, want %d", what, got, want)
		}
	}
}

// The recipient has lost its Signal session: it asks, and is answered.
func TestObserverCountsRetries(t *testing.T) {
	w, seen := newWorld(t), &tally{}
	c := w.open(w.linkedFile(), seen.watch)
	c.connect(false)
	c.send(w.other.PN(), "before")
	w.waitText(w.other, "before")
	w.sendText(w.other, w.own.PN(), "back") // from now on messages carry no prekey
	c.awaitMessage("back")
	w.other.ForgetSessions()
	c.send(w.other.PN(), "after")
	w.waitText(w.other, "after")
	w.wait("the retry is counted", func() bool { return seen.of("asked") > 0 && seen.of("answered") > 0 })
}

// Messages to Signal state that a safe start has dropped are asked for again.
func TestObserverCountsUndecryptable(t *testing.T) {
	w, seen := newWorld(t), &tally{}
	path, _, highest := staleCopy(t, w)
	w.sendText(w.other, w.own.PN(), "while you were gone")
	c := w.open(path, seen.watch)
	if err := c.PrepareSafe(testContext(t), PrepareSafe{MaxPreKeyID: highest}); err != nil {
		t.Fatal(err)
	}
	c.connect(true)
	c.awaitMessage("while you were gone")
	w.wait("the undecryptable message is counted", func() bool { return seen.of("undecryptable") > 0 })
}

func TestObserverCountsReconnects(t *testing.T) {
	w, seen := newWorld(t), &tally{}
	c := w.open(w.linkedFile(), seen.watch)
	c.connect(false)
	device := c.jid()
	w.service.Faults().Cut(&device)
	w.wait("the session connects again", func() bool { return seen.of("reconnecting") > 0 })
	c.awaitState(StateConnected)
}

// What an earlier process has left open is sent again under its id.
func TestObserverCountsRepeats(t *testing.T) {
	w, seen := newWorld(t), &tally{}
	c := w.open(w.linkedFile(), seen.watch)
	id := newMessageID()
	if _, _, err := c.inbox.Reserve(testContext(t), id, id, w.other.PN().String(), "left open"); err != nil {
		t.Fatal(err)
	}
	if err := c.inbox.Attempt(testContext(t), id); err != nil {
		t.Fatal(err)
	}
	c.connect(false)
	w.waitText(w.other, "left open")
	w.wait("the message is acknowledged", func() bool { return seen.of("sent") == 1 })
	if n := seen.of("repeated"); n != 1 {
		t.Errorf("repeated %d times, want once", n)
	}
}
