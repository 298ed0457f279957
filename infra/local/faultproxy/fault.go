package faultproxy

import (
	"math/rand/v2"
	"time"
)

// Direction is what a fault concerns; directions can be added up.
type Direction int

// The directions of a link.
const (
	Requests Direction = 1 << iota // from the client to the server
	Answers                        // from the server to the client
	Both     = Requests | Answers
)

// Fault is how a link misbehaves. The zero value is a link that works; fields
// may be combined.
type Fault struct {
	// Cut resets connections, and new ones as soon as they are made.
	Cut bool
	// Swallow loses what goes in these directions, ends of connections too, and
	// says so to nobody: a peer that vanished. A connection that has lost bytes
	// is reset when the fault ends.
	Swallow Direction
	// Hold keeps what goes in these directions, ends of connections too, until
	// the fault ends, and delivers it then: a network that was parted. What is
	// in the sockets' buffers by then arrives late.
	Hold Direction
	// LoseAnswers passes requests on and resets a connection in place of the
	// first answer.
	LoseAnswers bool
	// CutAfter resets a connection once it has carried so many bytes, both ways
	// together, since the fault was set; 0 for never.
	CutAfter int64
	// Latency is added to each chunk, each way, and up to Jitter more.
	Latency, Jitter time.Duration
	// BytesPerSecond bounds each direction of each connection; 0 for no bound.
	BytesPerSecond int
	// Seed is for the jitter.
	Seed uint64
}

// state is a fault that was set, and what its connections share.
type state struct {
	Fault
	random *rand.Rand // the proxy's lock guards it
}

func newState(f Fault) *state {
	return &state{Fault: f, random: rand.New(rand.NewPCG(f.Seed, 0))} //nolint:gosec // G404: jitter needs no secrecy, and a seed must repeat it
}

// chunk is how many bytes are carried at a time.
func (s *state) chunk() int {
	const most, least = 64 << 10, 256
	if s.BytesPerSecond == 0 {
		return most
	}
	return min(max(s.BytesPerSecond/20, least), most)
}

// pause is how long n bytes take.
func (s *state) pause(n int) time.Duration {
	d := s.Latency
	if s.Jitter > 0 {
		d += time.Duration(s.random.Int64N(int64(s.Jitter)))
	}
	if s.BytesPerSecond > 0 {
		d += time.Duration(n) * time.Second / time.Duration(s.BytesPerSecond)
	}
	return d
}
