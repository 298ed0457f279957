package capture

// LogSize weighs a log from its last complete base on.
type LogSize struct {
	BaseBytes, DeltaBytes int64 // sealed
	Epochs                int   // that a reader walks
}

// With returns the weight once p is in the log.
func (l LogSize) With(p InFlight) LogSize {
	if p.Base {
		return LogSize{BaseBytes: p.Bytes, Epochs: 1}
	}
	l.DeltaBytes += p.Bytes
	if p.FirstSeq == 1 {
		l.Epochs++
	}
	return l
}

// logColumns are what the tables of stateSchema lack in files of an earlier
// version. There the weight counts from zero, until the next base.
var logColumns = []string{
	`ALTER TABLE ` + stateTable + ` ADD COLUMN log_base   INTEGER NOT NULL DEFAULT 0`,
	`ALTER TABLE ` + stateTable + ` ADD COLUMN log_deltas INTEGER NOT NULL DEFAULT 0`,
	`ALTER TABLE ` + stateTable + ` ADD COLUMN log_epochs INTEGER NOT NULL DEFAULT 0`,
	`ALTER TABLE ` + inFlightTable + ` ADD COLUMN bytes   INTEGER NOT NULL DEFAULT 0`,
}
