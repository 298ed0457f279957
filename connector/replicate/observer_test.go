package replicate

import (
	"context"
	"sync"
	"testing"
	"time"

	"cloudsession/shared/cloudstore"
)

// counting is an Observer that keeps all it is told.
type counting struct {
	mu             sync.Mutex
	pushed         []Pushed
	wrote          []Statement
	resent, fenced int
}

func (c *counting) Pushed(p Pushed) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pushed = append(c.pushed, p)
}

func (c *counting) Wrote(s Statement) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wrote = append(c.wrote, s)
}

func (c *counting) Resent() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.resent++
}

func (c *counting) Fenced() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fenced++
}

// take returns what was told since the last call.
func (c *counting) take() (pushed []Pushed, wrote []Statement, resent, fenced int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	pushed, wrote, resent, fenced = c.pushed, c.wrote, c.resent, c.fenced
	c.pushed, c.wrote, c.resent, c.fenced = nil, nil, 0, 0
	return pushed, wrote, resent, fenced
}

func TestObserverIsToldOfPushes(t *testing.T) {
	seen := &counting{}
	g := newRig(t, newMemory(), func(o *Options) { o.Observer = seen })
	l := g.pair("personal", 1)
	l.flush()
	pushed, wrote, _, _ := seen.take()
	if len(pushed) != 1 || !pushed[0].Base || pushed[0].Compaction || pushed[0].Waited < 0 {
		t.Errorf("the first push: %+v, want one base that isn't a compaction", pushed)
	}
	if got, want := pushed[0].Bytes, l.repl.Status().PushedBytes; got != want {
		t.Errorf("%d bytes pushed, want %d", got, want)
	}
	if len(wrote) == 0 || wrote[0].Rows == 0 || int64(wrote[0].Bytes) < pushed[0].Bytes {
		t.Errorf("statements: %+v", wrote)
	}
	l.bulk(1<<10, 0)
	l.flush()
	if pushed, _, resent, fenced := seen.take(); len(pushed) != 1 || pushed[0].Base || resent != 0 || fenced != 0 {
		t.Errorf("a change: %+v, sent again %d times, fenced %d times; want one delta", pushed, resent, fenced)
	}
}

// A base that was asked for is no compaction; one that deltas outweigh is.
func TestObserverTellsCompactionsApart(t *testing.T) {
	seen := &counting{}
	g := newRig(t, newMemory(), func(o *Options) { o.Observer, o.CompactBytes = seen, 16<<10 })
	l := g.pair("personal", 1)
	l.flush()
	g.must(l.repl.Rebase(g.limit(), false))
	asked, _, _, _ := seen.take()
	for _, p := range asked {
		if p.Compaction {
			t.Errorf("a base that was asked for counts as compaction: %+v", p)
		}
	}
	compactions := 0
	for i := range 40 {
		l.bulk(3<<10, i%2)
		g.must(l.repl.WaitDurable(g.limit()))
		pushed, _, _, _ := seen.take()
		for _, p := range pushed {
			if p.Compaction != p.Base {
				t.Errorf("push %d: %+v", i, p)
			}
			if p.Compaction {
				compactions++
			}
		}
	}
	if compactions == 0 {
		t.Error("no compaction was told of")
	}
}

// A change's time to durability counts the outage that it waited out, and each
// sending of the same bytes is told.
func TestObserverIsToldOfResends(t *testing.T) {
	seen := &counting{}
	g := newRig(t, newMemory(), func(o *Options) { o.Observer, o.Lanes = seen, 1 })
	l := g.pair("personal", 1)
	l.flush()
	seen.take()
	var mu sync.Mutex
	failures := 0
	g.store.set(func(_ context.Context, op string, _ []string) fault {
		mu.Lock()
		defer mu.Unlock()
		if op != "append" || failures == 3 {
			return fine
		}
		failures++
		return lost
	})
	began := time.Now()
	l.bulk(100, 0)
	g.must(l.repl.WaitDurable(g.limit()))
	pushed, _, resent, _ := seen.take()
	if resent != 3 || len(pushed) != 1 {
		t.Fatalf("sent again %d times, %d pushes; want 3 and 1", resent, len(pushed))
	}
	if least := 3 * g.opt.RetryMin / 2; pushed[0].Waited < least || pushed[0].Waited > time.Since(began) {
		t.Errorf("the change waited %v, want %v or more", pushed[0].Waited, least)
	}
}

func TestObserverIsToldOfTheFence(t *testing.T) {
	seen := &counting{}
	g := newRig(t, newMemory(), func(o *Options) { o.Observer = seen })
	l := g.pair("personal", 5)
	l.flush()
	g.take(l.id, false, func(cloudstore.Parent) string { return StartSafe })
	l.bulk(100, 0)
	<-l.repl.Done()
	if _, _, _, fenced := seen.take(); fenced != 1 {
		t.Errorf("fenced %d times, want once", fenced)
	}
}
