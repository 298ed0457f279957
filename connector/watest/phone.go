package watest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.mau.fi/whatsmeow/proto/waE2E"
	"go.mau.fi/whatsmeow/store"
	"go.mau.fi/whatsmeow/types"
)

// Errors of phones.
var (
	ErrBadNumber     = errors.New("not a phone number")
	ErrNumberTaken   = errors.New("number has an account already")
	ErrNoAccount     = errors.New("no account with this number")
	ErrNoSuchDevice  = errors.New("no such linked device")
	ErrNoSuchGroup   = errors.New("no such group, or not a member of it")
	ErrNotAcceptable = errors.New("service did not accept the message")
)

// Phone is an account's primary device, held by the simulation: it links and
// unlinks other devices, and takes part in conversations as a real Signal
// participant. It is always connected. Its methods may be called from several
// goroutines at once.
type Phone struct {
	service *Service
	account *account
	signal  *store.Device // its keys and sessions; by account, whatever name is on the wire
	keys    *memoryStore

	// Guarded by the service's mutex.
	inbox    []node
	wake     chan struct{} // capacity 1
	messages []Received
	receipts []Receipt
	shown    map[string]bool // sender and id of what was shown

	// mu is held over each use of Signal state. It is taken before the
	// service's mutex, never after.
	mu      sync.Mutex
	sent    map[types.MessageID]sentMessage
	retries map[string]int // retry receipts sent, by sender and id
	silent  bool           // no answers to retry receipts and placeholder requests
}

// Received is a message a phone showed.
type Received struct {
	ID     types.MessageID
	Chat   types.JID // the peer or the group, as on the wire
	Sender types.JID // the sending device, as on the wire
	// SenderPN and SenderLID name the sending account.
	SenderPN, SenderLID types.JID
	PushName            string
	Text                string // empty if it is something else
	FromMe              bool   // sent by one of the account's linked devices
	Time                time.Time
	Message             *waE2E.Message
}

// Receipt is a receipt a phone got for messages it had sent.
type Receipt struct {
	ID   types.MessageID
	From types.JID // the device, as on the wire
	Chat types.JID // the peer or the group, as on the wire
	Type types.ReceiptType
}

// sentMessage is kept to answer retry receipts.
type sentMessage struct {
	to      types.JID
	message *waE2E.Message
}

// NewPhone makes an account. number is a phone number in international form,
// of which the digits count; name is what others see.
func (s *Service) NewPhone(number, name string) (*Phone, error) {
	if err := s.init(); err != nil {
		return nil, err
	}
	user := digits(number)
	if len(user) < 7 || len(user) > 15 || user[0] == '0' {
		return nil, fmt.Errorf("%w: %q", ErrBadNumber, number)
	}
	a := &account{
		pn: types.NewJID(user, types.DefaultUserServer), lid: types.NewJID(lidUser(user), types.HiddenUserServer),
		pushName: name, devices: make(map[uint16]*device), watchers: make(map[*account]struct{}),
	}
	p := &Phone{
		service: s, account: a, keys: newMemoryStore(), wake: make(chan struct{}, 1), shown: make(map[string]bool),
		sent: make(map[types.MessageID]sentMessage), retries: make(map[string]int),
	}
	p.signal = p.keys.device()
	a.phone = p
	d := &device{account: a, open: make(map[*conn]struct{}), bundle: p.bundle(), info: DeviceInfo{Linked: true}}
	a.devices[0] = d
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return nil, ErrClosed
	case s.accounts[accountKey(a.pn)] != nil:
		return nil, fmt.Errorf("%w: %s", ErrNumberTaken, user)
	}
	p.refillLocked(d)
	s.accounts[accountKey(a.pn)], s.accounts[accountKey(a.lid)] = a, a
	s.work.Go(p.run)
	return p, nil
}

// PN is the account's phone-number JID.
func (p *Phone) PN() types.JID { return p.account.pn }

// LID is the account's hidden JID, under which its messages go.
func (p *Phone) LID() types.JID { return p.account.lid }

// Devices lists the linked devices by their phone-number JIDs.
func (p *Phone) Devices() []types.JID {
	p.service.mu.Lock()
	defer p.service.mu.Unlock()
	var list []types.JID
	for _, d := range p.account.sorted() {
		if !d.isPhone() {
			list = append(list, d.address(types.DefaultUserServer))
		}
	}
	return list
}

// Unlink removes a linked device. Connected, it is told at once; otherwise its
// next login fails with 401.
func (p *Phone) Unlink(_ context.Context, linked types.JID) error {
	s := p.service
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.deviceLocked(linked)
	if d == nil || d.account != p.account || d.isPhone() {
		return fmt.Errorf("%w: %s", ErrNoSuchDevice, linked)
	}
	s.unlinkLocked(d)
	return nil
}

// Messages lists what the phone showed, oldest first.
func (p *Phone) Messages() []Received {
	p.service.mu.Lock()
	defer p.service.mu.Unlock()
	return slices.Clone(p.messages)
}

// Receipts lists the receipts for the phone's messages, oldest first.
func (p *Phone) Receipts() []Receipt {
	p.service.mu.Lock()
	defer p.service.mu.Unlock()
	return slices.Clone(p.receipts)
}

// WaitText waits until the phone has shown a message with exactly this text.
func (p *Phone) WaitText(ctx context.Context, text string) (Received, error) {
	var found Received
	err := p.service.wait(ctx, func() bool {
		i := slices.IndexFunc(p.messages, func(r Received) bool { return r.Text == text })
		if i >= 0 {
			found = p.messages[i]
		}
		return i >= 0
	})
	return found, err
}

// WaitReceipt waits for a receipt of this type for a message the phone sent.
// Of delivery receipts, those of inactive clients count as well.
func (p *Phone) WaitReceipt(ctx context.Context, id types.MessageID, kind types.ReceiptType) (Receipt, error) {
	var found Receipt
	err := p.service.wait(ctx, func() bool {
		i := slices.IndexFunc(p.receipts, func(r Receipt) bool {
			return r.ID == id && (r.Type == kind || (kind == types.ReceiptTypeDelivered && r.Type == types.ReceiptTypeInactive))
		})
		if i >= 0 {
			found = p.receipts[i]
		}
		return i >= 0
	})
	return found, err
}

// SetSilent makes the phone ignore retry receipts and requests for messages
// its linked devices could not read, as one without a connection does.
func (p *Phone) SetSilent(silent bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.silent = silent
}

// wait blocks until condition holds. condition is called with the service's
// mutex held.
func (s *Service) wait(ctx context.Context, condition func() bool) error {
	for {
		s.mu.Lock()
		if condition() {
			s.mu.Unlock()
			return nil
		}
		if s.closed {
			s.mu.Unlock()
			return ErrClosed
		}
		changed := s.changed
		s.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Wait blocks until condition holds, which is asked after every change in the
// service, or ctx ends.
func (s *Service) Wait(ctx context.Context, condition func() bool) error {
	if err := s.init(); err != nil {
		return err
	}
	for {
		s.mu.Lock()
		changed, closed := s.changed, s.closed
		s.mu.Unlock()
		if condition() {
			return nil
		}
		if closed {
			return ErrClosed
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// WaitNothingLost waits until every message accepted for a phone has been
// shown there.
func (s *Service) WaitNothingLost(ctx context.Context) error {
	if err := s.init(); err != nil {
		return err
	}
	return s.wait(ctx, func() bool { return s.ledger.due == 0 })
}

// pushLocked hands the phone a stanza.
func (p *Phone) pushLocked(n node) {
	p.inbox = append(p.inbox, n)
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// run handles what comes in, one stanza after the other.
func (p *Phone) run() {
	for {
		select {
		case <-p.wake:
		case <-p.service.stop:
			return
		}
		for n := p.next(); n != nil; n = p.next() {
			switch n.Tag {
			case "message":
				p.receiveMessage(n)
			case "receipt":
				p.receiveReceipt(n)
			}
		}
	}
}

// next takes the oldest stanza out of the inbox; nil if there is none.
func (p *Phone) next() *node {
	p.service.mu.Lock()
	defer p.service.mu.Unlock()
	if p.service.closed || len(p.inbox) == 0 {
		return nil
	}
	n := p.inbox[0]
	p.inbox = p.inbox[1:]
	return &n
}
