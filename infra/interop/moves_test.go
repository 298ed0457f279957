//go:build interop

package interop

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.mau.fi/whatsmeow/types"

	"cloudsession/connector/control"
	"cloudsession/connector/watest"
	"cloudsession/infra/local/rig"
)

// moving is one device that moves between Baileys and a connector, and whom it
// talks to.
type moving struct {
	t           *testing.T
	ctx         context.Context
	rig         *rig.Rig
	c           *rig.Connector
	dir         string
	owner, peer *watest.Phone
	group       types.JID
	n           int
}

func newMoving(t *testing.T) *moving {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	watest.SilenceSignal()
	m := &moving{t: t, ctx: ctx, dir: t.TempDir()}
	var err error
	m.rig, err = rig.Start(ctx, rig.Options{Dir: filepath.Join(m.dir, "stack"), Out: io.Discard, Env: rig.Unhurried})
	must(t, err)
	t.Cleanup(func() { must(t, m.rig.Close()) })
	m.c, err = m.rig.StartConnector(ctx, "c", filepath.Join(m.dir, "c"))
	must(t, err)
	m.owner, err = m.rig.WhatsApp.NewPhone("628110000001", "Owner")
	must(t, err)
	m.peer, err = m.rig.WhatsApp.NewPhone("628110000002", "Peer")
	must(t, err)
	return m
}

func (m *moving) text(who string) string {
	m.n++
	return fmt.Sprintf("%s, text %d", who, m.n)
}

// peerWrites has the peer write to a person or the group.
func (m *moving) peerWrites(to types.JID) string {
	m.t.Helper()
	text := m.text("peer")
	_, err := m.peer.SendText(m.ctx, to, text)
	must(m.t, err)
	return text
}

func (m *moving) peerReads(text string) {
	m.t.Helper()
	_, err := m.peer.WaitText(m.ctx, text)
	must(m.t, err)
}

// withBot has Baileys catch up with what was written before and talk, alone and in the group.
func (m *moving) withBot(b *bot, before ...string) {
	m.t.Helper()
	for _, text := range before {
		b.waitText(text)
	}
	for _, to := range []types.JID{m.peer.PN(), m.group} {
		text := m.text("Baileys")
		b.send(to.String(), text)
		m.peerReads(text)
	}
	for _, to := range []types.JID{m.owner.PN(), m.group} {
		b.waitText(m.peerWrites(to))
	}
}

// withConnector is withBot for the connector.
func (m *moving) withConnector(session string, before ...string) {
	m.t.Helper()
	waitText := func(text string) {
		m.t.Helper()
		_, err := m.c.WaitText(m.ctx, session, text)
		must(m.t, err)
	}
	must(m.t, m.c.WaitState(m.ctx, session, "connected", "restored safely"))
	for _, text := range before {
		waitText(text)
	}
	for _, to := range []types.JID{m.peer.PN(), m.group} {
		text := m.text("connector")
		_, err := m.c.Send(m.ctx, session, control.SendRequest{To: to.String(), Text: text})
		must(m.t, err)
		m.peerReads(text)
	}
	for _, to := range []types.JID{m.owner.PN(), m.group} {
		waitText(m.peerWrites(to))
	}
}

// meanwhile is what the peer writes while the device is nowhere.
func (m *moving) meanwhile() []string {
	m.t.Helper()
	return []string{m.peerWrites(m.owner.PN()), m.peerWrites(m.group)}
}

func (m *moving) cli(args ...string) {
	m.t.Helper()
	out, err := m.c.Command(m.ctx, args...).CombinedOutput()
	if err != nil {
		m.t.Fatalf("connector %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	m.t.Logf("$ connector %s\n%s", strings.Join(args, " "), out)
}

// link pairs Baileys and makes the group.
func (m *moving) link(folder string) *bot {
	m.t.Helper()
	b := startBot(m.t, m.rig.ServiceAddr(), folder)
	_, err := m.owner.ScanQR(m.ctx, b.waitQR())
	must(m.t, err)
	b.waitOpen()
	m.group, err = m.peer.CreateGroup(m.ctx, m.owner.PN())
	must(m.t, err)
	return b
}

// sound checks what the service saw: nothing lost, shown twice or under a key used
// before, and, if all moves were exact, nothing asked for again.
func (m *moving) sound(retries bool) {
	m.t.Helper()
	must(m.t, m.rig.WhatsApp.WaitNothingLost(m.ctx))
	c := m.rig.WhatsApp.Counters()
	if c.ShownTwice != 0 || c.KeysReused != 0 || c.OldCounter != 0 || !retries && c.RetryReceipts != 0 {
		m.t.Errorf("shown twice %d, keys reused %d, dropped as old %d, asked for again %d", c.ShownTwice, c.KeysReused, c.OldCounter, c.RetryReceipts)
	}
}

// settle waits until the service has heard that the device has everything. What was
// decrypted here and not yet acknowledged would come again there, where nobody knows
// that it was: the export says so, and what it costs.
func (m *moving) settle() {
	m.t.Helper()
	device := m.owner.Devices()[0]
	must(m.t, m.rig.WhatsApp.Wait(m.ctx, func() bool { return m.rig.WhatsApp.Device(device).Queued == 0 }))
}

// exact fails at the first message that had to be asked for again.
func (m *moving) exact(move int, to string) {
	m.t.Helper()
	if n := m.rig.WhatsApp.Counters().RetryReceipts; n != 0 {
		m.t.Fatalf("move %d to %s: %d messages were asked for again", move, to, n)
	}
}

// Ten moves there and back, with texts of both sides in between, alone and in a
// group, and some that come while the device is nowhere: all in the same Signal
// sessions.
func TestTenMovesBetweenBaileysAndTheConnector(t *testing.T) {
	m := newMoving(t)
	folder := filepath.Join(m.dir, "paired")
	b := m.link(folder)
	m.withBot(b)
	for i := range 10 {
		m.settle()
		b.stop()
		before := m.meanwhile()
		session := fmt.Sprintf("move %d", i)
		m.cli("import", "baileys", folder, "--session", session, "--stopped-cleanly")
		m.withConnector(session, before...)
		m.exact(i, "the connector")

		m.settle()
		folder = filepath.Join(m.dir, fmt.Sprintf("folder %d", i))
		m.cli("export", "baileys", "--session", session, "--out", folder)
		before = m.meanwhile()
		b = startBot(t, m.rig.ServiceAddr(), folder)
		b.waitOpen()
		m.withBot(b, before...)
		m.exact(i, "Baileys")
	}
	b.stop()
	m.sound(false)
}

// A folder whose program was killed may be stale: the import starts safely, and
// still nothing is lost.
func TestBaileysThatWasKilled(t *testing.T) {
	m := newMoving(t)
	folder := filepath.Join(m.dir, "paired")
	b := m.link(folder)
	m.withBot(b)
	b.kill()
	before := m.meanwhile()
	m.cli("import", "baileys", folder, "--session", "killed")
	m.withConnector("killed", before...)
	m.withConnector("killed")
	m.sound(true)
}
