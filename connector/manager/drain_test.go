package manager

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"cloudsession/connector/control"
	"cloudsession/connector/ownership"
	"cloudsession/shared/cloudstore"
)

// Places are given before sessions are open, so that many openings at once don't
// exceed the capacity; a draining connector gives none but for what is its own.
func TestPlaces(t *testing.T) {
	m := New(Options{Capacity: 2, Log: slog.New(slog.DiscardHandler)})
	first, err := m.enter(false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.enter(false); err != nil {
		t.Fatal(err)
	}
	if _, err := m.enter(true); !errors.Is(err, ErrFull) {
		t.Errorf("a third place of two: %v", err)
	}
	if load := m.Load(); load.Sessions != 2 || m.free() != 0 {
		t.Errorf("load %+v, %d free", load, m.free())
	}
	for range 2 { // twice is once
		first()
	}
	m.draining.Store(true)
	if _, err := m.enter(false); !errors.Is(err, ErrDraining) {
		t.Errorf("a place on a draining connector: %v", err)
	}
	if _, err := m.enter(true); err != nil {
		t.Errorf("a place for a session of its own: %v", err)
	}
	if load := m.Load(); load.Sessions != 2 || !load.Draining {
		t.Errorf("load %+v", load)
	}
}

// A session that is open and has its place kept takes one place, not two: at the
// limit another one would be given up for nothing.
func TestKeptPlaceCountsOnce(t *testing.T) {
	m := New(Options{DataDir: t.TempDir(), Capacity: 2, Log: slog.New(slog.DiscardHandler)})
	s, err := m.entry("kept")
	if err != nil {
		t.Fatal(err)
	}
	o := &opened{taken: cloudstore.Taken{Epoch: 1}, gone: make(chan struct{})}
	s.setCurrent(o)
	leave, err := m.placeOf(s)
	if err != nil {
		t.Fatal(err)
	}
	other, err := m.enter(true)
	if err != nil {
		t.Fatalf("the second place of two: %v", err)
	}
	s.setCurrent(nil) // closed, to be opened again
	if _, err := m.enter(true); !errors.Is(err, ErrFull) {
		t.Errorf("the kept place was given away: %v", err)
	}
	s.setCurrent(&opened{taken: cloudstore.Taken{Epoch: 2}, gone: make(chan struct{})})
	for range 2 { // twice is once
		leave()
	}
	if n := m.taken(); n != 2 {
		t.Errorf("%d places taken, want 2", n)
	}
	other()
	if n := m.taken(); n != 1 {
		t.Errorf("%d places taken, want the open session's", n)
	}
}

// A drain sends each session where there is most room, and counts what it sent
// since the target's row was last renewed.
func TestDrainChooses(t *testing.T) {
	m := New(Options{Log: slog.New(slog.DiscardHandler), Lease: new(ownership.Lease)})
	d := drain{m: m, given: map[string]given{}}
	renewal := time.Unix(1000, 0)
	row := func(id string, capacity, sessions int) cloudstore.Connector {
		return cloudstore.Connector{ID: id, Live: true, Capacity: capacity, Sessions: sessions, LeaseUntil: renewal}
	}
	dead, leaving := row("dead", 100, 0), row("leaving", 100, 0)
	dead.Live, leaving.Draining = false, true
	all := []cloudstore.Connector{dead, leaving, row("full", 5, 5), row("b", 10, 8), row("c", 10, 7)}
	var got []string
	for range 6 {
		to, reason := d.choose(all)
		if got = append(got, to); (to == "") == (reason == "") {
			t.Errorf("target %q, reason %q", to, reason)
		}
	}
	want := []string{"c", "b", "c", "b", "c", ""}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("targets %q, want %q", got, want)
		}
	}
	// Its next renewal shows what came.
	renewal = renewal.Add(time.Second)
	if to, _ := d.choose([]cloudstore.Connector{row("b", 10, 9)}); to != "b" {
		t.Errorf("after a renewal: %q", to)
	}
	if _, reason := d.choose([]cloudstore.Connector{dead, leaving}); reason != "there is no other live connector that takes sessions" {
		t.Errorf("nobody: %q", reason)
	}
}

// Whoever asked for a drain may go away: what is under way is waited for all the
// same, so that the next drain begins after it.
func TestDrainWaitsForWhatIsUnderWay(t *testing.T) {
	o := newOffice(t)
	id := o.order(cloudstore.CommandSync)
	ctx, goAway := context.WithCancel(t.Context())
	goAway()
	o.m.runCommand(id)
	d := drain{m: o.m}
	if c, err := d.await(ctx, o.row(id)); err != nil || c.State != cloudstore.CommandFailed {
		t.Errorf("%+v, %v; want the command's end", c, err)
	}
	o.m.tasks.Wait()
}

// told is a context that tells when it is first waited for.
type told struct {
	context.Context
	waited chan struct{}
	once   sync.Once
}

// Done implements context.Context.
func (c *told) Done() <-chan struct{} {
	c.once.Do(func() { close(c.waited) })
	return c.Context.Done()
}

// `drain --stop` ends a drain that waits for an earlier one, too: it would make the
// connector a draining one again.
func TestUndrainEndsADrainThatWaits(t *testing.T) {
	o := newOffice(t)
	o.m.drains <- struct{}{} // the earlier one
	ctx := &told{Context: t.Context(), waited: make(chan struct{})}
	over := make(chan error, 1)
	go func() { over <- o.m.Local().Drain(ctx, func(control.DrainEvent) {}) }()
	<-ctx.waited
	if err := o.m.Local().Undrain(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-o.m.drains
	if err := <-over; !errors.Is(err, errDrainStopped) {
		t.Errorf("the drain that waited: %v", err)
	}
	if o.m.draining.Load() {
		t.Error("the connector is draining again")
	}
	if err := o.m.Local().Drain(t.Context(), func(control.DrainEvent) {}); err != nil {
		t.Errorf("the next drain: %v", err)
	}
}
