package ownership

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"time"
)

// ShareGrace is how long each connector in a session's order of preference has
// to take it before the next one may, too: two heartbeats.
const ShareGrace = 2 * RenewEvery

// Peer is a live connector that takes sessions, as the rows of connectors show
// it: they are the same for everybody, at most one renewal old.
type Peer struct {
	ID   string
	Free int // how many more sessions it may hold
}

// Candidate is a session that nobody holds.
type Candidate struct {
	SessionID string
	Reserved  bool // for this connector: nobody else may have it yet
	Underway  bool // this connector is at it already, or must not try again yet
}

// Share decides which of the sessions that nobody holds this connector's sweep
// takes (O3). For each session all live connectors stand in an order that they
// compute alike (see preference): the first takes it at once, the second after
// ShareGrace, and so on. So a dead connector's sessions spread over the others by
// their free capacity, hardly two ever reach for the same one, and none stays
// behind because the connector that should have it is slow, full or about to die
// itself.
//
// A connector keeps the place it computed when it first saw a session free: what
// the others take meanwhile changes their free capacity, and would move sessions
// to and fro. The zero value is ready; it is not safe for concurrent use.
type Share struct {
	seen map[string]sighting
}

// sighting is what is known of a session since it was first seen free.
type sighting struct {
	first  time.Duration
	rank   int
	ranked bool
}

// Choose returns the sessions to take now, reserved ones first, at most free of
// them; now is any clock that only grows. A connector that is not among peers
// takes only what is reserved for it.
func (s *Share) Choose(now time.Duration, self string, free int, peers []Peer, candidates []Candidate) []string {
	seen := make(map[string]sighting, len(candidates))
	var reserved, mine []string
	for _, c := range candidates {
		was, known := s.seen[c.SessionID]
		if !known {
			was.first = now
		}
		if !was.ranked {
			was.rank, was.ranked = rankOf(c.SessionID, self, peers)
		}
		seen[c.SessionID] = was
		switch {
		case c.Underway:
		case c.Reserved:
			reserved = append(reserved, c.SessionID)
		case was.ranked && now-was.first >= time.Duration(was.rank)*ShareGrace:
			mine = append(mine, c.SessionID)
		}
	}
	s.seen = seen // what is held again is forgotten
	chosen := append(reserved, mine...)
	return chosen[:min(len(chosen), max(0, free))]
}

// Free reports whether the last Choose saw the session among its candidates:
// whoever has waited for its turn to take it can spare the attempt if not.
func (s *Share) Free(sessionID string) bool {
	_, ok := s.seen[sessionID]
	return ok
}

// rankOf is self's place in a session's order of connectors, 0 for the first;
// false if self is not among peers or has no room.
func rankOf(sessionID, self string, peers []Peer) (rank int, ok bool) {
	own := math.Inf(1)
	for _, p := range peers {
		if p.ID == self && p.Free > 0 {
			own, ok = preference(sessionID, p), true
		}
	}
	for _, p := range peers {
		if p.ID != self && p.Free > 0 && preference(sessionID, p) < own {
			rank++
		}
	}
	return rank, ok
}

// preference draws a peer's number for a session; the smallest goes first. It is
// an exponentially distributed number whose rate is the peer's free capacity, so
// the chance to be first is the peer's share of all free capacity (weighted
// rendezvous hashing), and another peer's coming or going moves no session
// between the rest.
func preference(sessionID string, p Peer) float64 {
	sum := sha256.Sum256([]byte(p.ID + "\x00" + sessionID))
	uniform := (float64(binary.BigEndian.Uint64(sum[:8])>>11) + 0.5) / (1 << 53)
	return -math.Log(uniform) / float64(p.Free)
}
