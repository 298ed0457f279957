package sessionlog

import (
	"fmt"

	"cloudsession/shared/cloudstore"
	"cloudsession/shared/envelope"
)

// EpochRows is one epoch of a lineage and its rows in order of seq, as far as
// the reader fetched them. Rows behind the child's ParentSeq may be among them
// and are ignored.
type EpochRows struct {
	Epoch                  uint64
	ParentEpoch, ParentSeq uint64 // last data row of the lineage before this epoch; 0 and 0 for none
	Start                  string // as in session_epochs
	Segments               []cloudstore.Segment
}

// Result is what a reader learned about a log.
type Result struct {
	Last              Cursor        // last data row, be its push complete or not
	LastComplete      Cursor        // last row of the last complete push
	From              Cursor        // first row that was verified
	Salt              envelope.Salt // of the row at Last
	Salts             int           // different salts among the rows, 1 or 2
	Pushes            int           // complete pushes visited
	Bases             int           // those of them that are bases
	Rows              int           // data rows verified
	Bytes             int64         // their sealed size
	SkippedIncomplete int           // pushes that broke off at the end of their epoch
	Unverifiable      int           // rows left over from a push that was pruned in part
	Sealed            bool          // the newest epoch ends with its owner's seal
	Current           bool          // every row was sealed with the current secret
}

// Read verifies a log from its last complete base on and passes that base and
// every later complete push to apply, in order. lineage holds the epochs oldest
// first, each the parent of the next; the older ones need not reach back behind
// the base. Read stops at the first error, apply's included; what was applied by
// then must be thrown away. Rows before the base are not looked at: see Verify.
//
// ErrNoBase means that nothing in the rows is damaged, but that there is nothing
// to restore from either; Result.Last is set even then.
func Read(keys *envelope.Keyring, sessionID string, lineage []EpochRows, apply func(Push) error) (Result, error) {
	l, err := newLog(keys, sessionID, lineage)
	if err != nil {
		return Result{}, err
	}
	start, ok := l.lastBase()
	if !ok {
		start = 0
	}
	if err := l.check(start); err != nil {
		return l.result, err
	}
	if !ok {
		// If one row is to blame for it, name that one.
		first := l.firstVerifiable()
		if err := l.checkOrphans(first); err != nil {
			return l.result, err
		}
		if err := l.walk(first, func(Cursor, Push) error { return nil }); err != nil {
			return l.result, err
		}
		return l.result, fmt.Errorf("session %q: %w", sessionID, ErrNoBase)
	}
	err = l.walk(start, func(_ Cursor, p Push) error { return apply(p) })
	return l.result, err
}

// Verify checks every row of a log, also those before the last base, and passes
// each complete push to visit (which may be nil) with the cursor of its last
// row. A log without any row, or with nothing but the parts of an unfinished
// push, is no error.
func Verify(keys *envelope.Keyring, sessionID string, lineage []EpochRows, visit func(Cursor, Push) error) (Result, error) {
	l, err := newLog(keys, sessionID, lineage)
	if err != nil {
		return Result{}, err
	}
	if visit == nil {
		visit = func(Cursor, Push) error { return nil }
	}
	if err := l.check(0); err != nil {
		return l.result, err
	}
	start := l.firstVerifiable()
	l.result.Unverifiable = start
	if err := l.checkOrphans(start); err != nil {
		return l.result, err
	}
	if start > 0 && start == len(l.rows) {
		return l.result, fmt.Errorf("session %q: %w", sessionID, ErrNoBase)
	}
	err = l.walk(start, visit)
	return l.result, err
}
