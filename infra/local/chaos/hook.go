package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"go.mau.fi/whatsmeow/types"

	"cloudsession/connector/webhook"
)

// application is where the connectors deliver messages: one for all sessions,
// which remembers the keys it has seen, as the webhook's contract asks for.
type application struct {
	h      *Harness
	secret string
	server *http.Server
	url    string
	away   atomic.Int32 // above 0 it refuses everything
}

func (h *Harness) startApplication() error {
	// Deliveries of other runs don't verify. It is no secret of anybody's.
	a := &application{h: h, secret: "chaos " + strings.Repeat(h.dir, 3)}
	l, err := new(net.ListenConfig).Listen(h.ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen for deliveries: %w", err)
	}
	a.url = fmt.Sprintf("http://%s/deliveries", l.Addr())
	a.server = &http.Server{Handler: a, ReadHeaderTimeout: 10 * time.Second}
	h.app = a
	h.work.Go(func() {
		if err := a.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			h.fail(fmt.Errorf("serve deliveries: %w", err))
		}
	})
	context.AfterFunc(h.ctx, func() { _ = a.server.Close() }) // it cuts; there is nothing to report to
	return nil
}

// env leads a connector to the application.
func (a *application) env() []string {
	return []string{"WEBHOOK_URL=" + a.url, "WEBHOOK_SECRET=" + a.secret}
}

// ServeHTTP takes one delivery.
func (a *application) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the connector has gone
	}
	if a.away.Load() > 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	var m webhook.Message
	if err := errors.Join(webhook.Verify(a.secret, r.Header, body, signedAt(r)), json.Unmarshal(body, &m)); err != nil {
		a.h.fail(a.h.violation("I2", "", "a delivery can't be read: %v", err))
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	for _, l := range a.h.lines {
		if l.show(m) {
			break
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

// signedAt is when the sender says that it signed. Machines' clocks are wrong
// here at times, and a receiver that insists on the right time gets its messages
// when they are right again.
func signedAt(r *http.Request) time.Time {
	seconds, err := strconv.ParseInt(r.Header.Get("Webhook-Timestamp"), 10, 64)
	if err != nil {
		return time.Time{} // Verify refuses it
	}
	return time.Unix(seconds, 0)
}

// show is the application showing a message to its user, unless it has the key
// already: delivery is at least once, and exactly once by key. It returns
// whether the message is this session's.
func (l *line) show(m webhook.Message) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	device, ok := l.devices[m.SessionID]
	switch {
	case !ok:
		return false
	case l.seen[m.Key]:
		l.h.count.repeats.Add(1)
		return true
	}
	l.seen[m.Key], l.shown[m.SessionID+" "+m.ID] = true, true
	chat, err := types.ParseJID(m.Chat)
	sender, err2 := types.ParseJID(m.Sender)
	if err := errors.Join(err, err2); err != nil {
		l.h.fail(l.h.violation("I2", "", "message %s: %v", m.ID, err))
		return true
	}
	l.h.count.read.Add(1)
	l.h.rig.WhatsApp.ReportShown(device, sender, chat, m.ID, m.Text)
	return true
}
