package baileys

import (
	"context"
	"database/sql"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.mau.fi/whatsmeow"
	"go.mau.fi/whatsmeow/proto/waE2E"
	"go.mau.fi/whatsmeow/store/sqlstore"
	"go.mau.fi/whatsmeow/types"
	"go.mau.fi/whatsmeow/types/events"
	waLog "go.mau.fi/whatsmeow/util/log"

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

// client is an unmodified whatsmeow client over a session file.
type client struct {
	*whatsmeow.Client
	t       *testing.T
	service *watest.Service
	db      *sql.DB
	file    string

	mu      sync.Mutex
	events  []any
	changed chan struct{}
}

func openClient(t *testing.T, s *watest.Service, addr, path string) *client {
	t.Helper()
	whatsmeow.WACertPubKey = watest.TestRootKey
	db := openFile(t, path)
	device, err := sqlstore.NewWithDB(db, "sqlite3", nil).GetFirstDevice(testContext(t))
	must(t, err)
	c := &client{Client: whatsmeow.NewClient(device, waLog.Noop), t: t, service: s, db: db, file: path, changed: make(chan struct{})}
	watest.Configure(c.Client, addr)
	c.AddEventHandler(c.note)
	t.Cleanup(c.close)
	return c
}

// openFile opens a file with whatsmeow's tables.
func openFile(t *testing.T, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=foreign_keys(1)&_pragma=busy_timeout(10000)&_pragma=journal_mode(wal)&_pragma=synchronous(off)&_txlock=immediate")
	must(t, err)
	must(t, sqlstore.NewWithDB(db, "sqlite3", nil).Upgrade(testContext(t)))
	return db
}

// close ends the client for good; its file can be read until the test ends.
func (c *client) close() {
	c.Disconnect()
	if err := c.db.Close(); err != nil {
		c.t.Errorf("close: %v", err)
	}
}

func (c *client) note(event any) {
	if m, ok := event.(*events.Message); ok && textOf(m) != "" {
		c.service.ReportShown(*c.Store.ID, m.Info.Sender, m.Info.Chat, m.Info.ID, textOf(m))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events = append(c.events, event)
	close(c.changed)
	c.changed = make(chan struct{})
}

// await waits for an event that satisfies want.
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
			c.t.Fatalf("no %s", what)
		}
	}
}

func textOf(m *events.Message) string {
	if text := m.Message.GetConversation(); text != "" {
		return text
	}
	return m.Message.GetExtendedTextMessage().GetText()
}

func (c *client) awaitText(text string) {
	c.t.Helper()
	await(c, "text "+text, func(m *events.Message) bool { return textOf(m) == text })
}

func (c *client) connect() {
	c.t.Helper()
	must(c.t, c.Connect())
	await[*events.Connected](c, "connection", nil)
}

func (c *client) send(to types.JID, text string) {
	c.t.Helper()
	if _, err := c.SendMessage(testContext(c.t), to, &waE2E.Message{Conversation: new(text)}); err != nil {
		c.t.Fatalf("send %q: %v", text, err)
	}
}

// pairClient links a new client to a phone and waits until it is logged in.
func pairClient(t *testing.T, s *watest.Service, addr string, phone *watest.Phone) *client {
	t.Helper()
	c := openClient(t, s, addr, filepath.Join(t.TempDir(), "session.db"))
	must(t, c.Connect())
	qr := await[*events.QR](c, "QR code", nil)
	_, err := phone.ScanQR(testContext(t), qr.Codes[0])
	must(t, err)
	await[*events.Connected](c, "connection after pairing", nil)
	return c
}

func newService(t *testing.T) (*watest.Service, string) {
	t.Helper()
	s := new(watest.Service)
	addr, err := s.Listen("127.0.0.1:0")
	must(t, err)
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
	must(t, err)
	return p
}

func waitText(t *testing.T, p *watest.Phone, text string) {
	t.Helper()
	if _, err := p.WaitText(testContext(t), text); err != nil {
		t.Fatalf("phone did not show %q: %v", text, err)
	}
}

// expectSound expects that nothing was lost, asked for again or shown twice, and
// that no key was used twice.
func expectSound(t *testing.T, s *watest.Service) {
	t.Helper()
	if err := s.WaitNothingLost(testContext(t)); err != nil {
		t.Errorf("lost: %+v", s.Lost())
	}
	if c := s.Counters(); c.RetryReceipts != 0 || c.KeysReused != 0 || c.ShownTwice != 0 || c.OldCounter != 0 {
		t.Errorf("counters: %+v", c)
	}
}
