package whatsapp

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.mau.fi/whatsmeow/types"

	"cloudsession/connector/inbox"
)

// leave takes a session out of a group while the service's answer to a text for it is lost: all later attempts are
// refused for good.
func (w *world) leave(c *client, group types.JID, ctx context.Context, key string) (outcome <-chan error, answer func()) {
	w.t.Helper()
	c.send(group, "warm up")
	device := c.jid()
	rule := w.service.Faults().LoseAcks(&device)
	done := make(chan error, 1)
	go func() {
		_, err := c.Send(ctx, group.String(), "only once", key)
		done <- err
	}()
	w.waitText(w.other, "only once")
	if err := c.cli.LeaveGroup(testContext(w.t), group); err != nil {
		w.t.Fatal(err)
	}
	return done, rule.Remove
}

func (w *world) group() types.JID {
	w.t.Helper()
	group, err := w.other.CreateGroup(testContext(w.t), w.own.PN())
	if err != nil {
		w.t.Fatal(err)
	}
	return group
}

// wantUncertain checks what is told of a message that the recipients may have.
func wantUncertain(t *testing.T, what string, err error) {
	t.Helper()
	var uncertain *UncertainError
	if !errors.As(err, &uncertain) || errors.Is(err, ErrNotSent) {
		t.Errorf("%s: %v", what, err)
	}
}

// A refusal says nothing about the attempt before it, whose answer was lost: here the group has the text.
func TestRefusalAfterALostAnswer(t *testing.T) {
	w := newWorld(t)
	c := w.pairQR()
	group := w.group()
	outcome, answer := w.leave(c, group, testContext(t), "key")
	answer()
	device := c.jid()
	w.service.Faults().Cut(&device)
	wantUncertain(t, "the answer was lost", <-outcome)
	_, err := c.Send(testContext(t), group.String(), "only once", "key")
	wantUncertain(t, "asked again", err)
	if left := c.unfinished(); len(left) != 0 {
		t.Errorf("unfinished: %v", left)
	}
}

// Nor does the process know what became of an attempt that an earlier one made.
func TestRefusalAfterARestart(t *testing.T) {
	w := newWorld(t)
	c := w.pairQR(func(cfg *Config) { cfg.Grace.Sends = time.Millisecond }) // the answer never comes
	group := w.group()
	ctx, giveUp := context.WithCancel(testContext(t))
	outcome, answer := w.leave(c, group, ctx, "key")
	giveUp()
	if err := <-outcome; !errors.As(err, new(*UnfinishedError)) {
		t.Fatalf("without an answer: %v", err)
	}
	if err := c.Stop(testContext(t)); err == nil {
		t.Error("Stop says that nothing was under way")
	}
	if err := c.file.Close(); err != nil {
		t.Fatal(err)
	}
	answer()
	again := w.open(c.path)
	again.connect(false)
	_, err := again.Send(testContext(t), group.String(), "only once", "key")
	wantUncertain(t, "refused in the next process", err)
}

// The copy that a session is restored from may be older than the attempt.
func TestRefusalAfterASafeStart(t *testing.T) {
	w := newWorld(t)
	c := w.pairQR()
	const nobody = "628999999999@s.whatsapp.net"
	if _, _, err := c.Inbox().Reserve(t.Context(), "reserved", newMessageID(), nobody, "x"); err != nil {
		t.Fatal(err)
	}
	c.close()
	restored := w.open(c.path)
	if err := restored.PrepareSafe(testContext(t), PrepareSafe{MaxPreKeyID: 1000, Epoch: 2}); err != nil {
		t.Fatal(err)
	}
	restored.connect(true)
	_, err := restored.Send(testContext(t), nobody, "x", "reserved")
	wantUncertain(t, "of an older copy", err)
	if _, err := restored.Send(testContext(t), nobody, "x", "new"); !errors.Is(err, ErrNotOnWhatsApp) || errors.As(err, new(*UncertainError)) {
		t.Errorf("a send of this term: %v", err)
	}
}

// What was refused at once is known not to be sent, whatever failed before that without reaching the service.
func TestRefusalIsCertain(t *testing.T) {
	w := newWorld(t)
	c := w.pairQR()
	unknown := types.NewJID("120363000000000000", types.GroupServer)
	_, err := c.Send(testContext(t), unknown.String(), "x", "key")
	if err == nil || errors.As(err, new(*UncertainError)) {
		t.Errorf("to a group that doesn't exist: %v", err)
	}
	if _, err := c.Send(testContext(t), unknown.String(), "x", "key"); !errors.Is(err, ErrNotSent) {
		t.Errorf("asked again: %v", err)
	}
	to := w.other.PN().String()
	gone, _, err := c.Inbox().Reserve(t.Context(), "gone", newMessageID(), to, "x")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Inbox().Attempt(t.Context(), gone.ID); err != nil {
		t.Fatal(err)
	}
	tried, _, err := c.Inbox().SendByID(t.Context(), gone.ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.file.DB().ExecContext(t.Context(), `DELETE FROM inbox_sends`); err != nil {
		t.Fatal(err)
	}
	for stale, want := range map[*inbox.Send]bool{&gone: false, &tried: true} {
		d := c.deliver(*stale)
		<-d.done
		if got := errors.As(d.err, new(*UncertainError)); got != want || d.err == nil {
			t.Errorf("without a record, %d attempts known of: %v", stale.Attempts, d.err)
		}
	}
}
