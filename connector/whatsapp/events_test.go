package whatsapp

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"go.mau.fi/whatsmeow/types/events"
)

// The table of section 8, event by event. session_test.go has the same over the wire.
func TestEventTable(t *testing.T) {
	s := &Session{}
	as := func(target error) func(error) bool { return func(err error) bool { return errors.Is(err, target) } }
	for _, test := range []struct {
		name  string
		evt   any
		kind  mailKind
		state State // of a mailFinal
		check func(error) bool
	}{
		{"unlinked while online", &events.LoggedOut{Reason: events.ConnectFailureLoggedOut}, mailFinal, StateLoggedOut, as(ErrLoggedOut)},
		{"unlinked while offline", &events.LoggedOut{OnConnect: true, Reason: events.ConnectFailureMainDeviceGone}, mailFinal, StateLoggedOut, as(ErrLoggedOut)},
		{"replaced", &events.StreamReplaced{}, mailFinal, StateReplaced, as(ErrReplaced)},
		{"outdated", &events.ClientOutdated{}, mailFinal, StateOutdated, as(ErrOutdated)},
		{"banned", &events.TemporaryBan{Code: events.TempBanSentToTooManyPeople, Expire: time.Hour}, mailFinal, StateBanned, func(err error) bool {
			var ban *BannedError
			return errors.As(err, &ban) && ban.Reason != "" && time.Until(ban.Until) > 59*time.Minute && time.Until(ban.Until) <= time.Hour
		}},
		{"banned, nobody knows for how long", &events.TemporaryBan{}, mailFinal, StateBanned, func(err error) bool {
			var ban *BannedError
			return errors.As(err, &ban) && ban.Until.IsZero()
		}},
		{"400", &events.ConnectFailure{Reason: 400}, mailFinal, StateRefused, refused(400)},
		{"409", &events.ConnectFailure{Reason: 409}, mailFinal, StateRefused, refused(409)},
		{"415", &events.ConnectFailure{Reason: 415}, mailFinal, StateRefused, refused(415)},
		{"418", &events.ConnectFailure{Reason: 418}, mailFinal, StateRefused, refused(418)},
		{"unknown", &events.ConnectFailure{Reason: 599, Message: "something new"}, mailFinal, StateRefused, refused(599)},
		{"Messenger", &events.CATRefreshError{}, mailFinal, StateRefused, refused(414)},
		{"501", &events.ConnectFailure{Reason: 501}, mailDropped, "", nil},
		{"stream error", &events.StreamError{Code: "599"}, mailDropped, "", nil},
		{"closed", &events.Disconnected{}, mailDropped, "", nil},
		{"dead", &events.KeepAliveTimeout{ErrorCount: maxLateKeepAlives}, mailDropped, "", nil},
		{"515", &events.ManualLoginReconnect{}, mailRelogin, "", nil},
		{"passkey asked for", &events.PairPasskeyRequest{}, mailPasskey, "", nil},
		{"passkey to be confirmed", &events.PairPasskeyConfirmation{}, mailPasskey, "", nil},
		{"passkey failed", &events.PairPasskeyError{Error: errors.New("no")}, mailPasskey, "", nil},
	} {
		m, relevant := s.translate(test.evt)
		if !relevant || m.kind != test.kind || m.state != test.state {
			t.Errorf("%s: %+v, relevant %v", test.name, m, relevant)
			continue
		}
		if m.kind == mailFinal && (!m.state.Final() || m.detail == "" || !m.hangUp || !test.check(m.err)) {
			t.Errorf("%s: %+v", test.name, m)
		}
	}
	if _, relevant := s.translate(&events.KeepAliveTimeout{ErrorCount: maxLateKeepAlives - 1}); relevant {
		t.Error("a late answer to a ping ends the connection")
	}
}

// A stopping session refuses what comes, an answer of the phone only when whatsmeow can't act on the refusal any more:
// it would take it for a success.
func TestAnswerWhileStopping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Session{handlers: newGate(), hungUp: make(chan struct{}), guard: &guard{}}
		s.ctx, s.cancel = context.WithCancel(t.Context())
		s.handlers.close()
		if s.handle(&events.Message{}) {
			t.Error("a message was taken")
		}
		refused := make(chan error, 1)
		go func() {
			if s.handle(&events.Message{UnavailableRequestID: "3EB0REQUEST"}) {
				t.Error("an answer was taken")
			}
			refused <- s.ctx.Err()
		}()
		synctest.Wait()
		s.cancel()
		close(s.hungUp)
		if err := <-refused; err == nil {
			t.Error("an answer was refused while whatsmeow could acknowledge it")
		}
	})
}
