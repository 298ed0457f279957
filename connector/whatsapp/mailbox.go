package whatsapp

import "sync"

// mailKind says what the event handler has to tell the goroutine that runs the connection.
type mailKind int

const (
	mailConnected  mailKind = iota // logged in
	mailFinished                   // a safe start\'s last steps are done, or err says which is not
	mailUnread                     // the phone has to be asked for a message
	mailDropped                    // the connection is gone, or of no more use: connect again
	mailRelogin                    // the service wants a new login (515)
	mailFinal                      // the session is over: see state, detail and err
	mailQR                         // codes
	mailPaired                     // the phone has linked this device
	mailPairFailed                 // err
	mailPasskey                    // the phone wants a passkey
)

type mail struct {
	kind   mailKind
	state  State
	detail string
	err    error
	codes  []string
	hangUp bool // the socket may still be open
}

// mailbox passes mails without ever blocking the event handler, which whatsmeow calls with a lock held.
type mailbox struct {
	mu    sync.Mutex
	mails []mail
	fresh chan struct{} // has a value while there may be mail
}

func newMailbox() *mailbox { return &mailbox{fresh: make(chan struct{}, 1)} }

func (b *mailbox) put(m mail) {
	b.mu.Lock()
	b.mails = append(b.mails, m)
	b.mu.Unlock()
	select {
	case b.fresh <- struct{}{}:
	default:
	}
}

// take returns the oldest mail; ok is false when there is none.
func (b *mailbox) take() (m mail, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.mails) == 0 {
		return mail{}, false
	}
	m, b.mails = b.mails[0], b.mails[1:]
	if len(b.mails) > 0 {
		select {
		case b.fresh <- struct{}{}:
		default:
		}
	}
	return m, true
}

// forget drops what an earlier connection left behind. The end of the session is kept.
func (b *mailbox) forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	var kept []mail
	for _, m := range b.mails {
		if m.kind == mailFinal {
			kept = append(kept, m)
		}
	}
	b.mails = kept
}
