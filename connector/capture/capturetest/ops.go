package capturetest

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"sync"

	"go.mau.fi/whatsmeow/proto/waAdv"
	"go.mau.fi/whatsmeow/store"
	"go.mau.fi/whatsmeow/store/sqlstore"
	"go.mau.fi/whatsmeow/types"
)

// Ops runs random operations of whatsmeow's store on one device of one file.
// The sequence of operations follows from the seed; keys that whatsmeow
// generates itself don't. It is not safe for concurrent use.
type Ops struct {
	Container *sqlstore.Container
	Device    *store.Device

	// appState is held while a patch of the app state is applied or forgotten, as
	// whatsmeow's client does; those beside each other share it.
	appState *sync.Mutex

	rand   *rand.Rand
	hashes [][32]byte // of buffered events
	macs   [][]byte   // indexes of app state mutations
	serial int        // makes message ids, which are never used again
}

// NewOps brings the file's schema up to date and opens its device, which it
// pairs if there is none. Install capture afterwards, or again.
func NewOps(ctx context.Context, db *sql.DB, seed uint64) (*Ops, error) {
	o := &Ops{
		Container: sqlstore.NewWithDB(db, "sqlite", nil),
		appState:  new(sync.Mutex),
		rand:      rand.New(rand.NewPCG(seed, 0)), //nolint:gosec // repeatable on purpose
	}
	if err := o.Container.Upgrade(ctx); err != nil {
		return nil, fmt.Errorf("upgrade session file: %w", err)
	}
	devices, err := o.Container.GetAllDevices(ctx)
	if err != nil {
		return nil, fmt.Errorf("read devices: %w", err)
	}
	if len(devices) > 0 {
		o.Device = devices[0]
		return o, nil
	}
	if err := o.Pair(ctx); err != nil {
		return nil, fmt.Errorf("save device: %w", err)
	}
	return o, nil
}

// Beside returns another generator for the same device, for use at the same
// time: whatsmeow numbers prekeys under a lock of the device's store.
func (o *Ops) Beside(seed uint64) *Ops {
	device := *o.Device
	return &Ops{
		Container: o.Container,
		Device:    &device,
		appState:  o.appState,
		rand:      rand.New(rand.NewPCG(seed, 0)), //nolint:gosec // repeatable on purpose
		serial:    int(seed&0xffff) << 16,
	}
}

// Pair stores a new device.
func (o *Ops) Pair(ctx context.Context) error {
	o.Device = o.Container.NewDevice()
	jid := types.NewADJID("628001", 0, 17)
	o.Device.ID = &jid
	o.Device.LID = types.JID{User: "100001", Device: 17, Server: types.HiddenUserServer}
	o.Device.Account = &waAdv.ADVSignedDeviceIdentity{
		Details:             o.bytes(40),
		AccountSignature:    o.bytes(64),
		AccountSignatureKey: o.bytes(32),
		DeviceSignature:     o.bytes(64),
	}
	o.Device.PushName = "toko ☕"
	return o.Device.Save(ctx)
}

// operation is one call of the store, or a few in a transaction.
type operation struct {
	name string
	run  func(context.Context, *Ops) error
}

// Step runs one random operation and returns its name.
func (o *Ops) Step(ctx context.Context) (string, error) {
	op := operations[o.rand.IntN(len(operations))]
	if err := op.run(ctx, o); err != nil {
		return op.name, fmt.Errorf("%s: %w", op.name, err)
	}
	return op.name, nil
}

// Names returns the names of all operations.
func Names() []string {
	names := make([]string, len(operations))
	for i, op := range operations {
		names[i] = op.name
	}
	return names
}

// Run runs the named operation.
func (o *Ops) Run(ctx context.Context, name string) error {
	for _, op := range operations {
		if op.name == name {
			return op.run(ctx, o)
		}
	}
	return fmt.Errorf("no operation %q", name)
}

func (o *Ops) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(o.rand.Uint32())
	}
	return b
}

func (o *Ops) some() []byte { return o.bytes(o.rand.IntN(600)) }

func (o *Ops) bool() bool { return o.rand.IntN(2) == 0 }

// user is a phone number from a small pool, so that rows meet again.
func (o *Ops) user() types.JID {
	return types.NewJID(fmt.Sprintf("6281%d", o.rand.IntN(12)), types.DefaultUserServer)
}

func (o *Ops) lid() types.JID {
	return types.NewJID(fmt.Sprintf("20%d", o.rand.IntN(12)), types.HiddenUserServer)
}

func (o *Ops) group() types.JID {
	return types.NewJID(fmt.Sprintf("12036%d", o.rand.IntN(4)), types.GroupServer)
}

func (o *Ops) chat() types.JID {
	switch o.rand.IntN(3) {
	case 0:
		return o.group()
	case 1:
		return o.lid()
	}
	return o.user()
}

// address is a Signal address: user, perhaps a domain, and device.
func (o *Ops) address() string {
	jid := o.chat()
	jid.Device = uint16(o.rand.IntN(3))
	return jid.SignalAddress().String()
}

func (o *Ops) messageID() string {
	o.serial++
	return fmt.Sprintf("3EB0%08X", o.serial)
}

func pick[T any](o *Ops, from []T) (T, bool) {
	var none T
	if len(from) == 0 {
		return none, false
	}
	return from[o.rand.IntN(len(from))], true
}
