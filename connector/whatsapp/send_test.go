package whatsapp

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"go.mau.fi/whatsmeow/types"

	"cloudsession/connector/inbox"
	"cloudsession/connector/watest"
)

func TestSendOncePerKey(t *testing.T) {
	w := newWorld(t)
	c := w.pairQR()
	to := w.other.PN().String()
	first, err := c.Send(testContext(t), to, "paid", "order-17")
	if err != nil {
		t.Fatal(err)
	}
	second, err := c.Send(testContext(t), "+62 812 4444 5555", "paid", "order-17")
	if err != nil {
		t.Fatal(err)
	}
	if !second.Repeated || second.ID != first.ID {
		t.Errorf("first %+v, second %+v", first, second)
	}
	if _, err := c.Send(testContext(t), to, "other text", "order-17"); !errors.Is(err, inbox.ErrKeyReused) {
		t.Errorf("another text under the key: %v", err)
	}
	w.waitText(w.other, "paid")
	if n := w.service.Counters().Accepted; n != 1 {
		t.Errorf("%d messages accepted", n)
	}
	if left := c.unfinished(); len(left) != 0 {
		t.Errorf("unfinished: %v", left)
	}
}

// A connector that has lost the record of a send repeats it under the same id, so that the recipient shows it once.
func TestKeyGivesTheSameIDWithoutTheRecord(t *testing.T) {
	w := newWorld(t)
	c := w.pairQR()
	c.close()
	older := copyFile(t, c.path)

	c = w.open(c.path)
	c.connect(false)
	to := w.other.PN().String()
	first, err := c.Send(testContext(t), to, "paid", "order-17")
	if err != nil {
		t.Fatal(err)
	}
	w.waitText(w.other, "paid")
	c.close()

	c = w.open(older)
	if err := c.PrepareSafe(testContext(t), PrepareSafe{MaxPreKeyID: 1000}); err != nil {
		t.Fatal(err)
	}
	c.connect(true)
	again, err := c.Send(testContext(t), to, "paid", "order-17")
	if err != nil {
		t.Fatal(err)
	}
	if again.ID != first.ID || again.Repeated {
		t.Errorf("first %+v, without its record %+v", first, again)
	}
	other, err := c.Send(testContext(t), to, "paid again", "order-18")
	if err != nil {
		t.Fatal(err)
	}
	if other.ID == first.ID {
		t.Error("another key gives the same id")
	}
	w.waitText(w.other, "paid again")
	w.wait("the repetition to be suppressed", func() bool { return w.service.Counters().Suppressed > 0 })
	shown := 0
	for _, m := range w.other.Messages() {
		if m.ID == first.ID {
			shown++
		}
	}
	if shown != 1 {
		t.Errorf("shown %d times", shown)
	}
	w.expectSound(c)
}

func (c *client) unfinished() []inbox.Send {
	c.t.Helper()
	list, err := c.Inbox().Unfinished(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	return list
}

func TestLostAckIsRepeatedUnderTheID(t *testing.T) {
	w := newWorld(t)
	c := w.pairQR()
	device := c.jid()
	rule := w.service.Faults().LoseAcks(&device)
	type result struct {
		sent Sent
		err  error
	}
	done := make(chan result, 1)
	go func() {
		sent, err := c.Send(testContext(t), w.other.PN().String(), "no answer", "")
		done <- result{sent, err}
	}()
	w.waitText(w.other, "no answer")
	select {
	case r := <-done:
		t.Fatalf("reported without the service's answer: %+v", r)
	default:
	}
	rule.Remove()
	w.service.Faults().Cut(&device)
	r := <-done
	if r.err != nil {
		t.Fatal(r.err)
	}
	if got := w.waitText(w.other, "no answer"); got.ID != r.sent.ID {
		t.Errorf("shown as %s, sent as %s", got.ID, r.sent.ID)
	}
	if counters := w.service.Counters(); counters.ShownTwice != 0 || counters.KeysReused != 0 || w.lostBy(w.other) != 0 {
		t.Errorf("counters: %+v", counters)
	}
}

func TestUnfinishedSendGoesOnInTheNextSession(t *testing.T) {
	for _, test := range []struct {
		name  string
		fault func(w *world, device *types.JID) *watest.Rule
	}{
		{"the service had it", func(w *world, device *types.JID) *watest.Rule { return w.service.Faults().LoseAcks(device) }},
		{"the service never had it", func(w *world, device *types.JID) *watest.Rule {
			return w.service.Faults().Drop(device, watest.FromDevice, watest.Tag("message"))
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			c := w.pairQR(func(cfg *Config) { cfg.Grace.Sends = time.Millisecond }) // the answer never comes
			c.send(w.other.PN(), "warm up")
			device := c.jid()
			rule := test.fault(w, &device)
			ctx, cancel := context.WithCancel(testContext(t))
			done := make(chan error, 1)
			go func() {
				_, err := c.Send(ctx, w.other.PN().String(), "unfinished", "key")
				done <- err
			}()
			w.wait("the fault", func() bool { return rule.Hits() > 0 })
			cancel()
			err := <-done
			var unfinished *UnfinishedError
			if !errors.As(err, &unfinished) {
				t.Fatalf("send: %v", err)
			}
			if err := c.Stop(testContext(t)); err == nil {
				t.Error("Stop says that nothing was under way")
			}
			if err := c.file.Close(); err != nil {
				t.Fatal(err)
			}
			rule.Remove()

			again := w.open(c.path)
			again.connect(false)
			sent, err := again.Send(testContext(t), w.other.PN().String(), "unfinished", "key")
			if err != nil {
				t.Fatal(err)
			}
			if sent.ID != unfinished.ID || !sent.Repeated {
				t.Errorf("sent %+v, unfinished was %s", sent, unfinished.ID)
			}
			if got := w.waitText(w.other, "unfinished"); got.ID != unfinished.ID {
				t.Errorf("shown as %s", got.ID)
			}
			if left := again.unfinished(); len(left) != 0 {
				t.Errorf("unfinished: %v", left)
			}
			if counters := w.service.Counters(); counters.ShownTwice != 0 || counters.KeysReused != 0 || w.lostBy(w.other) != 0 {
				t.Errorf("counters: %+v", counters)
			}
		})
	}
}

func TestSendRefusals(t *testing.T) {
	w := newWorld(t)
	c := w.pairQR()
	for _, test := range []struct {
		name, to, text string
		want           error
	}{
		{"unknown number", "+62 899 9999 9999", "x", ErrNotOnWhatsApp},
		{"bad address", "0812", "x", ErrBadAddress},
		{"empty text", w.other.PN().String(), " \n", ErrBadText},
		{"long text", w.other.PN().String(), strings.Repeat("x", MaxText+1), ErrBadText},
		{"binary text", w.other.PN().String(), "\xff", ErrBadText},
	} {
		if _, err := c.Send(testContext(t), test.to, test.text, ""); !errors.Is(err, test.want) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	if _, err := c.Send(testContext(t), "+62 899 9999 9999", "x", "key"); !errors.Is(err, ErrNotOnWhatsApp) {
		t.Fatal(err)
	}
	if _, err := c.Send(testContext(t), "+62 899 9999 9999", "x", "key"); !errors.Is(err, ErrNotSent) {
		t.Errorf("the same again: %v", err)
	}
	if left := c.unfinished(); len(left) != 0 {
		t.Errorf("unfinished: %v", left)
	}
}

func TestSendToSelfAndLID(t *testing.T) {
	w := newWorld(t)
	c := w.pairQR()
	c.send(w.own.PN(), "note to self")
	w.waitText(w.own, "note to self")
	c.send(w.other.LID(), "by LID")
	w.waitText(w.other, "by LID")
	w.expectSound(c)
}

func TestManySendsAtOnce(t *testing.T) {
	w := newWorld(t)
	c := w.pairQR()
	const n = 20
	errs := make(chan error, n)
	for i := range n {
		go func() {
			_, err := c.Send(testContext(t), w.other.PN().String(), "number "+string(rune('a'+i)), "")
			errs <- err
		}()
	}
	for range n {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	for i := range n {
		w.waitText(w.other, "number "+string(rune('a'+i)))
	}
	w.expectSound(c)
}

func TestPermanentErrors(t *testing.T) {
	for _, test := range []struct {
		err  error
		want bool
	}{
		{&rejectedError{code: 479}, true},
		{&rejectedError{code: 503}, false},
		{ErrNotOnWhatsApp, true},
		{context.DeadlineExceeded, false},
		{&ratchetError{"x"}, false},
	} {
		if got := permanent(test.err); got != test.want {
			t.Errorf("%v: %v", test.err, got)
		}
	}
	if !errors.Is(&rejectedError{code: 479}, ErrRejected) {
		t.Error("a rejection isn't ErrRejected")
	}
}

func TestTraceReached(t *testing.T) {
	lid := types.NewJID("12345", types.HiddenUserServer)
	trace := &sendTrace{}
	if trace.reached(lid) {
		t.Error("nobody was written to")
	}
	trace.wrote("123456_1:0")
	if trace.reached(lid) {
		t.Error("somebody else was written to")
	}
	trace.wrote("12345_1:7")
	if !trace.reached(lid) || !trace.reached(types.NewJID("1-2", types.GroupServer)) {
		t.Error("not reached")
	}
}

// What is sent before the socket is open waits for it.
func TestSendRightAfterStart(t *testing.T) {
	w := newWorld(t)
	paired := w.pairQR()
	paired.close()
	c := w.open(paired.path)
	if err := c.Start(testContext(t), false); err != nil {
		t.Fatal(err)
	}
	c.send(w.other.PN(), "early")
	w.waitText(w.other, "early")
}
