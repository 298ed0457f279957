package cloudstore

import "time"

// SegmentKind says what a row of session_segments is.
type SegmentKind string

// The kinds of segment. The last three are terminators: an epoch's log ends
// before the first of them, whatever stands behind it.
const (
	KindBase    SegmentKind = "base"    // a part of a push that holds every record
	KindDelta   SegmentKind = "delta"   // a part of a push that holds changed records
	KindSeal    SegmentKind = "seal"    // the owner: socket closed, everything pushed
	KindFence   SegmentKind = "fence"   // a taker: your log ends here
	KindDeleted SegmentKind = "deleted" // DELETE: the log is gone
)

// IsData reports whether a row of this kind carries records.
func (k SegmentKind) IsData() bool { return k == KindBase || k == KindDelta }

// IsTerminator reports whether a row of this kind ends an epoch's log.
func (k SegmentKind) IsTerminator() bool {
	return k == KindSeal || k == KindFence || k == KindDeleted
}

// Limits on what is sent to the database. TiDB takes 6 MiB a row and, on its
// smallest tier, 10 MiB a transaction.
const (
	MaxSegmentBytes     = 1 << 20 // Segment.Data
	MaxGroupBytes       = 6 << 20 // all Data of one AppendSegments
	MaxGroupRows        = 4096    // rows of one AppendSegments
	MaxCredentialsBytes = 4 << 20 // Credentials.Data
)

// Segment is one row of session_segments. Rows are immutable.
type Segment struct {
	SessionID  string
	Epoch, Seq uint64 // Seq counts from 1 within an epoch
	Kind       SegmentKind
	Part       uint16 // 1..Parts; a push is applied wholly or not at all
	Parts      uint16
	Data       []byte // sealed by package envelope; empty for fence and deleted
	Tag        [32]byte
	CreatedAt  time.Time // TiDB's clock; ignored when writing
}

// SegmentRef names a row of session_segments.
type SegmentRef struct {
	SessionID  string
	Epoch, Seq uint64
}

// Outcome is what became of one segment of an AppendSegments call.
type Outcome int

// The outcomes of appending.
const (
	// Absent: the row is not there; send the same bytes again.
	Absent Outcome = iota
	// Durable: the row is committed with the tag that was sent.
	Durable
	// Fenced: another row stands in its place, so the epoch is over for this
	// writer. Rows of the same epoch behind a fenced one are fenced too.
	Fenced
)

// String returns the outcome's name.
func (o Outcome) String() string {
	switch o {
	case Absent:
		return "absent"
	case Durable:
		return "durable"
	case Fenced:
		return "fenced"
	}
	return "unknown"
}
