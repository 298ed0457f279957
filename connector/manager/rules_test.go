package manager

import (
	"slices"
	"sync/atomic"
	"testing"

	"cloudsession/connector/capture"
	"cloudsession/connector/inbox"
	"cloudsession/connector/webhook"
)

// These tests switch rule A2 off and show what goes wrong without it.

// inboxOf is the inbox of a session file.
func inboxOf(t *testing.T, path string) *inbox.Inbox {
	t.Helper()
	f, err := capture.Open(t.Context(), path, capture.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return inbox.New(f.DB(), inbox.Options{})
}

// The lease of a process is over, and it doesn't know yet that the session is
// somebody else's, who delivers the same messages. Without A2 the application gets
// each from both.
func TestDeliveryAfterTheLease(t *testing.T) {
	for _, without := range []string{"", "A2"} {
		t.Run("without "+without, func(t *testing.T) {
			m, app := withApplication(t)
			m.testWithout, m.opt.Lease = without, newOffice(t).m.opt.Lease
			if err := m.opt.Lease.Retire(t.Context()); err != nil {
				t.Fatal(err)
			}
			var boxes []*inbox.Inbox
			for range 2 {
				files := filesOf(t.TempDir(), "x")
				endedTerm(t, files, 1, nil)
				boxes = append(boxes, inboxOf(t, files.newPath(1)))
			}
			owner := m.opt.Webhook.Start(webhook.Source{SessionID: "x", Box: boxes[0]})
			defer owner.Stop(deliveryGrace)
			all := []string{"x p1", "x p2", "x d2", "x d3"}
			app.wait(t, "delivered by the owner", func(_ int, ids []string) bool { return slices.Equal(ids, all) })

			s, err := m.entry("x")
			if err != nil {
				t.Fatal(err)
			}
			var o opened
			o.local.Store(true) // no log that could say more than the lease
			var asked atomic.Int32
			stale := m.opt.Webhook.Start(webhook.Source{SessionID: "x", Box: boxes[1], May: func() bool {
				defer asked.Add(1)
				return m.mayDeliver(s, &o)
			}})
			want := all
			if without == "" {
				eventually(t, "asked again whether it may deliver", func() bool { return asked.Load() > 1 })
			} else {
				want = append(all, all...)
				app.wait(t, "delivered twice", func(_ int, ids []string) bool { return len(ids) >= len(want) })
			}
			stale.Stop(longStop) // an attempt that was under way is over
			app.wait(t, "counted", func(_ int, ids []string) bool { return slices.Equal(ids, want) })
		})
	}
}

// A session was taken by another connector, whose copy lacks what was acknowledged
// and never pushed. Without A2 the application never gets that.
func TestUnpushedMessagesOfAnEndedTerm(t *testing.T) {
	for _, without := range []string{"", "A2"} {
		t.Run("without "+without, func(t *testing.T) {
			m, app := withApplication(t)
			m.testWithout = without
			files, elsewhere := filesOf(m.opt.DataDir, "x"), filesOf(t.TempDir(), "x")
			endedTerm(t, files, 1, nil)
			if err := files.setAside(); err != nil {
				t.Fatal(err)
			}
			endedTerm(t, elsewhere, 2, func(box *inbox.Inbox) { // what was not pushed is not there to be delivered
				list, err := box.Last(t.Context(), 3)
				for _, d := range list {
					if err == nil {
						err = box.MarkDelivered(t.Context(), d)
					}
				}
				if err != nil {
					t.Fatal(err)
				}
			})
			owner := m.opt.Webhook.Start(webhook.Source{SessionID: "x", Box: inboxOf(t, elsewhere.newPath(2)), Once: true})
			<-owner.Done()
			pushed := []string{"x p1", "x p2"}
			app.wait(t, "delivered by the owner", func(_ int, ids []string) bool { return slices.Equal(ids, pushed) })

			l := m.newLeftovers()
			defer l.stop()
			l.pass(t.Context())
			if without == "" {
				app.wait(t, "delivered", func(_ int, ids []string) bool { return slices.Equal(ids, append(pushed, "x d2", "x d3")) })
				return
			}
			if len(l.running) > 0 {
				t.Error("the leftovers are delivered without the rule, too")
			}
			app.wait(t, "lost", func(_ int, ids []string) bool { return slices.Equal(ids, pushed) })
		})
	}
}
