package manager

import (
	"time"

	"cloudsession/shared/cloudstore"
)

// Observer is told what becomes of sessions and commands. Its methods must not
// block. They say nothing of which session it was: what observes is for counting.
type Observer interface {
	// Taken is told each epoch taken, by its start ("exact", "own-file", "safe" or "new").
	Taken(start string)
	// Loaded is told each session whose file was built from the cloud, by its
	// start ("exact" or "safe"): the time from before the take until it may connect,
	// on a safe start with the base durable.
	Loaded(start string, took time.Duration)
	// HandedOver is told each session that was closed for another connector.
	HandedOver()
	// Lost is told each session that turned out not to be this connector's any more.
	Lost(Loss)
	// Replaced is told each time that another client logged in with a session's keys (O8).
	Replaced()
	// Ended is told each session that has ended for good or for a ban, by its state.
	Ended(state string)
	// Acknowledged is told each message whose acknowledgement asked for durability
	// (A1), and how long it waited. What the application took first is left out.
	Acknowledged(by Assurance, waited time.Duration)
	// Command is told each command that was carried out: its kind, the code of its
	// error, "" when it is done and CodeHandedOn when another connector has it now.
	Command(kind, code string, took time.Duration)
}

// Loss is a way in which a session turns out not to be this connector's any more.
type Loss string

// The losses.
const (
	LossTaken    Loss = "taken"    // another connector has it
	LossReleased Loss = "released" // its owner row was freed, or taken and freed
	LossDatabase Loss = "database" // the database is older than the term
	LossLog      Loss = "log"      // its log holds rows that this connector did not write
	LossReplaced Loss = "replaced" // another client logged in, and the lease has run out
)

// Losses lists them.
func Losses() []Loss {
	return []Loss{LossTaken, LossReleased, LossDatabase, LossLog, LossReplaced}
}

// Assurance is what a message's record rests on when it is acknowledged.
type Assurance string

// The assurances.
const (
	ByCloud  Assurance = "cloud"   // it is durable in TiDB
	ByDisk   Assurance = "disk"    // on this disk only: the session is unprotected
	ByChoice Assurance = "no copy" // on this disk only: no full copy is wanted
)

// Assurances lists them.
func Assurances() []Assurance { return []Assurance{ByCloud, ByDisk, ByChoice} }

// CodeHandedOn stands for a command that another connector is in charge of now.
const CodeHandedOn = "handed_on"

// Codes lists the codes of failed commands.
func Codes() []string {
	var list []string
	seen := map[string]bool{}
	for _, o := range outcomes {
		if !seen[o.code] {
			seen[o.code] = true
			list = append(list, o.code)
		}
	}
	return append(list, codeUnavailable, codeFailed)
}

// nobody observes nothing.
type nobody struct{}

// Taken implements Observer.
func (nobody) Taken(string) {}

// Loaded implements Observer.
func (nobody) Loaded(string, time.Duration) {}

// HandedOver implements Observer.
func (nobody) HandedOver() {}

// Lost implements Observer.
func (nobody) Lost(Loss) {}

// Replaced implements Observer.
func (nobody) Replaced() {}

// Ended implements Observer.
func (nobody) Ended(string) {}

// Acknowledged implements Observer.
func (nobody) Acknowledged(Assurance, time.Duration) {}

// Command implements Observer.
func (nobody) Command(string, string, time.Duration) {}

// Overview is what this process holds, for metrics.
type Overview struct {
	States      map[string]int // sessions held, by state
	Unprotected int            // see Manager.Unprotected
	OpenSends   int            // sends whose outcome isn't known
	OldestSend  time.Duration  // age of the oldest of them
	Load        cloudstore.Load
}

// Overview looks at the sessions held. It asks neither TiDB nor a file.
func (m *Manager) Overview() Overview {
	v := Overview{States: map[string]int{}, Unprotected: m.Unprotected(), Load: m.Load()}
	for _, s := range m.held() {
		o := s.current()
		if o == nil {
			continue
		}
		state, _ := s.stateNow()
		v.States[string(state)]++
		n, oldest := o.wa.Inbox().OpenSends()
		if v.OpenSends += n; n > 0 {
			v.OldestSend = max(v.OldestSend, time.Since(oldest))
		}
	}
	return v
}

// SyncLag is the age of the oldest change of any session held here that isn't
// durable in TiDB; 0 when there is none. Sessions without a copy in the cloud
// by choice have no changes that wait.
func (m *Manager) SyncLag() time.Duration {
	var oldest time.Time
	for _, s := range m.held() {
		o := s.current()
		if o == nil || o.local.Load() || o.rep.Backup() == cloudstore.BackupOff {
			continue
		}
		if since := o.rep.Status().Since; !since.IsZero() && (oldest.IsZero() || since.Before(oldest)) {
			oldest = since
		}
	}
	if oldest.IsZero() {
		return 0
	}
	return max(0, time.Since(oldest))
}
