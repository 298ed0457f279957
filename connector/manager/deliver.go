package manager

import (
	"context"
	"errors"
	"sync"
	"time"

	"cloudsession/connector/replicate"
	"cloudsession/connector/webhook"
)

// deliveryGrace is how long a delivery under way may hold up the closing of a
// session. What isn't answered by then is sent again by the next owner, under
// the same key.
const deliveryGrace = 300 * time.Millisecond

// delivery is the delivery of one open session's messages to the application.
// It belongs to the session's file: it ends before the file is closed.
type delivery struct {
	queue *webhook.Queue
	once  sync.Once
}

// prepareDelivery marks where delivery begins in a session that never had a
// webhook. It comes before the first message of the term.
func (m *Manager) prepareDelivery(ctx context.Context, o *opened) error {
	if m.opt.Webhook == nil {
		return nil
	}
	return o.wa.Inbox().StartDelivery(ctx)
}

// deliver starts delivering the messages of a session that has just become open.
func (m *Manager) deliver(s *session, o *opened) {
	if m.opt.Webhook == nil {
		return
	}
	o.delivery = &delivery{queue: m.opt.Webhook.Start(webhook.Source{
		SessionID: s.id, Box: o.wa.Inbox(), May: func() bool { return m.mayDeliver(s, o) }, Once: o.rest,
	})}
}

// mayDeliver is asked before each attempt (A2). Without a valid lease, or with a
// log that is fenced, the session may be somebody else's already, who delivers
// what this process knows of, too.
func (m *Manager) mayDeliver(s *session, o *opened) bool {
	if cur := s.current(); cur != nil && cur.wa == o.wa {
		o = cur // a new backup after a DELETE keeps the file but not the epoch
	}
	return (m.opt.Lease.Valid() || m.testWithout == "A2") && (o.local.Load() || !errors.Is(o.rep.Err(), replicate.ErrFenced))
}

// stopDelivery ends the delivery of a session whose file is about to be closed.
func (o *opened) stopDelivery() {
	if o.delivery == nil {
		return
	}
	o.delivery.once.Do(func() { o.delivery.queue.Stop(deliveryGrace) })
}
