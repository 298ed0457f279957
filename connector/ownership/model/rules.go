package model

// Rules says which rules of the protocol are left out. The zero value is the
// protocol as it is.
type Rules struct {
	NoFence            bool // O4: the take puts no fence
	NoBaseAfterSafe    bool // section 7: a safe start needs no base
	JudgeBeforeTake    bool // O4: exact is judged before the transaction
	NoEpochStamp       bool // section 7: own-file without comparing the file's epoch
	SkipAnyEmpty       bool // section 7: an own file may lie more than one empty epoch behind
	NoBootStamp        bool // section 7: own-file in another boot
	NoInodeStamp       bool // section 7: own-file on another inode
	NoLogEnd           bool // section 7: own-file without comparing the log's end
	NoHighWater        bool // section 7: exact without the high-water mark
	NoNonce            bool // O4: an unknown commit is taken for a success
	ReopenSealed       bool // O6: a term goes on after its seal was sent
	SealAnyFailure     bool // O7: a failed safe start is sealed too
	SealDirty          bool // O6: the seal is sent with changes left
	IgnoreDuplicates   bool // P4: INSERT IGNORE, its success believed
	RetryOtherBytes    bool // P2, P4: a retry is encoded anew
	PruneIncomplete    bool // L2: pruning before a base that isn't complete
	PruneWithoutLock   bool // L2: pruning without the owner row's lock and epoch
	DeleteNoTerminator bool // O10: DELETE leaves no mark
	ReleaseUnguarded   bool // O6: released whatever epoch the owner row is at
	ReadToTheEnd       bool // L1: a reader doesn't stop where the child says
	MarkNotBeyond      bool // a restored database numbers its epochs on from the backup
	LeaseOutlives      bool // O1, I2: a process believes in its lease longer than TiDB
	OwnTakeIsLoss      bool // O10: a later epoch of the connector's own is taken for a loss
	OnlyCopyIgnored    bool // section 7: no safe start from a file that is the only copy while backup is on
	OnlyCopyByLog      bool // section 7: parts of a first base count as a copy in the cloud
	OnlyCopyOwned      bool // O7, section 7: the only copy is released when it can't be opened, and not used while nobody owns the session
}
