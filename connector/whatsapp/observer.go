package whatsapp

import (
	"go.mau.fi/whatsmeow/proto/waE2E"
	"go.mau.fi/whatsmeow/types"
	"go.mau.fi/whatsmeow/types/events"
)

// Observer is told what passes through a session. Its methods must not block. They say nothing of who or what it was:
// what observes is for counting.
type Observer interface {
	// Received is told each message that came in and was new; those of the account's other devices are not meant.
	Received()
	// Sent is told each message that the service acknowledged.
	Sent()
	// Refused is told each message that was refused for good.
	Refused()
	// Repeated is told each attempt to send a message again under its id.
	Repeated()
	// Undecryptable is told each message that could not be read and was asked for again; unavailable says that the
	// service had no copy for this device.
	Undecryptable(unavailable bool)
	// RetryAsked is told each request of a recipient to repeat a message, RetryAnswered each one that is met.
	RetryAsked()
	RetryAnswered()
	// Reconnecting is told each attempt to connect after the first of a term.
	Reconnecting()
}

// nobody observes nothing.
type nobody struct{}

// Received implements Observer.
func (nobody) Received() {}

// Sent implements Observer.
func (nobody) Sent() {}

// Refused implements Observer.
func (nobody) Refused() {}

// Repeated implements Observer.
func (nobody) Repeated() {}

// Undecryptable implements Observer.
func (nobody) Undecryptable(bool) {}

// RetryAsked implements Observer.
func (nobody) RetryAsked() {}

// RetryAnswered implements Observer.
func (nobody) RetryAnswered() {}

// Reconnecting implements Observer.
func (nobody) Reconnecting() {}

// noteReceipt counts the requests to repeat a message. whatsmeow meets them by itself and says so first, see
// newClient.
func (s *Session) noteReceipt(evt *events.Receipt) {
	if evt.Type == types.ReceiptTypeRetry {
		s.cfg.Observer.RetryAsked()
	}
}

// answering is whatsmeow's PreRetryCallback.
func (s *Session) answering(*events.Receipt, types.MessageID, int, *waE2E.Message) bool {
	s.cfg.Observer.RetryAnswered()
	return true
}
