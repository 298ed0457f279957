package model

import (
	"fmt"
	"slices"
	"strings"
)

// trace tells how the state of a node is reached, one line a step, by making the
// steps again.
func (s *search) trace(at int32) []string {
	var path []int32
	for n := at; s.nodes[n].parent >= 0; n = s.nodes[n].parent {
		path = append(path, s.nodes[n].step)
	}
	slices.Reverse(path)
	state := initial(s.bounds)
	lines := make([]string, 0, len(path))
	for i, wanted := range path {
		var next State
		var taken Step
		count := int32(0)
		s.successors(&state, func(step Step, to *State) {
			if count == wanted {
				next, taken = *to, step
			}
			count++
		})
		lines = append(lines, fmt.Sprintf("%2d. %s", i+1, s.describe(taken, &state, &next)))
		state = next
	}
	return lines
}

func name(p int8) string { return string(rune('A' + p)) }

// describe says a step in words.
func (m *machine) describe(step Step, from, to *State) string {
	if step.Proc < 0 {
		return m.describeCloud(step, from, to)
	}
	who := name(step.Proc)
	before, after := &from.Procs[step.Proc].Term, &to.Procs[step.Proc].Term
	file := to.file(int(step.Proc))
	switch step.Op {
	case OpAct:
		return fmt.Sprintf("%s sends a message in epoch %d with key %d of ratchets %d", who, before.Epoch, file.Counter-1, file.Lineage)
	case OpPush, OpPushBase:
		kind := "delta"
		if after.Push.Base {
			kind = "base"
		}
		return fmt.Sprintf("%s sends a %s at %d/%d, %d of %d parts, key %d of ratchets %d comes next",
			who, kind, after.Epoch, after.Push.Seq, step.Arg, after.Push.Parts, after.Push.Content.Counter, after.Push.Content.Lineage)
	case OpAnswer, OpReadBack:
		how := "hears"
		if step.Op == OpReadBack {
			how = "reads back"
		}
		what := "that its rows are durable"
		if step.Arg == 1 {
			what = "that another row stands in their place: fenced"
		}
		return fmt.Sprintf("%s %s %s (push at %d/%d)", who, how, what, before.Epoch, before.Push.Seq)
	case OpTake, OpTakeLost, OpTakeFailed, OpTakeAgain, OpTakeAgainLost:
		return describeTake(step, to)
	case OpBuild:
		return fmt.Sprintf("%s has the file of epoch %d: key %d of ratchets %d comes next", who, after.Epoch, file.Counter, file.Lineage)
	case OpSeal:
		return fmt.Sprintf("%s sends its seal at %d/%d", who, before.Epoch, before.Cursor.Seq+1)
	case OpRestart:
		return who + " starts again"
	default:
		return strings.Replace(who+" "+plain[step.Op], " |s", "'s", 1)
	}
}

func describeTake(step Step, to *State) string {
	who, term := name(step.Proc), &to.Procs[step.Proc].Term
	epoch, start := term.Epoch, term.Start
	if step.Op == OpTakeAgain || step.Op == OpTakeAgainLost {
		epoch, start = term.Again, StartNew
	}
	how := map[Op]string{
		OpTakeLost: "; the answer to the commit is lost", OpTakeAgainLost: "; the answer to the commit is lost for good",
		OpTakeFailed: "; neither commit nor answer arrives",
	}[step.Op]
	return fmt.Sprintf("%s takes epoch %d, start %s%s", who, epoch, startNames[start], how)
}

var startNames = [...]string{
	StartNone: "none", StartNew: "new", StartExact: "exact", StartOwnFile: "own-file", StartSafe: "safe", StartLocal: "safe, from its own file",
}

// plain are the steps that need no numbers.
var plain = map[Op]string{
	OpAcknowledge: "acknowledges the push in its file",
	OpResolveTake: "looks for its nonce",
	OpJudge:       "reads the log and judges: exact",
	OpRefused:     "is told that there is no such session, and has its only copy",
	OpBuildFails:  "can't open the session and gives it back",
	OpAdopt:       "adopts the file",
	OpConnect:     "opens the socket",
	OpSettle:      "reads the owner row to see why it was fenced",
	OpClose:       "closes the socket and the handlers",
	OpSealOutcome: "reads back what stands in the place of its seal",
	OpCloseFails:  "runs out of time for closing",
	OpRelease:     "frees the owner row",
	OpAttachAgain: "goes on in the new epoch",
	OpPrune:       "prunes before its base",
	OpCrash:       "crashes",
	OpReboot:      "|s machine crashes",
	OpRebootLost:  "|s machine crashes; the last commits are gone",
	OpDiskLost:    "|s disk is lost",
	OpCopy:        "|s data directory is copied",
	OpPutBack:     "|s data directory is replaced by the old copy",
	OpAbandon:     "finds its lease taken away and stops",
	OpBury:        "is declared dead",
	OpDoubt:       "stops believing in its lease",
}

func (m *machine) describeCloud(step Step, from, to *State) string {
	switch step.Op {
	case OpLand:
		st := from.Air[step.Arg]
		kinds := [...]string{KindBase: "base", KindDelta: "delta", KindSeal: "seal"}
		return fmt.Sprintf("the INSERT at %d/%d (%s, %d rows) lands", st.Epoch, st.Seq, kinds[st.Rows[0].Kind], st.N)
	case OpDelete:
		return fmt.Sprintf("DELETE: backup off, the log of epoch %d marked, credentials gone", to.Cloud.Owner.Epoch)
	case OpDeleteRows:
		return "DELETE removes the data rows"
	case OpBackup:
		return "the database is backed up"
	case OpRestoreDB:
		return "the database is put back from the backup, unmarked"
	default:
		return "the database is put back from the backup and marked"
	}
}
