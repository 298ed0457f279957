package model

// Sizes of the arrays in a State. What is explored is limited by Bounds.
const (
	maxProcs  = 3
	maxEpochs = 6 // epochs 1 to 5
	maxSeq    = 7 // seqs 1 to 6
	maxParts  = 2
	maxAir    = 10
)

// Kind is what a row of session_segments is.
type Kind uint8

// Kinds of rows. KindNone is a place without a row.
const (
	KindNone Kind = iota
	KindBase
	KindDelta
	KindSeal
	KindFence
	KindDeleted
)

func (k Kind) isData() bool       { return k == KindBase || k == KindDelta }
func (k Kind) isTerminator() bool { return k == KindSeal || k == KindFence || k == KindDeleted }

// Tag identifies the bytes of a row; 0 is the zero tag. No two rows that were
// sealed separately have the same one.
type Tag uint8

// Content is what a session file or a push holds of a session. A message that
// was sent or received leaves a fact. The next message would use message key
// Counter of the ratchets that began with Lineage.
type Content struct {
	Facts            uint8 // one bit each
	Lineage, Counter uint8
}

// Row is a row of session_segments.
type Row struct {
	Kind        Kind
	Part, Parts uint8
	Tag, Prev   Tag  // Prev: the previous row's tag, sealed into this one (L1)
	Content          // of the whole push, in each of its parts
	Late        bool // ghost: landed when its epoch was over already
}

// Cursor names a data row, as sessionlog.Cursor does.
type Cursor struct {
	Epoch, Seq uint8
	Tag        Tag
}

// Start is how a term starts (section 7).
type Start uint8

// Ways to start a term. StartLocal is a safe start from the file that is the
// only copy (prior.local in connector/manager); the epoch row says safe.
const (
	StartNone Start = iota
	StartNew
	StartExact
	StartOwnFile
	StartSafe
	StartLocal
	numStarts
)

func (s Start) isSafe() bool { return s == StartSafe || s == StartLocal }

// Epoch is a row of session_epochs.
type Epoch struct {
	Parent Cursor // Tag is not in the row; it is what the take read
	Start  Start
	Nonce  Tag // 0 where nobody will look for it
}

// Conn is a connector id; 0 is none.
type Conn uint8

// Owner is the row of session_owners.
type Owner struct {
	Conn  Conn
	Epoch uint8
	Off   bool // backup = off
}

// Cloud is what stands in TiDB about the one session.
type Cloud struct {
	Rows        [maxEpochs][maxSeq]Row // by epoch and seq
	Epochs      [maxEpochs]Epoch
	Owner       Owner
	Credentials bool  // the row of whatsapp_sessions
	DeleteUpTo  uint8 // a DELETE has yet to remove the data rows up to this epoch
}

// Statement is an INSERT that was sent. It may land at any later time, and
// again if it was sent again: it stays in the air.
type Statement struct {
	Epoch, Seq uint8 // of the first row; Epoch 0: no statement
	N          uint8
	Guarded    bool // AppendFirstBase: one transaction with the credentials
	Rows       [maxParts]Row
}

// Push is what a process or a file knows of the push under way (P2, P3).
type Push struct {
	Parts   uint8 // 0: none
	Seq     uint8 // of the first part
	Base    bool
	Guarded bool  // the last part goes with the credentials
	Mark    uint8 // the dirty facts that were read
	Tags    [maxParts]Tag
	Content Content // in memory only
}

func (p Push) last(epoch uint8) Cursor {
	return Cursor{Epoch: epoch, Seq: p.Seq + p.Parts - 1, Tag: p.Tags[p.Parts-1]}
}

// File is a session file (connector/capture).
type File struct {
	Exists   bool
	Epoch    uint8
	Acked    Cursor
	InFlight Push
	NeedBase bool
	Dirty    uint8 // facts not known durable
	Content
	// SameBoot and SameInode: the stamp that the last Begin left equals what
	// the machine shows now.
	SameBoot, SameInode bool
}

// Phase is how far a process is with the session (connector/manager/DESIGN.md).
type Phase uint8

// Phases of a process.
const (
	Idle      Phase = iota
	Unknown         // Take sent, its commit unanswered
	Taken           // epoch committed, file not ready
	Ready           // file built and replication attached, not adopted
	Open            // adopted; a socket may be open
	Closing         // socket and handlers ended, pushing what is left (O6)
	Sealing         // the seal was sent
	Releasing       // the owner row is to be freed
)

// Term is what a process has in memory about the term it holds.
type Term struct {
	Phase  Phase
	Epoch  uint8
	Start  Start
	Parent Cursor
	Nonce  Tag

	InPlace    bool   // works on File; else on Work
	NoCopy     bool   // nothing was in the cloud when it was taken
	Cursor     Cursor // last row known durable, as the next push chains to it
	BasePushed bool
	Push       Push
	Sent       uint8 // parts sent
	Known      uint8 // parts known durable
	Durable    bool  // all known durable, not yet acknowledged in the file
	Answered   bool  // the answer "all rows inserted" is on its way
	Seal       Tag   // of the seal that was sent

	Fenced bool  // the log refused a row
	Off    bool  // backup is off: nothing is pushed
	Again  uint8 // epoch taken for a new backup after DELETE, not attached yet
	Socket bool

	Head   Content // ghost: the last state the owner had acted with when the take was committed
	Judged Start   // mutation JudgeBeforeTake only: what was judged earlier
}

// HighWater is highwater.json (connector/ownership).
type HighWater struct {
	Epoch, Seq uint8
	Tag        Tag
}

// Copy is an old copy of a data directory.
type Copy struct {
	Exists bool
	File   File
	Mark   HighWater
}

// Proc is a machine with its data directory, and the process on it.
type Proc struct {
	Up       bool
	Current  bool // the row of connectors names this incarnation and doesn't call it dead
	Believes bool // Lease.Valid
	File     File // adopted
	Work     File // built and not adopted
	Mark     HighWater
	Copy     Copy
	Term     Term
}

// Budget is what may still happen.
type Budget struct {
	Faults, Deletes, Prunes, Compactions, Copies, Upgrades uint8
}

// State is a state of the whole system.
type State struct {
	Cloud Cloud
	Air   [maxAir]Statement
	Procs [maxProcs]Proc
	Left  Budget

	Snap *Cloud // a backup of the database, nil until one is made

	NextTag Tag
	Ghost   Ghost
}

// Ghost is what only the checker knows.
type Ghost struct {
	NextFact  uint8
	Lineages  uint8
	Used      [8]uint8 // by lineage: message keys used
	Acked     uint8    // facts reported durable to who waited for them
	Head      Content  // the last state that the rightful owner acted with
	DeletedTo uint8    // epochs up to this one were deleted
	EverEpoch uint8    // highest epoch ever given out
	Rewound   bool     // the database was put back without a mark: epochs are given out again
	Broken    Invariant
}

// Bounds limits a search.
type Bounds struct {
	Procs      int
	Clone      bool // process 1 is a copy of process 0's directory on another machine, same connector id
	Epochs     uint8
	Seqs       uint8
	Acts       uint8 // messages
	BaseParts  uint8
	DeltaParts uint8
	DB         bool // a backup of the database may be put back
	Reboots    bool // machines may crash, not only processes
	Budget
}

// initial is a session that was just paired by process 0: epoch 1 is taken, the
// socket open, nothing pushed yet.
func initial(b Bounds) State {
	var s State
	s.Left = b.Budget
	s.Cloud.Owner = Owner{Conn: 1, Epoch: 1}
	s.Cloud.Epochs[1] = Epoch{Start: StartNew}
	s.Ghost = Ghost{Lineages: 1, EverEpoch: 1, Head: Content{Lineage: 1}}
	s.NextTag = 1
	for i := range b.Procs {
		s.Procs[i] = Proc{Up: true, Current: true, Believes: true}
	}
	if b.Clone {
		s.Procs[1] = Proc{}
	}
	s.Procs[0].Mark = HighWater{Epoch: 1}
	s.Procs[0].File = File{
		Exists: true, Epoch: 1, NeedBase: true, Content: Content{Lineage: 1}, SameBoot: true, SameInode: true,
	}
	s.Procs[0].Term = Term{Phase: Open, Epoch: 1, Start: StartNew, InPlace: true, Cursor: Cursor{Epoch: 1}, Socket: true}
	return s
}

func (s *State) freshTag() Tag {
	t := s.NextTag
	s.NextTag++
	return t
}

// send puts a statement into the air.
func (s *State) send(st Statement) {
	for i := range s.Air {
		if s.Air[i].Epoch == 0 {
			s.Air[i] = st
			return
		}
	}
	panic("model: more statements in the air than maxAir")
}
