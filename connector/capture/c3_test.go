package capture

import (
	"errors"
	"fmt"
	"sync"
	"testing"
)

// C3: what changes between the read and the acknowledgement stays dirty, also
// when it is the same key again.
func TestChangeDuringPushStaysDirty(t *testing.T) {
	s := newSession(t, 1)
	ctx := t.Context()
	put := func(record string) {
		t.Helper()
		if err := s.ops.Device.Sessions.PutSession(ctx, "6281:1", []byte(record)); err != nil {
			t.Fatal(err)
		}
	}
	put("first")
	c, dirty, err := s.Delta(ctx)
	if err != nil || !dirty {
		t.Fatal(dirty, err)
	}
	put("second")
	s.deliver(t, c)
	if st, err := s.State(ctx); err != nil || !st.Dirty {
		t.Fatalf("dirty %v, %v", st.Dirty, err)
	}
	again, _ := s.pushDelta(t)
	if rows := rowsOf(again.Push, "whatsmeow_sessions"); len(rows) != 1 || string(rows[0][2].([]byte)) != "second" {
		t.Errorf("rows %q", rows)
	}
	s.compare(t)
	if _, dirty := s.pushDelta(t); dirty {
		t.Error("still dirty")
	}
}

// A read that is thrown away forgets nothing, and a later one sees it all.
func TestReadWithoutAcknowledgement(t *testing.T) {
	s := newSession(t, 1)
	for i := range 5 {
		if err := s.ops.Device.Sessions.PutSession(t.Context(), fmt.Sprintf("6281:%d", i), []byte{1}); err != nil {
			t.Fatal(err)
		}
		c, _, err := s.Delta(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if rows := rowsOf(c.Push, "whatsmeow_sessions"); len(rows) != i+1 {
			t.Errorf("%d rows, want %d", len(rows), i+1)
		}
	}
	s.pushDelta(t)
	s.compare(t)
}

// A delta that would be too long is not read in part, and forgets nothing.
func TestDeltaUpTo(t *testing.T) {
	s := newSession(t, 1)
	ctx := t.Context()
	for i := range 20 {
		must(t, s.ops.Device.Sessions.PutSession(ctx, fmt.Sprintf("6281:%d", i), make([]byte, 1000)))
	}
	if c, _, err := s.DeltaUpTo(ctx, 19_000); !errors.Is(err, ErrLong) || len(c.Push.Records) != 0 {
		t.Errorf("%d records, %v", len(c.Push.Records), err)
	}
	c, dirty, err := s.DeltaUpTo(ctx, 25_000)
	if err != nil || !dirty || len(rowsOf(c.Push, "whatsmeow_sessions")) != 20 {
		t.Fatalf("%d records, dirty %v, %v", len(c.Push.Records), dirty, err)
	}
	s.deliver(t, c)
	s.compare(t)
	if _, dirty, err := s.DeltaUpTo(ctx, 0); err != nil || dirty {
		t.Errorf("nothing is not too long: dirty %v, %v", dirty, err)
	}
}

// A base that would be too long is not read to its end.
func TestBaseUpTo(t *testing.T) {
	s := newSession(t, 1)
	ctx := t.Context()
	for i := range 20 {
		must(t, s.ops.Device.Sessions.PutSession(ctx, fmt.Sprintf("6281:%d", i), make([]byte, 100_000)))
	}
	if c, err := s.BaseUpTo(ctx, 1_000_000); !errors.Is(err, ErrLong) || len(c.Push.Records) != 0 {
		t.Errorf("%d records, %v", len(c.Push.Records), err)
	}
	c, err := s.BaseUpTo(ctx, 4_000_000)
	if err != nil || len(rowsOf(c.Push, "whatsmeow_sessions")) != 20 {
		t.Fatalf("%d records, %v", len(c.Push.Records), err)
	}
	s.deliver(t, c)
	s.compare(t)
}

// Writers and pushes interleave freely; the replica ends up equal.
func TestPushesBesideWriters(t *testing.T) {
	n := seed(t)
	s := newSession(t, n)
	var writers sync.WaitGroup
	failed := make(chan error, 3)
	for w := range 3 {
		ops := s.ops.Beside(n + uint64(w) + 1)
		writers.Go(func() {
			for range 120 {
				if _, err := ops.Step(t.Context()); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	done := make(chan struct{})
	go func() {
		writers.Wait()
		close(done)
	}()
	for pushing := true; pushing; {
		select {
		case err := <-failed:
			t.Fatal(err)
		case <-done:
			pushing = false
		default:
		}
		s.pushDelta(t)
		if err := s.replica.Check(t.Context()); err != nil {
			t.Fatal(err) // a delta is a consistent snapshot
		}
	}
	s.compare(t)
	if _, dirty := s.pushDelta(t); dirty {
		t.Error("dirty after the last push")
	}
}
