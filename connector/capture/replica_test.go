package capture

import (
	"math/rand/v2"
	"testing"

	"cloudsession/connector/capture/capturetest"
)

// Every operation of whatsmeow's store reaches the replica by itself.
func TestEachOperationIsCaptured(t *testing.T) {
	for _, name := range capturetest.Names() {
		t.Run(name, func(t *testing.T) {
			s := newSession(t, 1)
			for range 40 {
				if _, err := s.ops.Step(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			s.pushDelta(t)
			for range 5 {
				if err := s.ops.Run(t.Context(), name); err != nil {
					t.Fatal(err)
				}
				s.pushDelta(t)
				s.compare(t)
			}
			if _, dirty := s.pushDelta(t); dirty {
				t.Error("dirty after everything was acknowledged")
			}
		})
	}
}

// Any run of operations, read at any points, gives an equal file.
func TestRandomOperations(t *testing.T) {
	for range 4 {
		n := seed(t)
		s, points := newSession(t, n), rand.New(rand.NewPCG(n, 1))
		for i := range 300 {
			if name, err := s.ops.Step(t.Context()); err != nil {
				t.Fatalf("step %d %s: %v", i, name, err)
			}
			switch points.IntN(40) {
			case 0, 1, 2, 3:
				s.pushDelta(t)
			case 4:
				s.pushBase(t)
				s.compare(t)
			}
		}
		s.pushDelta(t)
		s.compare(t)
	}
}
