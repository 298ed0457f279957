package whatsapp

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"go.mau.fi/whatsmeow"
	"go.mau.fi/whatsmeow/types"

	"cloudsession/connector/inbox"
)

// MaxText is the longest text that can be sent, in bytes.
const MaxText = 65536

// Errors of Send. They are wrapped: use errors.Is and errors.As.
var (
	// ErrBadText: the text is empty, too long, or not UTF-8.
	ErrBadText = errors.New("text can't be sent")
	// ErrNotOnWhatsApp: nobody has this phone number on WhatsApp.
	ErrNotOnWhatsApp = errors.New("recipient is not on WhatsApp")
	// ErrNoDevices: no device of the recipient could be encrypted for, several times.
	ErrNoDevices = errors.New("recipient has no device that can be written to")
	// ErrRejected: the service answered the message with an error.
	ErrRejected = errors.New("the service rejected the message")
	// ErrNotSent: the message failed for good in an earlier call with the same key.
	ErrNotSent = errors.New("message was not sent")
)

// UnfinishedError means that nobody knows yet whether the service has the message, or that it wasn't tried yet. It stays
// in the session file and is repeated under the same id whenever the session is connected, here or after a move. Sending
// again with the same key waits for the outcome.
type UnfinishedError struct {
	ID string // the message id
	// Kept is set when TiDB has the record of it: it is repeated whatever becomes of this machine. Else it isn't if this
	// machine's disk is lost, or another connector takes the session, before TiDB has the record.
	Kept bool
	Err  error
}

func (e *UnfinishedError) Error() string {
	if e.Kept {
		return fmt.Sprintf("message %s is not acknowledged yet and will be repeated: %v", e.ID, e.Err)
	}
	return fmt.Sprintf("message %s is not acknowledged yet and will be repeated, unless this machine's disk is lost or "+
		"another connector takes the session before TiDB has it: %v", e.ID, e.Err)
}

// Unwrap returns why the call didn't wait any longer.
func (e *UnfinishedError) Unwrap() error { return e.Err }

// UncertainError means that the message won't be repeated, and that nobody knows whether the recipients have it: an
// attempt was refused for good, and an earlier one may have reached the service. Sending the text under another key may
// show it twice.
type UncertainError struct {
	ID  string // the message id
	Err error  // why it isn't repeated
}

func (e *UncertainError) Error() string {
	return fmt.Sprintf("message %s may have been sent by an earlier attempt, and is not repeated: %v", e.ID, e.Err)
}

// Unwrap returns why it isn't repeated.
func (e *UncertainError) Unwrap() error { return e.Err }

// Sent is a message that the service has acknowledged.
type Sent struct {
	ID string    // the message id
	To string    // the recipient's JID
	At time.Time // the service's time, UTC
	// Repeated is set when the message was sent by an earlier call with the same key.
	Repeated bool
}

// Send sends a text and returns once the service has acknowledged it. to is what ParseRecipient understands. key is
// the caller's idempotency key: a call with a key that was used before sends nothing again, it returns the outcome of
// the first. An empty key stands for a new message.
//
// The message gets its id, and is stored with it, before the first attempt, and every attempt uses that id (A3). When
// ctx or the session ends before the service's answer, the error is an *UnfinishedError, which comes within Grace.Promise:
// so long it may take to see the record in TiDB. An *UncertainError means that the message may have been sent, all other
// errors that it was not; neither is repeated.
func (s *Session) Send(ctx context.Context, to, text, key string) (Sent, error) {
	sent, err := s.send(ctx, to, text, key)
	if unfinished, ok := errors.AsType[*UnfinishedError](err); ok {
		return Sent{}, s.promise(ctx, unfinished)
	}
	return sent, err
}

// promise waits for a moment until TiDB has the record of a message that will be repeated, and says whether it does. The
// caller's own time is mostly over by now; a stop isn't held up.
func (s *Session) promise(ctx context.Context, e *UnfinishedError) error {
	promised := *e // others may wait for the same delivery
	if s.cfg.Kept != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.Grace.Promise)
		defer cancel()
		promised.Kept = s.cfg.Kept(ctx) == nil
	}
	return &promised
}

func (s *Session) send(ctx context.Context, to, text, key string) (Sent, error) {
	jid, err := ParseRecipient(to)
	if err != nil {
		return Sent{}, err
	}
	if err := checkText(text); err != nil {
		return Sent{}, err
	}
	if !s.sends.enter() {
		return Sent{}, ErrStopped
	}
	defer s.sends.leave()
	if err := s.sendable(); err != nil {
		return Sent{}, err
	}
	id := newMessageID()
	if key == "" {
		key = id
	} else {
		id = s.messageIDFor(key, jid, text)
	}
	send, created, err := s.inbox.Reserve(ctx, key, id, jid.String(), text)
	if err != nil {
		return Sent{}, err
	}
	if send.State != inbox.SendPending {
		return outcome(send)
	}
	d := s.deliver(send)
	select {
	case <-d.done:
		sent := d.sent // others may wait for it, too
		sent.Repeated = sent.Repeated || !created && d.err == nil
		return sent, d.err
	case <-ctx.Done():
		return Sent{}, &UnfinishedError{ID: send.ID, Err: ctx.Err()}
	}
}

// outcome is how a send came to its end in an earlier call.
func outcome(send inbox.Send) (Sent, error) {
	switch {
	case send.State == inbox.SendFailed && send.Uncertain:
		return Sent{}, &UncertainError{ID: send.ID, Err: errors.New(send.Error)}
	case send.State == inbox.SendFailed:
		return Sent{}, fmt.Errorf("%w: %s", ErrNotSent, send.Error)
	}
	return Sent{ID: send.ID, To: send.To, At: send.SentAt, Repeated: true}, nil
}

func checkText(text string) error {
	switch {
	case strings.TrimSpace(text) == "":
		return fmt.Errorf("%w: it is empty", ErrBadText)
	case len(text) > MaxText:
		return fmt.Errorf("%w: it is longer than %d bytes", ErrBadText, MaxText)
	case !utf8.ValidString(text):
		return fmt.Errorf("%w: it is not UTF-8", ErrBadText)
	}
	return nil
}

// sendable tells why nothing can be sent at all.
func (s *Session) sendable() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.finalErr != nil:
		return s.finalErr
	case !s.paired:
		return ErrNotPaired
	case !s.started:
		return ErrStopped
	}
	return nil
}

// newMessageID makes an id of the shape that whatsmeow's own have.
func newMessageID() types.MessageID {
	var b [9]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	return whatsmeow.WebMessageIDPrefix + strings.ToUpper(hex.EncodeToString(b[:]))
}

// messageIDFor makes the id of a message that was given an idempotency key. The same call gives the same id on every
// connector: one that takes the session over without the record of the send, which was lost with a disk, repeats the
// message under the id the recipients may have seen already, and their clients show it once (A3). The device's own
// secret keeps strangers from telling the key from the id.
func (s *Session) messageIDFor(key string, to types.JID, text string) types.MessageID {
	mac := hmac.New(sha256.New, s.device.AdvSecretKey)
	for _, part := range []string{"cloudsession message id", key, to.String(), text} {
		_, _ = fmt.Fprintf(mac, "%d:%s", len(part), part) // a hash takes everything
	}
	return whatsmeow.WebMessageIDPrefix + strings.ToUpper(hex.EncodeToString(mac.Sum(nil)[:9]))
}

// delivery is a send under way. Several calls may wait for it.
type delivery struct {
	done chan struct{}
	sent Sent
	err  error
}

// deliver starts sending, or joins in when it is under way. The session's end, not the caller's, ends it: an attempt
// that is given up half way may have reached the service.
func (s *Session) deliver(send inbox.Send) *delivery {
	s.mu.Lock()
	if d := s.deliveries[send.ID]; d != nil {
		s.mu.Unlock()
		return d
	}
	d := &delivery{done: make(chan struct{})}
	if s.ctx.Err() != nil || !s.sends.enter() {
		s.mu.Unlock()
		d.err = giveUp(send, ErrStopped)
		close(d.done)
		return d
	}
	s.deliveries[send.ID] = d
	s.tasks.Go(func() {
		defer s.sends.leave()
		d.sent, d.err = s.repeat(send)
		s.mu.Lock()
		delete(s.deliveries, send.ID)
		s.mu.Unlock()
		close(d.done)
	})
	s.mu.Unlock()
	return d
}

// repeat makes attempts until the outcome is known or the session ends.
func (s *Session) repeat(send inbox.Send) (Sent, error) {
	var wait backoff
	moved := 0
	for made := attemptsOf(send); ; {
		if err := s.Wait(s.ctx); err != nil {
			return Sent{}, giveUp(send, err)
		}
		at, err := s.try(send, &made)
		if err == nil {
			return s.acknowledged(send, at), nil
		}
		if errors.Is(err, inbox.ErrNotPending) {
			return s.settled(send, made)
		}
		if permanent(err) || errors.Is(err, ErrNoDevices) && wait.failures >= 4 {
			return s.refused(send, made, err)
		}
		if errors.Is(err, ErrRatchet) && moved < maxMoved {
			moved++ // nothing was sent, and nothing is wrong: the session is read anew at once
			continue
		}
		s.log.Warn("message not acknowledged, repeating it", "message_id", send.ID, "error", scrub(err.Error()))
		select {
		case <-time.After(wait.next()):
		case <-s.stopped:
		}
	}
}

// maxMoved is how often an attempt whose Signal session has moved meanwhile is repeated without a pause.
const maxMoved = 20

// giveUp ends a delivery because the session has ended. Also a message that was never handed to the service stays
// recorded: another caller may have been told so, and the record may be with the session's next owner already.
func giveUp(send inbox.Send, why error) error {
	return &UnfinishedError{ID: send.ID, Err: why}
}

var errNoRecord = errors.New("there is no record of it any more")

// settled ends a delivery that began with what stood in the record before another one ended: there is nothing to send.
func (s *Session) settled(send inbox.Send, made attempts) (Sent, error) {
	row, ok, err := s.inbox.SendByID(s.ctx, send.ID)
	switch {
	case err != nil:
		return Sent{}, giveUp(send, err)
	case !ok && made.uncertain:
		return Sent{}, &UncertainError{ID: send.ID, Err: errNoRecord}
	case !ok:
		return Sent{}, fmt.Errorf("%w: %w", ErrNotSent, errNoRecord)
	}
	return outcome(row)
}

// acknowledged records the outcome. If that fails, the message is repeated later under its id, which does no harm.
func (s *Session) acknowledged(send inbox.Send, at time.Time) Sent {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), s.cfg.Grace.Record)
	defer cancel()
	if err := s.inbox.MarkSent(ctx, send.ID, at); err != nil {
		s.log.Error("sent message not recorded", "message_id", send.ID, "error", scrub(err.Error()))
	}
	s.cfg.Observer.Sent()
	s.passed(directionOut)
	return Sent{ID: send.ID, To: send.To, At: at.UTC()}
}

// refused records that the message won't be repeated. While that isn't recorded it is not so: the record says to repeat
// it.
func (s *Session) refused(send inbox.Send, made attempts, cause error) (Sent, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), s.cfg.Grace.Record)
	defer cancel()
	mark := s.inbox.MarkFailed
	if made.uncertain {
		mark = s.inbox.MarkUncertain
	}
	err := mark(ctx, send.ID, scrub(cause.Error()))
	if errors.Is(err, inbox.ErrNotPending) {
		return s.settled(send, made)
	}
	if err != nil {
		s.log.Error("refused message not recorded", "message_id", send.ID, "error", scrub(err.Error()))
		return Sent{}, giveUp(send, cause)
	}
	s.cfg.Observer.Refused()
	if made.uncertain {
		return Sent{}, &UncertainError{ID: send.ID, Err: cause}
	}
	return Sent{}, fmt.Errorf("send message: %w", cause)
}

// resumeSends repeats the messages whose outcome an earlier connection or process has left open, in order, until the
// connection is dropped: the next one begins again, with the message under way.
func (s *Session) resumeSends(list []inbox.Send, dropped <-chan struct{}) {
	for _, send := range list {
		select {
		case <-dropped:
			return
		default:
		}
		select {
		case <-s.deliver(send).done:
		case <-dropped:
			return
		case <-s.stopped:
			return
		}
	}
}
