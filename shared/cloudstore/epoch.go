package cloudstore

import "time"

// The ways to start a term (DESIGN.md of the project, section 7).
const (
	StartExact   = "exact"
	StartOwnFile = "own-file"
	StartSafe    = "safe"
	StartNew     = "new"
)

// Epoch is a row of session_epochs: one term of ownership. ParentEpoch and
// ParentSeq name the last data row of the lineage before it, 0 and 0 when
// there is none.
type Epoch struct {
	SessionID              string
	Epoch                  uint64
	ParentEpoch, ParentSeq uint64
	ConnectorID            string
	Incarnation            string // of the process that took it
	Nonce                  [16]byte
	Start                  string // StartExact, StartOwnFile, StartSafe or StartNew
	Reason                 string
	StartedAt              time.Time // TiDB's clock
}
