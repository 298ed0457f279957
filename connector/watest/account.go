package watest

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.mau.fi/whatsmeow/proto/waAdv"
	"go.mau.fi/whatsmeow/types"
)

// maxDevice is the highest device number: it is one byte on the wire.
const maxDevice = 255

var errNoFreeDevice = errors.New("no free device number")

// account is one WhatsApp account: a phone and the devices linked to it.
// Guarded by the service's mutex, but for what never changes.
type account struct {
	pn, lid  types.JID // without device; never changes
	phone    *Phone    // never changes
	pushName string
	devices  map[uint16]*device // 0 is the phone
	next     uint16
	passkey  bool
	watchers map[*account]struct{} // who asked for the device list, and may have cached it
}

// device is the phone (number 0) or a linked device.
type device struct {
	account *account
	id      uint16
	noise   [32]byte // what the device proves itself with at login
	signed  *waAdv.ADVSignedDeviceIdentity
	bundle  bundle
	conns   []*conn            // sockets that are logged in and not replaced, oldest first
	open    map[*conn]struct{} // sockets that are logged in and not closed yet
	queue   []*queued          // delivered or not, not acknowledged
	info    DeviceInfo
}

// lidUser derives an account's LID from its phone number: 15 digits.
func lidUser(number string) string {
	sum := sha256.Sum256([]byte(number))
	const low, span = 100_000_000_000_000, 800_000_000_000_000
	return fmt.Sprintf("%d", low+binary.BigEndian.Uint64(sum[:8])%span)
}

// address is the device's JID in the address space of server: a LID for
// types.HiddenUserServer, else a phone number.
func (d *device) address(server string) types.JID {
	jid := d.account.address(server)
	jid.Device = d.id
	return jid
}

func (a *account) address(server string) types.JID {
	if server == types.HiddenUserServer {
		return a.lid
	}
	return a.pn
}

func (d *device) isPhone() bool { return d.id == 0 }

// accountKey is the key of a JID's account in Service.accounts.
func accountKey(jid types.JID) string {
	server := jid.Server
	if server == types.LegacyUserServer {
		server = types.DefaultUserServer
	}
	return jid.User + "@" + server
}

func (s *Service) accountLocked(jid types.JID) *account {
	return s.accounts[accountKey(jid)]
}

func (s *Service) deviceLocked(jid types.JID) *device {
	if a := s.accountLocked(jid); a != nil {
		return a.devices[jid.Device]
	}
	return nil
}

// sorted lists the account's devices by number, the phone first.
func (a *account) sorted() []*device {
	list := make([]*device, 0, len(a.devices))
	for _, d := range a.devices {
		list = append(list, d)
	}
	slices.SortFunc(list, func(x, y *device) int { return int(x.id) - int(y.id) })
	return list
}

// freeDevice picks the number of the next device. Numbers are not used again
// before all have been used.
func (a *account) freeDevice() (uint16, error) {
	for range maxDevice {
		a.next = a.next%maxDevice + 1
		if a.devices[a.next] == nil {
			return a.next, nil
		}
	}
	return 0, errNoFreeDevice
}

// digits strips a phone number to its digits.
func digits(number string) string {
	return strings.Map(func(r rune) rune {
		if r < '0' || r > '9' {
			return -1
		}
		return r
	}, number)
}
