package replicate

import (
	"errors"
	"slices"

	"cloudsession/connector/capture"
	"cloudsession/shared/cloudstore"
	"cloudsession/shared/envelope"
	"cloudsession/shared/sessionlog"
)

// Ways to start a term, as they stand in session_epochs.start.
const (
	StartExact   = cloudstore.StartExact
	StartOwnFile = cloudstore.StartOwnFile
	StartSafe    = cloudstore.StartSafe
	StartNew     = cloudstore.StartNew
)

// HighWater is the furthest point of a session's log that this machine has seen durable. Its fields
// are those of ownership.HighWater, so that one converts to the other.
type HighWater struct {
	Epoch uint64
	Seq   uint64
	Tag   [32]byte
}

// JudgeExact reports whether a new term may resume the parent's log as it is (section 7, exact): its
// owner sealed it, the seal's MAC holds, every row up to the seal is there, and this machine has seen
// nothing beyond it. A seal that can't be opened because the secret is another one is an error: a safe
// start would fail on the same secret, only later. Call it inside the transaction of the take.
func JudgeExact(keys *envelope.Keyring, p cloudstore.Parent, high HighWater) (bool, error) {
	if !sealed(p) || high.beyond(p) {
		return false, nil
	}
	err := sessionlog.VerifySeal(keys, *p.Terminator, p.LastTag)
	if errors.Is(err, sessionlog.ErrWrongSecret) || errors.Is(err, envelope.ErrUnknownKey) {
		return false, err
	}
	return err == nil, nil
}

// CheckSeal returns what is wrong with the seal that ends the parent's log: an error of package
// sessionlog. nil if it holds, or if there is none.
func CheckSeal(keys *envelope.Keyring, p cloudstore.Parent) error {
	if !sealed(p) {
		return nil
	}
	return sessionlog.VerifySeal(keys, *p.Terminator, p.LastTag)
}

// Behind reports whether the database holds less of a session's log than this machine has seen, and
// seals it: it was taken back in time, which whoever runs it should know.
func Behind(p cloudstore.Parent, high HighWater) bool { return sealed(p) && high.beyond(p) }

// sealed reports whether a seal stands where the parent's log ends, and its rows are all there.
func sealed(p cloudstore.Parent) bool {
	seal := p.Terminator
	switch {
	case seal == nil || seal.Kind != cloudstore.KindSeal:
		return false
	case seal.SessionID != p.Owner.SessionID || seal.Epoch != p.Epoch.Epoch || seal.Seq != p.LastSeq+1:
		return false
	}
	return p.Contiguous && p.HasLog && p.Owner.Backup != cloudstore.BackupCredentials && p.Owner.Backup != cloudstore.BackupOff
}

// beyond reports whether the machine has seen the log go further than p does, or go another way.
func (h HighWater) beyond(p cloudstore.Parent) bool {
	if h.Epoch != p.Epoch.Epoch {
		return h.Epoch > p.Epoch.Epoch
	}
	if h.Seq != p.LastSeq {
		return h.Seq > p.LastSeq
	}
	return h.Seq > 0 && h.Tag != p.LastTag
}

// CanResumeOwnFile reports whether a new term may go on with the file that state was read from
// (section 7, own-file): same boot, same inode, the file's epoch is the parent, and the log ends
// somewhere in what the file knows as acknowledged or in flight. bootID and inode are those of now.
// Call it inside the transaction of the take, and ResumeOwnFile after its commit.
func CanResumeOwnFile(state capture.State, p cloudstore.Parent, bootID string, inode uint64) bool {
	if bootID == "" || state.BootID != bootID {
		return false
	}
	epoch, seq := p.Epoch.Epoch, p.LastSeq
	if state.Epoch+1 == p.Epoch.Epoch {
		// A start from this very file may have been interrupted: had it come so far that it could change
		// anything, the file would say that it is of that term. With any other epoch in between, somebody
		// may have used the ratchets without leaving a row (modelled).
		epoch, seq = position(state, p, StartOwnFile)
	}
	parts, ok := newest(state, p, inode, epoch, seq)
	if ok && p.Owner.Backup == cloudstore.BackupOff {
		return true
	}
	if p.Epoch.Start == StartSafe && state.NeedBase && (parts == 0 || parts < len(state.InFlight.Tags)) {
		return false // made safe, but not connected yet: that waited for the base (O5). Do it again
	}
	return ok
}

// HoldsNewest reports whether a safe start may begin with the file that state was read from instead of
// the log: apart from its Signal state, which is dropped in either case, the file has all that the log
// has, and what was not pushed yet. It is for files that can't be resumed: of an earlier boot, or
// marked because a clone has connected. Where the credentials alone are kept no log tells, but the epoch
// does: the file is of the last term, which pushed nothing.
func HoldsNewest(state capture.State, p cloudstore.Parent, inode uint64) bool {
	if p.Owner.Backup == cloudstore.BackupCredentials && p.MaxSeq == 0 && isOf(state, p, inode) && state.Epoch == p.Epoch.Epoch {
		return true
	}
	epoch, seq := position(state, p, StartOwnFile, StartSafe) // a safe start that left no base had no socket (O5)
	_, ok := newest(state, p, inode, epoch, seq)
	return ok
}

// position is where the log ends as a file of the parent's term knows it: in the parent, or, if that
// left no row and began in one of the given ways, in the term before.
func position(state capture.State, p cloudstore.Parent, starts ...string) (epoch, seq uint64) {
	if p.MaxSeq > 0 || p.Epoch.ParentSeq == 0 || !slices.Contains(starts, p.Epoch.Start) {
		return p.Epoch.Epoch, p.LastSeq
	}
	if state.Epoch+1 == p.Epoch.Epoch && state.Epoch > p.Epoch.ParentEpoch {
		return state.Epoch, 0 // neither did the term before, which is the file's: the last row is of an older one
	}
	return p.Epoch.ParentEpoch, p.Epoch.ParentSeq
}

// newest reports whether the file's term is the log's last, and the log ends where the file knows; parts
// is how many parts of its push in flight are in the log then.
func newest(state capture.State, p cloudstore.Parent, inode, epoch, seq uint64) (parts int, ok bool) {
	if state.Epoch == p.Epoch.Epoch {
		epoch, seq = p.Epoch.Epoch, p.LastSeq
	}
	switch {
	case !isOf(state, p, inode) || state.Epoch != epoch:
		return 0, false
	case p.Owner.Backup == cloudstore.BackupCredentials:
		return 0, false // no log tells whether the file is the newest: every start is safe (P7)
	case p.Owner.Backup == cloudstore.BackupOff:
		return 0, true // the file is the only copy
	case !p.Contiguous && p.LastSeq > 0:
		return 0, false
	}
	return known(state, seq, p.LastTag)
}

// isOf reports whether the file is one of the session's, of some term, and where that term had it.
func isOf(state capture.State, p cloudstore.Parent, inode uint64) bool {
	return state.SessionID != "" && state.SessionID == p.Owner.SessionID && state.Epoch != 0 && inode != 0 && state.Inode == inode
}

// known reports whether the log's end at seq is one the file can have caused, and how many parts of
// the push in flight are in the log then.
func known(state capture.State, seq uint64, tag [32]byte) (parts int, ok bool) {
	if acked := state.Acked; acked.Epoch == state.Epoch && acked.Seq > 0 {
		if seq == acked.Seq {
			return 0, tag == acked.Tag
		}
	} else if seq == 0 {
		return 0, tag == acked.Tag // nothing of this term is in the log
	}
	in := state.InFlight
	if in == nil || in.Epoch != state.Epoch || seq < in.FirstSeq || seq-in.FirstSeq >= uint64(len(in.Tags)) {
		return 0, false
	}
	parts = int(seq - in.FirstSeq + 1) //nolint:gosec // G115: it is less than len(in.Tags)
	return parts, tag == in.Tags[parts-1]
}
