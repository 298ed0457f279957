package manager

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"cloudsession/connector/control"
	"cloudsession/connector/inbox"
	"cloudsession/connector/replicate"
	"cloudsession/connector/webhook"
	"cloudsession/connector/whatsapp"
	"cloudsession/shared/cloudstore"
)

// Local serves the connector's local socket.
type Local struct{ m *Manager }

// Local returns what control.Server serves.
func (m *Manager) Local() Local { return Local{m} }

// Sessions lists the sessions this process has dealt with, by id.
func (l Local) Sessions() []control.Session {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	list := make([]control.Session, 0, len(l.m.sessions))
	for _, s := range l.m.sessions {
		list = append(list, describe(s))
	}
	slices.SortFunc(list, func(a, b control.Session) int { return cmp.Compare(a.SessionID, b.SessionID) })
	return list
}

func describe(s *session) control.Session {
	state, detail := s.stateNow()
	out := control.Session{SessionID: s.id, State: string(state), Detail: detail}
	o := s.current()
	if o == nil {
		if state == "" || state.Live() {
			out.State = string(whatsapp.StateStopped)
		}
		return out
	}
	out.Epoch, out.Start = o.taken.Epoch, o.taken.Start
	st := o.rep.Status()
	out.Pending = st.Pending
	out.Unprotected = o.unprotectedBy()
	if !st.LastDurable.IsZero() {
		out.SyncedAt = &st.LastDurable
	}
	if o.local.Load() && out.Detail == "" {
		out.Detail = "not in the cloud: its copy was deleted"
	}
	return out
}

// Open opens a session from this machine or from the cloud.
func (l Local) Open(ctx context.Context, id string) (control.Session, error) {
	s, err := l.m.Open(ctx, id, "open")
	if err != nil {
		return control.Session{}, err
	}
	return describe(s), nil
}

// Close closes a session and leaves it free for any connector to open by name; one
// that isn't open, but that some connector may open at any time, as well. It
// doesn't wait for a TiDB that is away: then it fails, and the session stays open, or,
// if it could not be released any more, is opened again once TiDB is back.
func (l Local) Close(ctx context.Context, id string) error {
	s, err := l.m.entry(id)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.current()
	if o == nil {
		return l.m.closePaused(ctx, s)
	}
	if err := l.m.pushFirst(ctx, s); err != nil {
		return err
	}
	return l.m.closeInTime(ctx, s, release{wanted: cloudstore.WantedClosed, forGood: o.rest})
}

// Pair links a session to a phone.
func (l Local) Pair(ctx context.Context, id string, r control.PairRequest, report func(control.PairEvent)) error {
	return l.m.Pair(ctx, id, r, report)
}

func (m *Manager) live(id string) (*opened, error) {
	s, err := m.entry(id)
	if err != nil {
		return nil, err
	}
	o := s.current()
	if o == nil || o.fresh.Load() || o.rest {
		return nil, ErrNotOpen
	}
	return o, nil
}

// Send sends a text and returns once the service has acknowledged it.
func (l Local) Send(ctx context.Context, id string, r control.SendRequest) (control.Sent, error) {
	o, err := l.m.live(id)
	if err != nil {
		return control.Sent{}, err
	}
	sent, err := o.wa.Send(ctx, r.To, r.Text, r.Key)
	if err != nil {
		return control.Sent{}, withOutcome(err)
	}
	return control.Sent{ID: sent.ID, Timestamp: sent.At}, nil
}

// withOutcome says what is known of a message beside the reason.
func withOutcome(err error) error {
	if _, ok := errors.AsType[*whatsapp.UnfinishedError](err); ok {
		return &control.SendError{Outcome: control.OutcomePending, Err: err}
	}
	if _, ok := errors.AsType[*whatsapp.UncertainError](err); ok {
		return &control.SendError{Outcome: control.OutcomeUnknown, Err: err}
	}
	return err
}

// messagesAtOnce is how many messages are read from the inbox at a time.
const messagesAtOnce = 200

// Messages reports received messages after the given number and, with follow,
// new ones until ctx ends or the session is closed.
func (l Local) Messages(ctx context.Context, id string, after int64, follow bool, report func(control.Message) error) error {
	for {
		o, err := l.m.live(id)
		if errors.Is(err, ErrNotOpen) {
			return l.m.notOpen(ctx, id)
		}
		if err != nil {
			return err
		}
		if after, err = l.read(ctx, o, after, follow, report); !errors.Is(err, errReopened) {
			return err
		}
		// Closed, or opened anew by a restore: the numbers go on.
		if err := l.m.waitLive(ctx, id); err != nil {
			return err
		}
	}
}

// errReopened: the session's file was closed while its messages were read.
var errReopened = errors.New("session was closed")

// read reports one term's messages and returns the number of the last one.
func (l Local) read(ctx context.Context, o *opened, after int64, follow bool, report func(control.Message) error) (int64, error) {
	box := o.wa.Inbox()
	added, stop := box.Watch()
	defer stop()
	for {
		list, err := box.List(ctx, after, messagesAtOnce)
		if err != nil {
			select {
			case <-o.gone: // it only said that the file is closed
				return after, errReopened
			case <-time.After(closingGrace):
				return after, fmt.Errorf("read inbox: %w", err)
			}
		}
		for _, msg := range list {
			if err := report(message(o.taken.SessionID, msg)); err != nil {
				return after, err
			}
			after = msg.Seq
		}
		switch {
		case len(list) == messagesAtOnce:
			continue
		case !follow:
			return after, nil
		}
		select {
		case <-ctx.Done():
			return after, ctx.Err()
		case <-l.m.life.Done():
			return after, ErrClosing
		case <-o.gone:
			return after, errReopened
		case <-added:
		}
	}
}

// closingGrace is how long a session takes at most from closing its file to
// being known as closed.
const closingGrace = 10 * time.Second

// reopenPatience is how long a follower waits for a session that was closed.
const reopenPatience = time.Minute

// waitLive waits until the session is open here again.
func (m *Manager) waitLive(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, reopenPatience)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		_, err := m.live(id)
		if !errors.Is(err, ErrNotOpen) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-m.life.Done():
			return ErrClosing
		case <-tick.C:
		}
	}
}

func message(sessionID string, m inbox.Message) control.Message {
	return control.Message{
		Seq: m.Seq, Key: webhook.Key(sessionID, m), ID: m.ID, Chat: m.Chat, Sender: m.Sender,
		ChatPN: m.ChatPN, SenderPN: m.SenderPN, FromMe: m.FromMe, PushName: m.PushName,
		Kind: m.Kind, Text: m.Text, Timestamp: m.SentAt,
	}
}

// Status maps an error to the HTTP status of the local socket.
func (l Local) Status(err error) int {
	if e, ok := errors.AsType[*control.SendError](err); ok { // whatever it was that went wrong
		if e.Outcome == control.OutcomePending {
			return http.StatusGatewayTimeout
		}
		return http.StatusBadGateway
	}
	switch {
	case errors.Is(err, cloudstore.ErrBadSessionID), errors.Is(err, whatsapp.ErrBadAddress), errors.Is(err, errBadPoint):
		return http.StatusBadRequest
	case errors.Is(err, ErrNoSession), errors.Is(err, replicate.ErrNoPoint):
		return http.StatusNotFound
	case errors.Is(err, ErrNotOpen), errors.Is(err, ErrElsewhere), errors.Is(err, ErrPaired), errors.Is(err, errBusy),
		errors.Is(err, ErrOpen), errors.Is(err, errBanned), errors.Is(err, errLogDamaged),
		errors.Is(err, ErrFull), errors.Is(err, ErrDraining):
		return http.StatusConflict
	case errors.Is(err, ErrClosing), cloudstore.IsUnavailable(err):
		return http.StatusServiceUnavailable
	default:
		return http.StatusInternalServerError
	}
}
