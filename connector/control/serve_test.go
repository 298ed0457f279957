package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// busy has a request of each kind under way: begun says which, and a send waits for its ack.
type busy struct {
	Connector
	begun chan string
	ack   chan Sent
}

func newBusy() *busy { return &busy{begun: make(chan string, 8), ack: make(chan Sent)} }

func (b *busy) Open(ctx context.Context, _ string) (Session, error) {
	b.begun <- "open"
	<-ctx.Done()
	return Session{}, fmt.Errorf("take session: %w", ctx.Err())
}

func (b *busy) Send(ctx context.Context, _ string, _ SendRequest) (Sent, error) {
	b.begun <- "send"
	select {
	case sent := <-b.ack:
		return sent, nil
	case <-ctx.Done():
		return Sent{}, ctx.Err()
	}
}

func (b *busy) Messages(ctx context.Context, id string, _ int64, _ bool, report func(Message) error) error {
	b.begun <- "messages"
	for id == "flood" {
		if err := report(Message{Text: strings.Repeat("x", 64<<10)}); err != nil {
			return err
		}
	}
	<-ctx.Done()
	return ctx.Err()
}

func (b *busy) Import(_ context.Context, _ string, _ ImportRequest, file io.Reader) (Session, error) {
	b.begun <- "import"
	_, err := io.Copy(io.Discard, file)
	return Session{}, err
}

func (b *busy) Drain(ctx context.Context, report func(DrainEvent)) error {
	report(DrainEvent{Kind: "moved", SessionID: "first"})
	b.begun <- "drain"
	<-ctx.Done()
	<-b.ack
	report(DrainEvent{Kind: "moved", SessionID: "last"})
	return nil
}

func (b *busy) Status(error) int { return http.StatusConflict }

// The end of the server ends what runs and says why, but for a send: that is waited for.
func TestEndLetsASendEnd(t *testing.T) {
	b := newBusy()
	s, dir := served(t, b)
	c := NewClient(dir)
	opened, followed, answered := make(chan error, 1), make(chan error, 1), make(chan error, 1)
	var sent Sent
	go func() {
		_, err := c.Open(t.Context(), "s")
		opened <- err
	}()
	go func() {
		followed <- c.Messages(t.Context(), "s", 0, true, func(Message) error { return nil })
	}()
	go func() {
		var err error
		sent, err = c.Send(t.Context(), "s", SendRequest{})
		answered <- err
	}()
	for range 3 {
		<-b.begun
	}
	if err := s.End(); err != nil {
		t.Fatal(err)
	}
	for what, got := range map[string]chan error{"open": opened, "messages": followed} {
		var told *Error
		if err := <-got; !errors.As(err, &told) || told.Message != errEnding.Error() || told.Status != http.StatusServiceUnavailable {
			t.Errorf("%s ended with %v", what, err)
		}
	}
	if err := c.Health(t.Context()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("a request after the end: %v", err)
	}
	closed := make(chan error, 1)
	go func() { closed <- s.Close(t.Context()) }()
	b.ack <- Sent{ID: "id"}
	if err := errors.Join(<-answered, <-closed); err != nil || sent.ID != "id" {
		t.Errorf("the send ended with %+v, %v", sent, err)
	}
}

// What has no answer in time is cut off, and its client says that nobody knows.
func TestCloseCutsOff(t *testing.T) {
	b := newBusy()
	s, dir := served(t, b)
	answered := make(chan error, 1)
	go func() {
		_, err := NewClient(dir).Send(t.Context(), "s", SendRequest{})
		answered <- err
	}()
	<-b.begun
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := errors.Join(s.End(), s.Close(over)); !errors.Is(err, context.Canceled) {
		t.Errorf("close: %v", err)
	}
	if err := <-answered; !errors.Is(err, ErrNoAnswer) {
		t.Errorf("a send that was cut off: %v", err)
	}
}

// A client that doesn't read its stream does not hold up the end.
func TestEndWithAClientThatDoesNotRead(t *testing.T) {
	b := newBusy()
	endsBeside(t, b, "GET /v1/sessions/flood/messages?after=0 HTTP/1.1\r\nHost: connector\r\n\r\n")
}

// Nor does one that stops in the middle of a file it sends.
func TestEndWithAnImportThatStalls(t *testing.T) {
	endsBeside(t, newBusy(), "POST /v1/sessions/s/import?max_prekey_id=0 HTTP/1.1\r\nHost: connector\r\nContent-Length: 1000\r\n\r\nthe first bytes")
}

// endsBeside wants the server to end beside a client that sends so much and nothing more.
func endsBeside(t *testing.T, b *busy, request string) {
	t.Helper()
	s, dir := served(t, b)
	var d net.Dialer
	conn, err := d.DialContext(t.Context(), "unix", filepath.Join(dir, SocketName))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // a test's connection
	if _, err := fmt.Fprint(conn, request); err != nil {
		t.Fatal(err)
	}
	<-b.begun
	long, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := errors.Join(s.End(), s.Close(long)); err != nil {
		t.Error(err)
	}
}

// What a stream has to say once the end has begun is said, however long it takes.
func TestLastLinesAreSent(t *testing.T) {
	b := newBusy()
	s, dir := served(t, b)
	var moved []string
	ended := make(chan error, 1)
	go func() {
		ended <- NewClient(dir).Drain(t.Context(), func(e DrainEvent) error {
			moved = append(moved, e.SessionID)
			return nil
		})
	}()
	<-b.begun
	if err := s.End(); err != nil {
		t.Fatal(err)
	}
	<-time.After(lastLines + 200*time.Millisecond) // what is tested is that so much time doesn't matter
	b.ack <- Sent{}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if !slices.Equal(moved, []string{"first", "last"}) {
		t.Errorf("told: %q", moved)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
}
