package cloudstore

import "context"

// TakeRequest asks for a new epoch of a session.
type TakeRequest struct {
	SessionID   string
	ConnectorID string
	Incarnation string // must be the live one of ConnectorID in table connectors
	Reason      string
	Nonce       [16]byte // random, one for each take; a repeated call with the same one finds its own commit

	MayCreate     bool // a session never seen: create its owner row (pairing, import)
	WithoutParent bool // a new identity, or the first backup after DELETE
	AnyWanted     bool // also a session wanted closed (rekey, export)
	ByCommand     bool // a person asked: also from a dead owner with failover = manual

	// Judge is called inside the transaction, once an attempt, and returns how
	// the term starts. It must be quick and must not use the Store.
	Judge func(ctx context.Context, p Parent) (start string, err error)
}

// Parent is what a taker finds: the state of the epoch it ends.
type Parent struct {
	Owner Owner
	Epoch Epoch // the owner's current epoch; zero when the session never had one

	LastSeq uint64   // n: last data row of that epoch's unbroken run; 0 when it has none
	LastTag [32]byte // tag of the last data row of the lineage, which for LastSeq 0 stands in an earlier epoch; zero when there is none

	Terminator *Segment // what stood at n+1 before the take, with Data; nil if nothing
	Contiguous bool     // the epoch's rows are one unbroken run from its last base (or 1) to n, and nothing but the terminator follows

	HasLog         bool   // the lineage has data rows to restore from
	HasCredentials bool   // whatsapp_sessions has a row
	MaxSeq         uint64 // highest seq of any row of the epoch
}

// Taken is a committed take.
type Taken struct {
	SessionID              string
	Epoch                  uint64
	ParentEpoch, ParentSeq uint64 // last data row of the lineage, 0 and 0 for none
	ParentTag              [32]byte
	Start                  string
	Parent                 Parent // as Judge saw it
}
