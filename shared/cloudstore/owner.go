package cloudstore

import "time"

// Values of the columns of session_owners.
const (
	WantedOpen   = "open"
	WantedClosed = "closed"

	BackupFull        = "full"        // the log and the credentials
	BackupCredentials = "credentials" // the credentials only: every start is safe
	BackupOff         = "off"         // nothing, as after DELETE

	FailoverAuto   = "auto"
	FailoverManual = "manual" // nobody takes it from a dead owner unasked
)

// Owner is a row of session_owners. Rows are never deleted and their epoch
// only grows: it is the fencing token.
type Owner struct {
	SessionID     string
	ConnectorID   string // "" when nobody owns it
	Epoch         uint64
	Wanted        string    // WantedOpen or WantedClosed
	ReservedFor   string    // connector that may take a free session first, or ""
	ReservedUntil time.Time // until then; TiDB's clock; zero when not reserved
	State         string    // what the owner last said, see connector/whatsapp
	StateDetail   string
	StateAt       time.Time // zero when never set
	Backup        string    // BackupFull, BackupCredentials or BackupOff
	Failover      string    // FailoverAuto or FailoverManual
	SyncedAt      time.Time // last durable push; zero when never
}
