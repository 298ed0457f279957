package control

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// fake remembers which session it was asked for.
type fake struct {
	Connector
	asked   string
	drained chan error
}

var errBusy = errors.New("busy: try again")

func (f *fake) Open(_ context.Context, id string) (Session, error) {
	f.asked = id
	return Session{SessionID: id, State: "connected"}, nil
}

func (f *fake) Close(context.Context, string) error { return errBusy }

func (f *fake) Pair(_ context.Context, id string, _ PairRequest, report func(PairEvent)) error {
	if id == "refused" {
		return errBusy
	}
	report(PairEvent{Kind: "qr", QR: "1"})
	report(PairEvent{Kind: "qr", QR: "2"})
	return errBusy
}

// Drain goes on for as long as somebody listens.
func (f *fake) Drain(ctx context.Context, report func(DrainEvent)) error {
	report(DrainEvent{Kind: "begin"})
	<-ctx.Done()
	f.drained <- ctx.Err()
	return ctx.Err()
}

// Import refuses before it reads a file.
func (f *fake) Import(context.Context, string, ImportRequest, io.Reader) (Session, error) {
	return Session{}, errBusy
}

func (f *fake) Status(error) int { return http.StatusConflict }

func serve(t *testing.T) (*fake, *Client, string) {
	t.Helper()
	f := &fake{drained: make(chan error, 1)}
	_, dir := served(t, f)
	return f, NewClient(dir), dir
}

// served serves c until the test ends.
func served(t *testing.T, c Connector) (s *Server, dir string) {
	t.Helper()
	dir = t.TempDir()
	l, err := Listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	s = NewServer(c)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		if err := errors.Join(s.End(), s.http.Close(), <-done); err != nil {
			t.Error(err)
		}
	})
	return s, dir
}

func TestAnySessionIDPasses(t *testing.T) {
	f, c, _ := serve(t)
	for _, id := range []string{"personal", "..", ".", "a/b", "a%2Fb", "toko ☕", "with space ", "a?b#c", strings.Repeat("長", 255)} {
		if s, err := c.Open(t.Context(), id); err != nil || f.asked != id || s.SessionID != id {
			t.Errorf("%q: got %q, %+v, %v", id, f.asked, s, err)
		}
	}
}

func TestRefusalsAndStreams(t *testing.T) {
	_, c, _ := serve(t)
	var refused *Error
	if err := c.Close(t.Context(), "x"); !errors.As(err, &refused) || refused.Status != http.StatusConflict || err.Error() != errBusy.Error() {
		t.Errorf("close: %v", err)
	}
	if err := c.Pair(t.Context(), "refused", PairRequest{}, func(PairEvent) error { return nil }); !errors.As(err, &refused) {
		t.Errorf("a pairing refused before its first event: %v", err)
	}
	var kinds []string
	err := c.Pair(t.Context(), "x", PairRequest{}, func(e PairEvent) error {
		kinds = append(kinds, e.Kind)
		return nil
	})
	if err != nil || strings.Join(kinds, " ") != "qr qr failed" {
		t.Errorf("events %q, %v; want two codes and the failure", kinds, err)
	}
}

// A handler learns that its client has gone away, also one that has no use for what
// the request says.
func TestClientThatGoesAway(t *testing.T) {
	f, c, _ := serve(t)
	ctx, cancel := context.WithCancel(t.Context())
	err := c.Drain(ctx, func(DrainEvent) error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("drain: %v", err)
	}
	select {
	case err := <-f.drained:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("the handler ended: %v", err)
		}
	case <-time.After(2 * time.Minute):
		t.Error("the handler goes on, and nobody listens")
	}
}

// The client of a file that is refused before it was read is told why.
func TestFileThatIsRefusedUnread(t *testing.T) {
	_, c, _ := serve(t)
	_, err := c.Import(t.Context(), "x", ImportRequest{}, make([]byte, 8<<20))
	if refused, ok := errors.AsType[*Error](err); !ok || refused.Message != errBusy.Error() {
		t.Errorf("import: %v", err)
	}
}

func TestRequestThatIsTooLong(t *testing.T) {
	_, c, _ := serve(t)
	err := c.call(t.Context(), http.MethodPost, sessionPath("x", "open"), strings.Repeat("x", maxBody), nil)
	if refused, ok := errors.AsType[*Error](err); !ok || refused.Status != http.StatusRequestEntityTooLarge {
		t.Errorf("open with a long body: %v", err)
	}
}

func TestSocketIsPrivate(t *testing.T) {
	_, c, dir := serve(t)
	info, err := os.Stat(filepath.Join(dir, SocketName))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v, %v", info.Mode(), err)
	}
	if err := c.Health(t.Context()); err != nil {
		t.Error(err)
	}
	if err := NewClient(t.TempDir()).Health(t.Context()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("without a connector: %v", err)
	}
	if _, err := Listen(filepath.Join(t.TempDir(), strings.Repeat("x", 120))); err == nil || !strings.Contains(err.Error(), "shorter DATA_DIR") {
		t.Errorf("a path that is too long: %v", err)
	}
}
