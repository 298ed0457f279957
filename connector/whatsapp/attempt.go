package whatsapp

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.mau.fi/whatsmeow"
	"go.mau.fi/whatsmeow/proto/waE2E"
	"go.mau.fi/whatsmeow/types"

	"cloudsession/connector/inbox"
)

// answerTimeout is how long an attempt waits for the service's acknowledgement.
const answerTimeout = 30 * time.Second

// permanent tells whether repeating is of no use.
func permanent(err error) bool {
	if rejected, ok := errors.AsType[*rejectedError](err); ok {
		return rejected.code < 500
	}
	return errors.Is(err, ErrNotOnWhatsApp) || errors.Is(err, whatsmeow.ErrNotInGroup) ||
		errors.Is(err, whatsmeow.ErrGroupNotFound) || errors.Is(err, whatsmeow.ErrUnknownServer)
}

// rejectedError is an acknowledgement that carries an error.
type rejectedError struct{ code int }

func (e *rejectedError) Error() string { return fmt.Sprintf("%v with code %d", ErrRejected, e.code) }

// Is implements the interface of errors.Is.
func (e *rejectedError) Is(target error) bool { return target == ErrRejected }

// attempts is what is known of a message's attempts, those of earlier processes too.
type attempts struct {
	tried     bool // there was one
	uncertain bool // one may have reached the service, and its outcome isn't known
}

// attemptsOf is what a record says: of an attempt that was counted and not settled nobody knows the outcome.
func attemptsOf(send inbox.Send) attempts {
	return attempts{tried: send.Attempts > 0, uncertain: send.Attempts > 0}
}

// try makes one attempt, and notes in made what it leaves open.
func (s *Session) try(send inbox.Send, made *attempts) (time.Time, error) {
	to, err := types.ParseJID(send.To)
	if err != nil {
		return time.Time{}, fmt.Errorf("read recipient: %w", err)
	}
	trace := &sendTrace{}
	ctx, cancel := context.WithTimeout(context.WithValue(s.ctx, sending{}, trace), 3*answerTimeout)
	defer cancel()
	target, err := s.resolve(ctx, to)
	if err != nil {
		return time.Time{}, err
	}
	if err := s.inbox.Attempt(ctx, send.ID); err != nil {
		return time.Time{}, err
	}
	if made.tried {
		s.cfg.Observer.Repeated()
	}
	made.tried = true
	message := &waE2E.Message{Conversation: new(send.Text)}
	id := send.ID
	if s.guard.testWithout == "A3" {
		id = newMessageID()
	}
	resp, err := s.cli.SendMessage(ctx, to, message, whatsmeow.SendRequestExtra{ID: id, Timeout: answerTimeout})
	if err != nil && mayHaveReached(err, trace, resp) {
		made.uncertain = true
	}
	if errors.Is(err, whatsmeow.ErrServerReturnedError) {
		rejected := &rejectedError{}
		_, _ = fmt.Sscanf(strings.TrimPrefix(err.Error(), whatsmeow.ErrServerReturnedError.Error()), "%d", &rejected.code)
		return time.Time{}, rejected
	}
	if err != nil {
		return time.Time{}, err
	}
	if !s.isOwn(target) && !trace.reached(target) {
		return time.Time{}, ErrNoDevices
	}
	return resp.Timestamp, nil
}

// mayHaveReached tells whether the service may have the message although SendMessage says err. whatsmeow repeats what it
// wrote on the next connection by itself: then an answer is about the second writing alone.
func mayHaveReached(err error, trace *sendTrace, resp whatsmeow.SendResponse) bool {
	switch {
	case !trace.begun():
		return false // it never came to encrypting
	case resp.DebugTimings.Retry > 0:
		return true
	case errors.Is(err, whatsmeow.ErrServerReturnedError), errors.Is(err, ErrRatchet), errors.Is(err, whatsmeow.ErrNotConnected):
		return false // refused, or not written
	default:
		return true
	}
}

// resolve returns the address under which a person's devices are encrypted for. whatsmeow would look it up as well, but
// says only in words that there is none.
func (s *Session) resolve(ctx context.Context, to types.JID) (types.JID, error) {
	if to.Server != types.DefaultUserServer {
		return to, nil
	}
	lid, err := s.device.LIDs.GetLIDForPN(ctx, to)
	if err != nil {
		return types.EmptyJID, fmt.Errorf("look up recipient: %w", err)
	}
	if !lid.IsEmpty() {
		return lid, nil
	}
	info, err := s.cli.GetUserInfo(ctx, []types.JID{to})
	if err != nil {
		return types.EmptyJID, fmt.Errorf("look up recipient: %w", err)
	}
	if lid = info[to].LID; lid.IsEmpty() {
		return types.EmptyJID, ErrNotOnWhatsApp
	}
	return lid, nil
}

func (s *Session) isOwn(jid types.JID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return jid.User == s.own.pn.User || jid.User == s.own.lid.User
}
