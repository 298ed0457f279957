package model

// Mutation is a rule taken out, and what the search must find then.
type Mutation struct {
	Name   string
	Rule   string // which one is taken out
	Rules  Rules
	Bounds Bounds
	Breaks []Invariant // each of them is broken; none: the search finds no loss
}

// Mutations has an entry for every rule that the model can be run without.
var Mutations = []Mutation{
	{
		"no fence", "O4: the take puts a fence at n+1",
		Rules{NoFence: true},
		deep(nil),
		[]Invariant{AckedPushSurvives},
	},
	{
		"no fence, and readers that don't stop where the child says", "O4 and L1: each alone keeps late rows out",
		Rules{NoFence: true, ReadToTheEnd: true},
		deep(nil),
		[]Invariant{NoFencedSegmentRead},
	},
	{
		"readers that don't stop where the child says", "L1: a reader stops each epoch where its child says",
		Rules{ReadToTheEnd: true},
		deep(func(b *Bounds) { b.Epochs, b.Faults = 3, 1 }), nil,
	},
	{
		"no base after a safe start", "section 7: the first push after a safe start is a complete base, no seal before it",
		Rules{NoBaseAfterSafe: true},
		deep(nil),
		[]Invariant{ExactIsExact, NoKeyReused},
	},
	{
		"judged before the take", "O4: exact is judged inside the transaction of the take",
		Rules{JudgeBeforeTake: true},
		deep(nil),
		[]Invariant{ExactIsExact, NoKeyReused},
	},
	{
		"no epoch on the file", "section 7: an own file's epoch is the parent",
		Rules{NoEpochStamp: true},
		deep(nil),
		[]Invariant{ExactIsExact, NoKeyReused},
	},
	{
		"an own file behind any empty epoch", "section 7: at most the very next epoch, begun from this file and left empty, lies between",
		Rules{SkipAnyEmpty: true},
		deep(nil),
		[]Invariant{ExactIsExact, NoKeyReused},
	},
	{
		"no boot id on the file", "section 7: an own file is of the same boot",
		Rules{NoBootStamp: true},
		deep(oldDisk),
		[]Invariant{ExactIsExact, NoKeyReused},
	},
	{
		"no inode on the file", "section 7: an own file has the same inode",
		Rules{NoInodeStamp: true},
		deep(oldDisk),
		[]Invariant{ExactIsExact, NoKeyReused},
	},
	{
		"the log's end not compared", "section 7: the log's end equals what the own file knows",
		Rules{NoLogEnd: true},
		deep(oldDatabase),
		[]Invariant{AckedPushSurvives},
	},
	{
		"no high-water mark", "section 7: nothing higher stands in the high-water file",
		Rules{NoHighWater: true},
		deep(oldDatabase),
		[]Invariant{ExactIsExact, NoKeyReused},
	},
	{
		"nonce not looked for", "O4: an unknown outcome is settled by the nonce",
		Rules{NoNonce: true},
		deep(nil),
		[]Invariant{ExactIsExact, OneActor},
	},
	{
		"a term goes on after its seal was sent", "O6: a sealed epoch is never reopened",
		Rules{ReopenSealed: true},
		deep(nil),
		[]Invariant{SealedNeverReopened, ExactIsExact, NoKeyReused},
	},
	{
		"a release that doesn't look at the epoch", "O6: release WHERE epoch = mine",
		Rules{ReleaseUnguarded: true},
		deep(nil),
		[]Invariant{OneActor},
	},
	{
		"a failed safe start is sealed", "O7: only an exact term is sealed when it is given back",
		Rules{SealAnyFailure: true},
		deep(nil),
		[]Invariant{ExactIsExact, NoKeyReused},
	},
	{
		"sealed with changes left", "O6: pushed until clean, then sealed",
		Rules{SealDirty: true},
		deep(nil),
		[]Invariant{ExactIsExact, NoKeyReused},
	},
	{
		"INSERT IGNORE, its success believed", "P4: tags are read back where a row stood already",
		Rules{IgnoreDuplicates: true},
		deep(nil),
		[]Invariant{AckedPushSurvives},
	},
	{
		"a retry with other bytes", "P2, P4: a retry sends the same bytes",
		Rules{RetryOtherBytes: true},
		deep(func(b *Bounds) { b.BaseParts, b.DeltaParts, b.Seqs, b.Epochs = 2, 2, 6, 2 }),
		[]Invariant{RestorableAlways},
	},
	{
		"pruned before an incomplete base", "L2: only before a complete base of the own term",
		Rules{PruneIncomplete: true},
		deep(func(b *Bounds) { b.Prunes, b.Compactions, b.BaseParts, b.Seqs, b.Epochs = 1, 1, 2, 6, 2 }),
		[]Invariant{RestorableAlways},
	},
	{
		"pruned without the owner row's lock", "L2: only the current owner, its row locked at its epoch",
		Rules{PruneWithoutLock: true},
		deep(func(b *Bounds) { b.Prunes, b.Epochs, b.Faults, b.Acts = 1, 3, 1, 1 }), nil,
	},
	{
		"DELETE without a mark", "O10: DELETE leaves a terminator",
		Rules{DeleteNoTerminator: true},
		deep(func(b *Bounds) { deletion(b); b.Compactions = 1 }),
		[]Invariant{DeletedStaysDeleted},
	},
	{
		"a take of one's own is taken for a loss", "O10: a later epoch of the same connector is no loss",
		Rules{OwnTakeIsLoss: true},
		deep(deletion),
		[]Invariant{RestorableAlways},
	},
	{
		"the only copy is not used", "section 7: what the cloud never had whole starts safely from the file",
		Rules{OnlyCopyIgnored: true},
		deep(nil),
		[]Invariant{RestorableAlways},
	},
	{
		"parts of a first base taken for a copy", "section 7: without credentials the cloud has no whole copy (P7)",
		Rules{OnlyCopyByLog: true},
		small(func(b *Bounds) { b.BaseParts, b.Seqs, b.Copies, b.Faults = 2, 6, 1, 2 }),
		[]Invariant{RestorableAlways},
	},
	{
		"the only copy released", "O7: a session that isn't in the cloud stays with the machine that has it",
		Rules{OnlyCopyOwned: true},
		deep(func(b *Bounds) { b.Reboots = true }),
		[]Invariant{RestorableAlways},
	},
	{
		"a marked database that numbers on", "database-restored: epochs beyond any that was given out",
		Rules{MarkNotBeyond: true},
		deep(oldDatabase),
		[]Invariant{EpochsGrow},
	},
	{
		"a lease believed for too long", "O1: a process never believes in its lease longer than TiDB",
		Rules{LeaseOutlives: true},
		deep(nil),
		[]Invariant{OneActor},
	},
}

// deep are the bounds that the shortest losses need.
func deep(change func(*Bounds)) Bounds {
	return small(func(b *Bounds) {
		b.Epochs, b.Acts, b.Faults = 4, 2, 2
		if change != nil {
			change(b)
		}
	})
}

func oldDisk(b *Bounds)     { b.Copies, b.Reboots, b.Epochs = 1, true, 2 }
func oldDatabase(b *Bounds) { b.DB, b.Procs, b.Epochs, b.Faults = true, 1, 3, 3 }
func deletion(b *Bounds)    { b.Deletes, b.Epochs = 1, 3 }
