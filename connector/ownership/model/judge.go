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
	switch {
	case !f.Exists || f.Epoch == 0:
		return false
	case f.Epoch != p.owner.Epoch && !rules.NoEpochStamp:
		return false
	case !f.SameBoot && !rules.NoBootStamp, !f.SameInode && !rules.NoInodeStamp:
		return false
	case p.owner.Off:
		return true // the file is the only copy
	}
	if !p.contiguous && p.lastSeq > 0 {
		return false
	}
	parts, ok := known(f, p.lastSeq, p.lastTag)
	if p.start.isSafe() && f.NeedBase && (parts == 0 || parts < f.InFlight.Parts) {
		return false // made safe, but not connected yet
	}
	return ok || rules.NoLogEnd
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
	case f.Exists && p.owner.Off, onlyCopy:
		return StartLocal // stale or not, there is no other copy
	case !inCloud:
		return StartNone
	default:
		return StartSafe
	}
}
