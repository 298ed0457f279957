package model

// beyond mirrors HighWater.beyond of connector/replicate/judge.go: this machine
// has seen the log go further than p does, or go another way.
func (h HighWater) beyond(p parent) bool {
	if h.Epoch != p.owner.Epoch {
		return h.Epoch > p.owner.Epoch
	}
	if h.Seq != p.lastSeq {
		return h.Seq > p.lastSeq
	}
	return h.Seq > 0 && h.Tag != p.lastTag
}

// judgeExact mirrors JudgeExact of connector/replicate/judge.go.
func judgeExact(p parent, mark HighWater, rules *Rules) bool {
	switch {
	case p.terminator == 0 || p.seal.Kind != KindSeal:
		return false
	case p.terminator != p.lastSeq+1:
		return false
	case !p.contiguous || !p.hasLog || p.owner.Off:
		return false
	case mark.beyond(p) && !rules.NoHighWater:
		return false
	}
	return p.seal.Prev == p.lastTag // the seal's MAC holds
}

// canResumeOwnFile mirrors CanResumeOwnFile of connector/replicate/judge.go.
func canResumeOwnFile(f *File, p parent, rules *Rules) bool {
	if !f.SameBoot && !rules.NoBootStamp {
		return false
	}
	// The epoch between must be the very next: an own file that others have gone
	// on from, without a row, is not the newest.
	skip := p.empty(StartOwnFile) && (f.Epoch+1 == p.owner.Epoch || rules.SkipAnyEmpty)
	parts, ok := newest(f, p, skip, rules)
	if !p.owner.Off && p.start.isSafe() && f.NeedBase && (parts == 0 || parts < f.InFlight.Parts) {
		return false // made safe, but not connected yet
	}
	return ok
}

// holdsNewest mirrors HoldsNewest of connector/replicate/judge.go: of another
// boot the file may be, but nothing newer is anywhere.
func holdsNewest(f *File, p parent, rules *Rules) bool {
	_, ok := newest(f, p, p.empty(StartOwnFile) || p.empty(StartSafe) || p.empty(StartLocal), rules)
	return ok
}

// empty mirrors position: the epoch began in this way and left no row.
func (p parent) empty(start Start) bool {
	return p.maxSeq == 0 && p.before.Seq != 0 && p.start == start
}

// newest mirrors newest: the file's term is the log's last, or the one before it
// where skip says that the last left nothing, and the log ends where the file
// knows.
func newest(f *File, p parent, skip bool, rules *Rules) (parts uint8, ok bool) {
	epoch, seq := p.owner.Epoch, p.lastSeq
	if skip && f.Epoch != epoch {
		epoch, seq = p.before.Epoch, p.before.Seq
		if f.Epoch+1 == p.owner.Epoch && f.Epoch > epoch {
			epoch, seq = f.Epoch, 0 // the file's own term left nothing either
		}
	}
	switch {
	case !f.Exists || f.Epoch == 0:
		return 0, false
	case f.Epoch != epoch && !rules.NoEpochStamp:
		return 0, false
	case !f.SameInode && !rules.NoInodeStamp:
		return 0, false
	case p.owner.Off:
		return 0, true // the file is the only copy
	case !p.contiguous && p.lastSeq > 0:
		return 0, false
	}
	parts, ok = known(f, seq, p.lastTag)
	return parts, ok || rules.NoLogEnd
}

// known mirrors known of connector/replicate/judge.go: whether the log's end is
// one the file can have caused, and how many parts of its push in flight are in
// the log then.
func known(f *File, seq uint8, tag Tag) (parts uint8, ok bool) {
	if f.Acked.Epoch == f.Epoch && f.Acked.Seq > 0 {
		if seq == f.Acked.Seq {
			return 0, tag == f.Acked.Tag
		}
	} else if seq == 0 {
		return 0, tag == f.Acked.Tag // nothing of this term is in the log
	}
	in := f.InFlight
	if in.Parts == 0 || seq < in.Seq || seq-in.Seq >= in.Parts {
		return 0, false
	}
	parts = seq - in.Seq + 1
	return parts, tag == in.Tags[parts-1]
}

// judge mirrors Manager.judge and onlyCopy of connector/manager/judge.go.
// mayBeOnly: no other connector owns the session. StartNone is ErrNoSession.
// Where the code asks for a log or credentials, this asks for credentials: they
// come with the first whole base (P7), and parts of one are no copy.
func judge(f *File, mark HighWater, p parent, mayBeOnly bool, rules *Rules) Start {
	inCloud := p.hasCredentials || rules.OnlyCopyByLog && p.hasLog
	onlyCopy := f.Exists && mayBeOnly && !inCloud && !rules.OnlyCopyIgnored
	switch {
	case judgeExact(p, mark, rules): // before own-file: a sealed file is never opened again (O6)
		return StartExact
	case canResumeOwnFile(f, p, rules):
		return StartOwnFile
	case holdsNewest(f, p, rules):
		return StartLocal // of an earlier boot: stale ratchets, but nothing newer anywhere
	case f.Exists && p.owner.Off, onlyCopy:
		return StartLocal // stale or not, there is no other copy
	case !inCloud:
		return StartNone
	default:
		return StartSafe
	}
}
