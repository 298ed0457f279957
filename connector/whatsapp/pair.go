package whatsapp

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.mau.fi/whatsmeow"
	"go.mau.fi/whatsmeow/types"
)

// PairRequest says how a phone is to be linked.
type PairRequest struct {
	// Phone is the number to link by a pairing code, with its country code ("+62 812…"). Empty: by QR code.
	Phone string
}

// PairEventKind says what a PairEvent is.
type PairEventKind string

// The kinds of PairEvent. All but PairQR and PairCode end the pairing.
const (
	PairQR      PairEventKind = "qr"      // Text is to be shown as a QR code, in place of the one before
	PairCode    PairEventKind = "code"    // Text is the code to type into the phone, in place of the one before
	PairSuccess PairEventKind = "success" // linked and connected
	PairTimeout PairEventKind = "timeout" // nobody answered in time
	PairPasskey PairEventKind = "passkey" // WhatsApp asks for a passkey, which this program can't give; Text explains
	PairFailed  PairEventKind = "failed"  // Err says why
)

// PairEvent is one step of a pairing. Text is a secret for PairQR and PairCode: show it, never log it.
type PairEvent struct {
	Kind PairEventKind
	Text string
	Err  error
}

// passkeyText explains a passkey request. To answer one, a program must be the browser on web.whatsapp.com that holds
// the passkey (see whatsmeow's SendPasskeyResponse and WebAuthn).
const passkeyText = "WhatsApp asks for the account's passkey before it links this device. Only a web browser on " +
	"web.whatsapp.com can give it, so the pairing was cancelled and nothing was linked. Turn off the passkey for linked " +
	"devices in the phone's settings (Settings, Account, Passkeys), then pair again."

const (
	pairingTimeout = 5 * time.Minute
	reloginGrace   = 10 * time.Second // the service asks for the new login within this time
)

// qrTimes are how long a QR code is shown before the next one replaces it.
type qrTimes struct {
	first time.Duration // the first of a connection's
	next  time.Duration
}

// phonesTake is for how long phones take a code, as on web.whatsapp.com.
var phonesTake = qrTimes{first: time.Minute, next: 20 * time.Second}

// pairClient is how a pairing code request names the client; the service accepts only known browsers.
const pairClient = "Chrome (Linux)"

// Pair links a new device and leaves the session connected, as after Connect. The channel gives codes to show, then
// one last event, and is closed. QR codes are renewed until ctx ends or five minutes have passed. After any other end
// than PairSuccess the session can only be stopped, and its file be thrown away: a pairing needs a new one (W6).
func (s *Session) Pair(ctx context.Context, r PairRequest) (<-chan PairEvent, error) {
	var phone string
	if r.Phone != "" {
		jid, err := ParseRecipient(r.Phone)
		if err != nil {
			return nil, err
		}
		if jid.Server != types.DefaultUserServer {
			return nil, bad("a pairing code goes to a phone number")
		}
		phone = jid.User
	}
	if s.Paired() {
		return nil, ErrPaired
	}
	if err := s.begin(); err != nil {
		return nil, err
	}
	p := &pairing{s: s, phone: phone, events: make(chan PairEvent, 4)}
	s.setState(StatePairing, "")
	s.spawn(func() { p.run(ctx) })
	return p.events, nil
}

// pairing is one attempt to link a device.
type pairing struct {
	s      *Session
	phone  string // digits; empty for QR
	events chan PairEvent

	codes   []string // QR codes not shown yet
	next    <-chan time.Time
	relogin bool // the service has asked for the new login
}

// run pairs, and says how it ended.
func (p *pairing) run(ctx context.Context) {
	defer close(p.events)
	limit, cancel := context.WithTimeout(ctx, pairingTimeout)
	defer cancel()
	stop := context.AfterFunc(p.s.ctx, cancel)
	defer stop()
	last := p.link(limit)
	if last.Kind == PairSuccess {
		last = p.login(limit)
	}
	if last.Kind != PairSuccess {
		p.s.unlinked(last)
	}
	// Nobody may be left to read it.
	select {
	case p.events <- last:
	case <-p.s.ctx.Done():
	case <-ctx.Done():
		select {
		case p.events <- last:
		default:
		}
	}
}

// unlinked hangs up after a pairing that came to nothing.
func (s *Session) unlinked(last PairEvent) {
	s.mu.Lock()
	paired, over := s.paired, s.finalErr != nil
	s.mu.Unlock()
	if paired {
		return // linked, but the first login hangs: run goes on trying
	}
	s.cli.Disconnect()
	if !over {
		s.setState(StateUnpaired, "pairing ended: "+string(last.Kind))
	}
}

// link connects until the phone has linked the device: PairSuccess, or the end.
func (p *pairing) link(ctx context.Context) PairEvent {
	var wait backoff
	for ctx.Err() == nil {
		select {
		case <-time.After(wait.next()):
		case <-ctx.Done():
			continue
		}
		p.s.mail.forget()
		p.codes, p.next = nil, nil
		if err := p.s.connect(p.s.ctx); err != nil {
			p.s.log.Warn("connecting to pair didn't work", "error", scrub(err.Error()))
			continue
		}
		if end, ended := p.attend(ctx); ended {
			return end
		}
		p.s.cli.Disconnect()
	}
	return PairEvent{Kind: PairTimeout}
}

// attend waits for the phone. ended is false when a new connection, with new codes, is needed.
func (p *pairing) attend(ctx context.Context) (end PairEvent, ended bool) {
	for {
		select {
		case <-ctx.Done():
			return PairEvent{}, false
		case <-p.next:
			if !p.show(ctx) {
				return PairEvent{}, false
			}
		case <-p.s.mail.fresh:
			m, ok := p.s.mail.take()
			if !ok {
				continue
			}
			if end, ended, again := p.handle(ctx, m); ended || again {
				return end, ended
			}
		}
	}
}

func (p *pairing) handle(ctx context.Context, m mail) (end PairEvent, ended, again bool) {
	switch m.kind {
	case mailQR:
		if p.phone != "" {
			end, ended = p.requestCode(ctx)
			return end, ended, false
		}
		p.codes = m.codes
		again = !p.show(ctx)
		if len(m.codes) == 6 { // the first of a connection's six codes lasts longer
			p.next = time.After(p.s.qr.first)
		}
		return PairEvent{}, false, again
	case mailPaired:
		return PairEvent{Kind: PairSuccess}, true, false
	case mailPairFailed:
		return PairEvent{Kind: PairFailed, Err: fmt.Errorf("link device: %w", m.err)}, true, false
	case mailPasskey:
		return PairEvent{Kind: PairPasskey, Text: passkeyText, Err: m.err}, true, false
	case mailFinal:
		p.s.conclude(m.state, m.detail, m.err)
		return PairEvent{Kind: PairFailed, Err: m.err}, true, false
	case mailRelogin: // may come before whatsmeow says that the device is linked
		p.relogin = true
	case mailDropped:
		return PairEvent{}, false, m.hangUp || !p.s.cli.IsConnected()
	}
	return PairEvent{}, false, false
}

// show gives out the next QR code; false when there is none left.
func (p *pairing) show(ctx context.Context) bool {
	if len(p.codes) == 0 {
		return false
	}
	p.emit(ctx, PairEvent{Kind: PairQR, Text: p.codes[0]})
	p.codes, p.next = p.codes[1:], time.After(p.s.qr.next)
	return true
}

func (p *pairing) emit(ctx context.Context, e PairEvent) {
	select {
	case p.events <- e:
	case <-ctx.Done():
	}
}

// requestCode asks for a pairing code. A refusal is final: it concerns the number.
func (p *pairing) requestCode(ctx context.Context) (end PairEvent, ended bool) {
	code, err := p.s.cli.PairPhone(ctx, p.phone, true, whatsmeow.PairClientChrome, pairClient)
	var refused *whatsmeow.IQError
	switch {
	case errors.As(err, &refused):
		return PairEvent{Kind: PairFailed, Err: fmt.Errorf("ask for a pairing code: the service refused with code %d", refused.Code)}, true
	case err != nil:
		p.s.log.Warn("asking for a pairing code didn't work", "error", scrub(err.Error()))
		p.s.reset("no pairing code")
		return PairEvent{}, false
	}
	p.emit(ctx, PairEvent{Kind: PairCode, Text: code})
	return PairEvent{}, false
}

// login makes the first connection as the linked device. It comes after the service has asked for it, since the
// service has to see our confirmation before.
func (p *pairing) login(ctx context.Context) PairEvent {
	s := p.s
	p.awaitRelogin(ctx)
	s.mu.Lock()
	s.paired = true
	s.own = ownAddresses{pn: s.device.GetJID(), lid: s.device.GetLID()}
	s.mu.Unlock()
	s.cli.Disconnect()
	s.spawn(s.run)
	switch err := s.Wait(ctx); {
	case err == nil:
		return PairEvent{Kind: PairSuccess}
	case ctx.Err() != nil:
		return PairEvent{Kind: PairFailed, Err: fmt.Errorf("linked, but not connected yet: %w", err)}
	default:
		return PairEvent{Kind: PairFailed, Err: err}
	}
}

func (p *pairing) awaitRelogin(ctx context.Context) {
	grace := time.NewTimer(reloginGrace)
	defer grace.Stop()
	for !p.relogin {
		select {
		case <-grace.C:
			return
		case <-ctx.Done():
			return
		case <-p.s.mail.fresh:
			m, ok := p.s.mail.take()
			if ok && (m.kind == mailRelogin || m.kind == mailDropped) {
				return
			}
			if ok && m.kind == mailFinal {
				p.s.mail.put(m)
				return
			}
		}
	}
}
