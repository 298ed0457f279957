package whatsapp

import (
	"errors"
	"fmt"
	"time"
)

// State is what a session is doing. The values are stored in session_owners.state and shown to users.
type State string

// The states of a session.
const (
	StateUnpaired     State = "unpaired"        // no device in the file
	StatePairing      State = "pairing"         // waiting for the phone
	StateStopped      State = "stopped"         // not started, or stopped
	StateConnecting   State = "connecting"      // dialling, logging in, or finishing a safe start
	StateConnected    State = "connected"       // messages flow
	StateRestored     State = "restored safely" // as connected, but not yet both sent and received since a safe start
	StateDisconnected State = "disconnected"    // waiting for the next attempt; the detail says why
	StateLoggedOut    State = "logged_out"      // the phone or the service has unlinked the device
	StateReplaced     State = "replaced"        // another client connected with the same keys (O8)
	StateBanned       State = "banned"          // a temporary ban; the detail says until when
	StateOutdated     State = "outdated"        // the service takes only newer clients
	StateRefused      State = "refused"         // the service refused the login for good; the detail says why
)

// States lists them.
func States() []State {
	return []State{
		StateUnpaired, StatePairing, StateStopped, StateConnecting, StateConnected, StateRestored, StateDisconnected,
		StateLoggedOut, StateReplaced, StateBanned, StateOutdated, StateRefused,
	}
}

// Final tells whether the session won't come back by itself: the caller decides what happens next.
func (s State) Final() bool {
	switch s {
	case StateLoggedOut, StateReplaced, StateBanned, StateOutdated, StateRefused:
		return true
	default:
		return false
	}
}

// Live tells whether messages flow.
func (s State) Live() bool { return s == StateConnected || s == StateRestored }

// Errors a caller decides by. They are wrapped: use errors.Is and errors.As.
var (
	// ErrNotPaired: the file holds no device; only Pair can help.
	ErrNotPaired = errors.New("session is not linked to a phone")
	// ErrPaired: the file holds a device already; a new pairing needs a new file (W6).
	ErrPaired = errors.New("session is linked to a phone already")
	// ErrStopped: Stop was called.
	ErrStopped = errors.New("session is stopped")
	// ErrStarted: Connect or Pair was called twice.
	ErrStarted = errors.New("session is started already")
	// ErrLoggedOut: the device was unlinked. The rows are kept as a restore point.
	ErrLoggedOut = errors.New("session is logged out")
	// ErrReplaced: another client connected with the same keys (events.StreamReplaced).
	ErrReplaced = errors.New("session was taken over by another client")
	// ErrOutdated: the service refuses this version of whatsmeow (events.ClientOutdated).
	ErrOutdated = errors.New("the service accepts only newer clients")
	// ErrRatchet: a Signal session or a prekey isn't where it should be; see safe.go and guard.go.
	ErrRatchet = errors.New("signal state has moved")
)

// BannedError is the end of a session by a temporary ban (events.TemporaryBan). No connector may connect before Until.
type BannedError struct {
	Until  time.Time // UTC; zero when the service didn't say
	Reason string
}

func (e *BannedError) Error() string {
	if e.Until.IsZero() {
		return "session is banned for a time the service didn't tell: " + e.Reason
	}
	return fmt.Sprintf("session is banned until %s: %s", e.Until.Format(time.RFC3339), e.Reason)
}

// RefusedError is a login refused for good (events.ConnectFailure): 409, 415, 418 and codes nobody knows.
type RefusedError struct {
	Code   int
	Reason string
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("the service refused the login with code %d: %s", e.Code, e.Reason)
}

// SafeStartError is a step of a safe start that didn't work; it is repeated until it does.
type SafeStartError struct {
	Step string // "phone session", "prekeys" or "app state"
	Err  error
}

func (e *SafeStartError) Error() string { return "finish safe start: " + e.Step + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *SafeStartError) Unwrap() error { return e.Err }
