package webhook

import (
	"log/slog"
	"sync"
	"time"
)

const (
	firstReminder = time.Minute
	longReminder  = time.Hour
)

// health says in the log when messages aren't taken and when they are again, not at each attempt.
type health struct {
	log  *slog.Logger
	host string

	mu       sync.Mutex
	failing  int       // chats whose next message wasn't taken
	since    time.Time // the first of them failed
	said     bool      // the log knows
	next     time.Time // nothing is said before
	interval time.Duration

	dropped     int64 // messages that the inbox didn't keep any longer
	dropsSaidAt time.Time
}

// failed notes an attempt that failed; first says that the chat's previous one did not.
func (h *health) failed(session string, err error, first bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	if first {
		if h.failing == 0 {
			h.since = now
		}
		h.failing++
	}
	if now.Before(h.next) {
		return
	}
	if !h.said {
		h.interval = firstReminder
	}
	h.said, h.next = true, now.Add(h.interval)
	h.interval = min(2*h.interval, longReminder)
	h.log.Warn("webhook doesn't take messages, they are kept and tried again", "host", h.host, "session", session,
		"chats", h.failing, "since", h.since.UTC().Truncate(time.Second), "error", err)
}

// recovered notes that a chat that had failed goes on.
func (h *health) recovered() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.failing--; h.failing > 0 || !h.said {
		return
	}
	h.said = false
	h.log.Info("webhook takes messages again", "host", h.host, "after", time.Since(h.since).Round(time.Second))
}

// left notes that n failing chats are no longer this process's business.
func (h *health) left(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failing -= n
	if h.failing == 0 {
		h.said = false
	}
}

func (h *health) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.failing
}

// expired notes that a message that wasn't taken was too old in the end.
func (h *health) expired(session string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.dropped++
	if now := time.Now(); now.Sub(h.dropsSaidAt) >= longReminder {
		h.dropsSaidAt = now
		h.log.Error("messages that the webhook never took are not kept any longer", "host", h.host, "session", session, "at_least", h.dropped)
	}
}

func (h *health) expiries() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.dropped
}
