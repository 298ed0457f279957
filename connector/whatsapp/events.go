package whatsapp

import (
	"fmt"
	"time"

	"go.mau.fi/whatsmeow/types/events"
)

// maxLateKeepAlives is after how many unanswered pings (one in 20 to 30 s) a connection counts as dead.
const maxLateKeepAlives = 3

// handle is the session's only event handler. whatsmeow takes a panicking handler for a successful one, so panics end
// here. false keeps whatsmeow from acknowledging. It is never removed; once the session is stopping it refuses (W5).
func (s *Session) handle(evt any) (ok bool) {
	if s.handlers.enter() {
		defer s.handlers.leave()
	} else if s.guard.testWithout != "W5" {
		s.refuse(evt)
		return false
	}
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("handling an event panicked", "event", fmt.Sprintf("%T", evt), "panic_type", fmt.Sprintf("%T", p))
			s.reset("handler panicked")
			ok = false
		}
	}()
	if msg, isMessage := evt.(*events.Message); isMessage {
		return s.receive(msg)
	}
	if m, relevant := s.translate(evt); relevant {
		s.mail.put(m)
	}
	return true
}

// refuse returns when an event may be refused because the session is stopping. whatsmeow takes a refused answer of the
// phone for a taken one: it forgets what it has decrypted, and acknowledges it. It can do neither once its context has
// ended, and that has when the session has hung up. Nobody waits for it meanwhile: Disconnect is no barrier (W5).
func (s *Session) refuse(evt any) {
	if msg, isMessage := evt.(*events.Message); isMessage && isAnswer(msg) {
		<-s.hungUp
	}
}

// translate says what an event means for the connection: the table of DESIGN.md, section 8.
func (s *Session) translate(evt any) (m mail, relevant bool) {
	switch evt := evt.(type) {
	case *events.Connected:
		return mail{kind: mailConnected}, true
	case *events.Disconnected:
		return mail{kind: mailDropped, detail: "the connection was closed"}, true
	case *events.ManualLoginReconnect:
		return mail{kind: mailRelogin, hangUp: true}, true
	case *events.StreamError:
		return mail{kind: mailDropped, detail: "stream error " + evt.Code, hangUp: true}, true
	case *events.KeepAliveTimeout:
		return mail{kind: mailDropped, detail: "no answer to pings", hangUp: true}, evt.ErrorCount >= maxLateKeepAlives
	case *events.UndecryptableMessage:
		s.log.Warn("message can't be decrypted, asked for it again", "message_id", evt.Info.ID, "unavailable", evt.IsUnavailable)
		s.cfg.Observer.Undecryptable(evt.IsUnavailable)
		s.noteUnread(evt.Info)
		return mail{}, false
	case *events.Receipt:
		s.noteReceipt(evt)
		return mail{}, false
	case *events.QR, *events.PairSuccess, *events.PairError, *events.QRScannedWithoutMultidevice,
		*events.PairPasskeyRequest, *events.PairPasskeyConfirmation, *events.PairPasskeyError:
		return s.translatePairing(evt)
	default:
		return translateEnd(evt)
	}
}

// translateEnd covers the events after which whatsmeow itself would not connect again either.
func translateEnd(evt any) (m mail, relevant bool) {
	switch evt := evt.(type) {
	case *events.LoggedOut:
		detail := fmt.Sprintf("the device was unlinked (%s); link it again with: connector pair", evt.Reason)
		return final(StateLoggedOut, detail, fmt.Errorf("%w: %s", ErrLoggedOut, evt.Reason)), true
	case *events.StreamReplaced:
		return final(StateReplaced, "another client connected with the same keys", ErrReplaced), true
	case *events.ClientOutdated:
		return final(StateOutdated, "the service accepts only newer clients; update the connector", ErrOutdated), true
	case *events.TemporaryBan:
		ban := &BannedError{Reason: evt.Code.String()}
		if evt.Expire > 0 {
			ban.Until = time.Now().Add(evt.Expire).UTC().Truncate(time.Second)
		}
		return final(StateBanned, ban.Error(), ban), true
	case *events.ConnectFailure:
		if evt.Reason == events.ConnectFailureExperimental { // 501: passes by itself
			return mail{kind: mailDropped, detail: "the service answered 501", hangUp: true}, true
		}
		refused := &RefusedError{Code: int(evt.Reason), Reason: scrub(evt.Message)}
		if refused.Reason == "" {
			refused.Reason = evt.Reason.String()
		}
		return final(StateRefused, refused.Error(), refused), true
	case *events.CATRefreshError: // 413 and 414 belong to another kind of account
		refused := &RefusedError{Code: int(events.ConnectFailureCATInvalid), Reason: "the service asks for a Messenger login"}
		return final(StateRefused, refused.Error(), refused), true
	default:
		return mail{}, false
	}
}

func final(state State, detail string, err error) mail {
	return mail{kind: mailFinal, state: state, detail: detail, err: err, hangUp: true}
}

// translatePairing covers what happens while a new device is being linked.
func (s *Session) translatePairing(evt any) (m mail, relevant bool) {
	switch evt := evt.(type) {
	case *events.QR:
		return mail{kind: mailQR, codes: evt.Codes}, true
	case *events.PairSuccess:
		s.guard.linked.Store(true)
		return mail{kind: mailPaired}, true
	case *events.PairError:
		return mail{kind: mailPairFailed, err: evt.Error}, true
	case *events.QRScannedWithoutMultidevice:
		s.log.Warn("the phone that scanned the code can't link devices yet")
		return mail{}, false
	case *events.PairPasskeyRequest, *events.PairPasskeyConfirmation:
		return mail{kind: mailPasskey}, true
	case *events.PairPasskeyError:
		return mail{kind: mailPasskey, err: evt.Error}, true
	default:
		return mail{}, false
	}
}
