package watest_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"go.mau.fi/whatsmeow"
	"go.mau.fi/whatsmeow/proto/waE2E"
	"go.mau.fi/whatsmeow/store/sqlstore"
	"go.mau.fi/whatsmeow/types"
	"go.mau.fi/whatsmeow/types/events"
	waLog "go.mau.fi/whatsmeow/util/log"
	_ "modernc.org/sqlite"

	"cloudsession/connector/watest"
)

// patience bounds every wait of these tests.
const patience = 2 * time.Minute

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// client is an unmodified whatsmeow client over its own SQLite file.
type client struct {
	*whatsmeow.Client
	t    *testing.T
	path string
	db   *sql.DB

	connecting sync.Mutex
	closing    bool // guarded by connecting

	mu      sync.Mutex
	events  []any
	changed chan struct{}
}

// open opens a client over a file: a new one, or one copied from another.
func open(t *testing.T, addr, path string) *client {
	t.Helper()
	c := openFile(t, path)
	watest.Configure(c.Client, addr)
	return c
}

func openUnconfigured(t *testing.T) *client {
	t.Helper()
	return openFile(t, filepath.Join(t.TempDir(), "client.db"))
}

func openFile(t *testing.T, path string) *client {
	t.Helper()
	ctx := testContext(t)
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=foreign_keys(1)&_pragma=busy_timeout(120000)&_pragma=journal_mode(wal)&_txlock=immediate")
	if err != nil {
		t.Fatal(err)
	}
	log := waLog.Noop
	if os.Getenv("WATEST_LOG") != "" {
		log = waLog.Stdout(filepath.Base(path), "DEBUG", false)
	}
	container := sqlstore.NewWithDB(db, "sqlite3", log)
	if err := container.Upgrade(ctx); err != nil {
		t.Fatal(err)
	}
	device, err := container.GetFirstDevice(ctx)
	if err != nil {
		t.Fatal(err)
	}
	c := &client{Client: whatsmeow.NewClient(device, log), t: t, path: path, db: db, changed: make(chan struct{})}
	c.AddEventHandler(c.note)
	t.Cleanup(c.close)
	return c
}

func (c *client) close() {
	c.connecting.Lock()
	c.closing = true
	c.connecting.Unlock()
	c.Disconnect()
	if err := c.db.Close(); err != nil {
		c.t.Errorf("close %s: %v", c.path, err)
	}
}

// reconnectByHand takes reconnecting out of whatsmeow's hands. A send that a
// disconnection interrupts and whatsmeow's own reconnecting both write a flag
// in go.mau.fi/util's exsync.Event.GetChan without a lock; the race detector
// sees it now and then.
func (c *client) reconnectByHand() {
	c.EnableAutoReconnect = false
	c.AddEventHandler(func(event any) {
		if _, ok := event.(*events.Disconnected); !ok {
			return
		}
		c.connecting.Lock()
		defer c.connecting.Unlock()
		if c.closing {
			return
		}
		if err := c.Connect(); err != nil && !errors.Is(err, whatsmeow.ErrAlreadyConnected) {
			c.t.Errorf("connect again: %v", err)
		}
	})
}

func (c *client) note(event any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events = append(c.events, event)
	close(c.changed)
	c.changed = make(chan struct{})
}

// await waits for the first event after the skipped ones that satisfies want.
func await[E any](c *client, what string, want func(E) bool) E {
	c.t.Helper()
	deadline := time.After(patience)
	for {
		c.mu.Lock()
		for _, event := range c.events {
			if e, ok := event.(E); ok && (want == nil || want(e)) {
				c.mu.Unlock()
				return e
			}
		}
		changed := c.changed
		c.mu.Unlock()
		select {
		case <-changed:
		case <-deadline:
			c.t.Fatalf("%s: no %s", filepath.Base(c.path), what)
		}
	}
}

// forget drops the events so far.
func (c *client) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events = nil
}

// texts lists the texts received so far.
func (c *client) texts() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []string
	for _, event := range c.events {
		if m, ok := event.(*events.Message); ok {
			if text := textOf(m); text != "" {
				list = append(list, text)
			}
		}
	}
	return list
}

func textOf(m *events.Message) string {
	if text := m.Message.GetConversation(); text != "" {
		return text
	}
	return m.Message.GetExtendedTextMessage().GetText()
}

func (c *client) awaitText(text string) *events.Message {
	c.t.Helper()
	return await(c, fmt.Sprintf("text %q", text), func(m *events.Message) bool { return textOf(m) == text })
}

// awaitDevice waits until the client would encrypt for a device that it knows by
// both addresses: whatsmeow acknowledges the news of it before it takes note.
func (c *client) awaitDevice(pn, lid types.JID) {
	c.t.Helper()
	ctx := testContext(c.t)
	for {
		known, err := c.GetUserDevices(ctx, []types.JID{pn.ToNonAD(), lid.ToNonAD()})
		switch {
		case err != nil:
			c.t.Fatal(err)
		case slices.Contains(known, pn) && slices.Contains(known, lid):
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (c *client) connect() {
	c.t.Helper()
	if err := c.Connect(); err != nil {
		c.t.Fatal(err)
	}
	await[*events.Connected](c, "connection", nil)
}

func (c *client) send(to types.JID, text string) types.MessageID {
	c.t.Helper()
	response, err := c.SendMessage(testContext(c.t), to, &waE2E.Message{Conversation: new(text)})
	if err != nil {
		c.t.Fatalf("send %q: %v", text, err)
	}
	return response.ID
}

// pairQR links a new client by QR code and waits until it is logged in. set
// changes the client before it connects.
func pairQR(t *testing.T, addr string, phone *watest.Phone, set ...func(*client)) *client {
	t.Helper()
	c := open(t, addr, filepath.Join(t.TempDir(), phone.PN().User+".db"))
	for _, change := range set {
		change(c)
	}
	pair(t, c, phone)
	return c
}

func pair(t *testing.T, c *client, phone *watest.Phone) {
	t.Helper()
	if err := c.Connect(); err != nil {
		t.Fatal(err)
	}
	qr := await[*events.QR](c, "QR code", nil)
	jid, err := phone.ScanQR(testContext(t), qr.Codes[0])
	if err != nil {
		t.Fatal(err)
	}
	await[*events.Connected](c, "connection after pairing", nil)
	if *c.Store.ID != jid {
		t.Fatalf("paired as %s, phone says %s", c.Store.ID, jid)
	}
}

// copyFile copies a closed client's file to a new place.
func copyFile(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(t.TempDir(), "copy.db")
	if err := os.WriteFile(copied, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return copied
}

// closeFile stops a client and folds its log into its file.
func (c *client) closeFile() {
	c.t.Helper()
	c.Disconnect()
	if _, err := c.db.ExecContext(testContext(c.t), "PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
		c.t.Fatal(err)
	}
	if err := c.db.Close(); err != nil {
		c.t.Fatal(err)
	}
}

// service starts a service on loopback.
func service(t *testing.T) (*watest.Service, string) {
	t.Helper()
	s := new(watest.Service)
	addr, err := s.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close service: %v", err)
		}
	})
	return s, addr.String()
}

func newPhone(t *testing.T, s *watest.Service, number, name string) *watest.Phone {
	t.Helper()
	p, err := s.NewPhone(number, name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// waitFor waits for a condition on the service.
func waitFor(t *testing.T, s *watest.Service, what string, condition func() bool) {
	t.Helper()
	if err := s.Wait(testContext(t), condition); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

func waitText(t *testing.T, p *watest.Phone, text string) watest.Received {
	t.Helper()
	r, err := p.WaitText(testContext(t), text)
	if err != nil {
		t.Fatalf("%s did not show %q: %v", p.PN(), text, err)
	}
	return r
}

func sendText(t *testing.T, p *watest.Phone, to types.JID, text string) types.MessageID {
	t.Helper()
	id, err := p.SendText(testContext(t), to, text)
	if err != nil {
		t.Fatalf("%s sends %q: %v", p.PN(), text, err)
	}
	return id
}

func expectSound(t *testing.T, s *watest.Service) {
	t.Helper()
	if err := s.WaitNothingLost(testContext(t)); err != nil {
		t.Errorf("lost: %+v", s.Lost())
	}
	if c := s.Counters(); c.KeysReused != 0 || c.ShownTwice != 0 || c.OldCounter != 0 {
		t.Errorf("counters: %+v", c)
	}
}
