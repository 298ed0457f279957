package whatsapp

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mau.fi/whatsmeow/types"
	"go.mau.fi/whatsmeow/util/keys"

	"cloudsession/connector/capture"
	"cloudsession/connector/inbox"
	"cloudsession/connector/watest"
)

// patience bounds every wait of these tests.
const patience = 2 * time.Minute

func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// world is a simulated service with two people.
type world struct {
	t          *testing.T
	service    *watest.Service
	endpoint   Endpoint
	own, other *watest.Phone
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, service: new(watest.Service)}
	addr, err := w.service.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.service.Close(); err != nil {
			t.Errorf("close service: %v", err)
		}
	})
	w.endpoint = Endpoint{Addr: addr.String(), RootKey: w.service.RootKey()}
	w.own = w.phone("+62 811 2222 3333", "Own")
	w.other = w.phone("+62 812 4444 5555", "Other")
	return w
}

func (w *world) phone(number, name string) *watest.Phone {
	w.t.Helper()
	p, err := w.service.NewPhone(number, name)
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

// client is a session under test with its file.
type client struct {
	*Session
	t    *testing.T
	w    *world
	file *capture.File
	path string
	log  *logBuffer

	shown []string // QR codes and pairing codes

	mu      sync.Mutex
	states  []State
	changed chan struct{}
}

// logBuffer keeps everything that is logged, at every level.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func (w *world) open(path string, change ...func(*Config)) *client {
	w.t.Helper()
	ctx := testContext(w.t)
	file, err := capture.Open(ctx, path, capture.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	c := &client{t: w.t, w: w, file: file, path: path, log: &logBuffer{}, changed: make(chan struct{})}
	var out io.Writer = c.log
	if os.Getenv("WHATSAPP_TEST_LOG") != "" {
		out = io.MultiWriter(c.log, os.Stderr)
	}
	cfg := Config{
		SessionID: filepath.Base(path), File: file, Endpoint: w.endpoint, OnState: c.noteState,
		Log:   slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Grace: Grace{Sends: time.Hour, Handlers: time.Hour, Record: time.Hour}, // a busy machine is no fault of theirs
	}
	for _, f := range change {
		f(&cfg)
	}
	if c.Session, err = Open(ctx, cfg); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(c.close)
	return c
}

// close stops the session and its file; a second call does nothing.
func (c *client) close() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.t.Context()), patience)
	defer cancel()
	if err := c.Stop(ctx); err != nil {
		c.t.Errorf("stop: %v", err)
	}
	if err := c.file.Close(); err != nil {
		c.t.Errorf("close file: %v", err)
	}
	c.expectQuietLog()
}

// expectQuietLog checks that nothing secret or personal was logged.
func (c *client) expectQuietLog() {
	c.t.Helper()
	log := c.log.String()
	secrets := []string{
		c.w.own.PN().User, c.w.own.LID().User, c.w.other.PN().User, c.w.other.LID().User, plantedMarker,
		base64.StdEncoding.EncodeToString(c.device.AdvSecretKey), hex.EncodeToString(c.device.AdvSecretKey),
	}
	for _, key := range []*keys.KeyPair{c.device.NoiseKey, c.device.IdentityKey, &c.device.SignedPreKey.KeyPair} {
		secrets = append(secrets, base64.StdEncoding.EncodeToString(key.Priv[:]), hex.EncodeToString(key.Priv[:]))
	}
	for _, secret := range append(secrets, c.shown...) {
		if strings.Contains(log, secret) {
			c.t.Errorf("%q was logged:\n%s", secret, log)
		}
	}
}

// plantedMarker stands in the texts of messages whose handling goes wrong.
const plantedMarker = "PLANTED-MARKER-7c1d"

func (c *client) noteState(s State, _ string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.states = append(c.states, s)
	close(c.changed)
	c.changed = make(chan struct{})
}

// awaitState waits until the session has been in a state.
func (c *client) awaitState(want State) {
	c.t.Helper()
	ctx := testContext(c.t)
	for {
		c.mu.Lock()
		seen, changed := slices.Contains(c.states, want), c.changed
		c.mu.Unlock()
		if seen {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			c.t.Fatalf("session never was %q: %v", want, c.states)
		}
	}
}

func (c *client) forgetStates() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.states = nil
}

// pairQR links a new session to w.own.
func (w *world) pairQR(change ...func(*Config)) *client {
	w.t.Helper()
	c := w.open(filepath.Join(w.t.TempDir(), "session.db"), change...)
	events, err := c.Pair(testContext(w.t), PairRequest{})
	if err != nil {
		w.t.Fatal(err)
	}
	for e := range events {
		switch e.Kind {
		case PairQR:
			c.shown = append(c.shown, e.Text)
			if _, err := w.own.ScanQR(testContext(w.t), e.Text); err != nil {
				w.t.Fatal(err)
			}
		case PairSuccess:
			return c
		default:
			w.t.Fatalf("pairing: %+v", e)
		}
	}
	w.t.Fatal("pairing ended without a word")
	return nil
}

func (c *client) jid() types.JID { return c.ownAddresses().pn }

func (s *Session) ownAddresses() ownAddresses {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.own
}

func (c *client) connect(safe bool) {
	c.t.Helper()
	if err := c.Connect(testContext(c.t), safe); err != nil {
		c.t.Fatalf("connect: %v", err)
	}
}

func (c *client) send(to types.JID, text string) Sent {
	c.t.Helper()
	sent, err := c.Send(testContext(c.t), to.String(), text, "")
	if err != nil {
		c.t.Fatalf("send %q: %v", text, err)
	}
	return sent
}

// awaitMessage waits until the inbox holds a text.
func (c *client) awaitMessage(text string) inbox.Message {
	c.t.Helper()
	ctx := testContext(c.t)
	added, stop := c.Inbox().Watch()
	defer stop()
	for {
		for _, m := range c.messages() {
			if m.Text == text {
				return m
			}
		}
		select {
		case <-added:
		case <-ctx.Done():
			c.t.Fatalf("message %q never came; log:\n%s", text, c.log)
		}
	}
}

func (c *client) messages() []inbox.Message {
	c.t.Helper()
	list, err := c.Inbox().List(c.t.Context(), 0, 10_000)
	if err != nil {
		c.t.Fatal(err)
	}
	return list
}

// times counts a text in the inbox.
func (c *client) times(text string) int {
	n := 0
	for _, m := range c.messages() {
		if m.Text == text {
			n++
		}
	}
	return n
}

func (w *world) sendText(from *watest.Phone, to types.JID, text string) types.MessageID {
	w.t.Helper()
	id, err := from.SendText(testContext(w.t), to, text)
	if err != nil {
		w.t.Fatalf("%s sends %q: %v", from.PN(), text, err)
	}
	return id
}

func (w *world) waitText(p *watest.Phone, text string) watest.Received {
	w.t.Helper()
	r, err := p.WaitText(testContext(w.t), text)
	if err != nil {
		w.t.Fatalf("%s never showed %q: %v", p.PN(), text, err)
	}
	return r
}

// wait asks again and again until a condition holds.
func (w *world) wait(what string, condition func() bool) {
	w.t.Helper()
	if !w.comes(what, condition) {
		w.t.FailNow()
	}
}

// comes is wait for other goroutines than the test's, which can't end it.
func (w *world) comes(what string, condition func() bool) bool {
	w.t.Helper()
	deadline := time.After(patience)
	for !condition() {
		select {
		case <-time.After(2 * time.Millisecond):
		case <-deadline:
			w.t.Errorf("%s: not in time", what)
			return false
		}
	}
	return true
}

// lostBy counts the messages accepted for a phone that it has not shown.
func (w *world) lostBy(p *watest.Phone) int {
	n := 0
	for _, lost := range w.service.Lost() {
		if lost.Device == p.LID() {
			n++
		}
	}
	return n
}

// copyFile copies the file of a client that is closed.
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

// testEndpoint is for sessions that never connect.
var testEndpoint = Endpoint{Addr: "127.0.0.1:9", RootKey: watest.TestRootKey}
