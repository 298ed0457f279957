package rig

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"cloudsession/connector/webhook"
)

// WebhookSecret is the secret that a Webhook's connectors sign with.
const WebhookSecret = "whsec_" + "c29tZSBzZWNyZXQgb2YgdGhlIHRlc3RzLCBub3RoaW5nIG1vcmU="

// Webhook is an application that connectors deliver messages to: it verifies what comes, remembers keys, and answers
// as it is told.
type Webhook struct {
	server *http.Server
	addr   net.Addr
	served chan error

	mu       sync.Mutex
	status   int // 0 is 200
	attempts int // with a valid signature
	refused  int // without
	order    []webhook.Message
	keys     map[string]string // of each message, by session, chat, sender and id
	problems []error
	changed  chan struct{}
}

// ListenWebhook starts an application on loopback.
func ListenWebhook(ctx context.Context) (*Webhook, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start webhook receiver: %w", err)
	}
	w := &Webhook{addr: l.Addr(), served: make(chan error, 1), keys: map[string]string{}, changed: make(chan struct{})}
	w.server = &http.Server{Handler: w, ReadHeaderTimeout: 10 * time.Second}
	go func() { w.served <- w.server.Serve(l) }()
	return w, nil
}

// Close stops the application. It returns what was wrong with the deliveries.
func (w *Webhook) Close() error {
	err := w.server.Close()
	if served := <-w.served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return errors.Join(append(slices.Clone(w.problems), err)...)
}

// Env returns the variables that make a connector deliver here.
func (w *Webhook) Env() []string {
	return []string{"WEBHOOK_URL=http://" + w.addr.String() + "/hook?token=t0ken", "WEBHOOK_SECRET=" + WebhookSecret}
}

// Answer makes the application answer with a status from now on; 0 is 200.
func (w *Webhook) Answer(status int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.status = status
}

// ServeHTTP implements http.Handler.
func (w *Webhook) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the connector has gone
	}
	rw.WriteHeader(w.take(r.Header, body))
}

func (w *Webhook) take(header http.Header, body []byte) (status int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := webhook.Verify(WebhookSecret, header, body, time.Now()); err != nil {
		w.refused++
		w.problems = append(w.problems, err)
		return http.StatusUnauthorized
	}
	var m webhook.Message
	if err := json.Unmarshal(body, &m); err != nil || m.Key != header.Get(webhook.HeaderID) {
		w.problems = append(w.problems, fmt.Errorf("delivery %s: %w", header.Get(webhook.HeaderID), err))
		return http.StatusBadRequest
	}
	w.attempts++
	close(w.changed)
	w.changed = make(chan struct{})
	if w.status != 0 {
		return w.status
	}
	w.note(m)
	return http.StatusOK
}

// note remembers a message the first time it comes, and that each has one key and each key one message.
func (w *Webhook) note(m webhook.Message) {
	name := m.SessionID + " " + m.Chat + " " + m.Sender + " " + m.ID
	if key, ok := w.keys[name]; ok {
		if key != m.Key {
			w.problems = append(w.problems, fmt.Errorf("message %s came under two keys", m.ID))
		}
		return
	}
	if slices.Contains(slices.Collect(maps.Values(w.keys)), m.Key) {
		w.problems = append(w.problems, fmt.Errorf("message %s came under another one's key", m.ID))
	}
	w.keys[name] = m.Key
	w.order = append(w.order, m)
}

// Messages lists the messages taken, in the order of their first delivery.
func (w *Webhook) Messages() []webhook.Message {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.order)
}

// Attempts counts the deliveries that came, whatever the answer.
func (w *Webhook) Attempts() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.attempts
}

// Wait waits until ok holds, which is asked after every delivery.
func (w *Webhook) Wait(ctx context.Context, ok func() bool) error {
	for {
		w.mu.Lock()
		changed := w.changed
		w.mu.Unlock()
		if ok() {
			return nil
		}
		select {
		case <-changed:
		case <-time.After(100 * time.Millisecond): // the last attempt's outcome comes after the attempt
		case <-ctx.Done():
			return fmt.Errorf("wait for deliveries: %w", ctx.Err())
		}
	}
}

// WaitTexts waits until each of the texts was taken.
func (w *Webhook) WaitTexts(ctx context.Context, texts ...string) error {
	missing := texts
	err := w.Wait(ctx, func() bool {
		have := map[string]bool{}
		for _, m := range w.Messages() {
			have[m.Text] = true
		}
		missing = slices.DeleteFunc(slices.Clone(texts), func(t string) bool { return have[t] })
		return len(missing) == 0
	})
	if err != nil {
		return fmt.Errorf("%d of %d texts, first %q: %w", len(missing), len(texts), missing[0], err)
	}
	return nil
}
