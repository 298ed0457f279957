package replicate

import "time"

// Observer is told what replication does. Its methods are called from the goroutines that do it and
// must not block. They say nothing of which session it was: what observes is for counting.
type Observer interface {
	// Pushed is told each push that became durable.
	Pushed(Pushed)
	// Wrote is told each statement that wrote log rows or credentials, whatever became of it.
	Wrote(Statement)
	// Resent is told each time that the same bytes have to be sent again: their outcome is unknown,
	// or a row was absent after it was sent.
	Resent()
	// Fenced is told when the log refuses a session's write: somebody else's row stands there.
	Fenced()
}

// Pushed is a push that became durable.
type Pushed struct {
	Base       bool          // all records, not only those that changed
	Compaction bool          // a base that replaces deltas which outweigh the last one (L2)
	Bytes      int64         // sealed
	Waited     time.Duration // from when the oldest change in it was noticed
}

// Statement is one statement of a writer lane.
type Statement struct {
	Rows  int // log rows; 0 for credentials alone
	Bytes int // sealed, log rows and credentials
}

// nobody observes nothing.
type nobody struct{}

// Pushed implements Observer.
func (nobody) Pushed(Pushed) {}

// Wrote implements Observer.
func (nobody) Wrote(Statement) {}

// Resent implements Observer.
func (nobody) Resent() {}

// Fenced implements Observer.
func (nobody) Fenced() {}
