package replicate

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"cloudsession/shared/cloudstore"
)

// cloud is what the tests need of a store: the real one, or the one in memory.
type cloud interface {
	Writer
	Take(ctx context.Context, r cloudstore.TakeRequest) (cloudstore.Taken, error)
	DeleteSession(ctx context.Context, sessionID string) error
	SetBackup(ctx context.Context, sessionID, backup string) error
}

// memory is a cloud in memory. It keeps cloudstore's promises to the packages above it, nothing more:
// the tests that matter run on the real engine as well.
type memory struct {
	mu     sync.Mutex
	now    time.Time // TiDB's clock: every row a second later
	rows   map[cloudstore.SegmentRef]cloudstore.Segment
	epochs map[string]map[uint64]cloudstore.Epoch
	owners map[string]cloudstore.Owner
	creds  map[string]cloudstore.Credentials
	synced map[string]time.Time // last_synced_at
}

var _ cloud = (*memory)(nil)

func newMemory() *memory {
	return &memory{
		now:    time.Date(2026, 1, 22, 10, 30, 45, 0, time.UTC),
		rows:   map[cloudstore.SegmentRef]cloudstore.Segment{},
		epochs: map[string]map[uint64]cloudstore.Epoch{},
		owners: map[string]cloudstore.Owner{},
		creds:  map[string]cloudstore.Credentials{},
		synced: map[string]time.Time{},
	}
}

func ref(s cloudstore.Segment) cloudstore.SegmentRef {
	return cloudstore.SegmentRef{SessionID: s.SessionID, Epoch: s.Epoch, Seq: s.Seq}
}

func (m *memory) tick() time.Time {
	m.now = m.now.Add(time.Second)
	return m.now
}

func (m *memory) AppendSegments(ctx context.Context, segs []cloudstore.Segment) ([]cloudstore.Outcome, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	outcomes := make([]cloudstore.Outcome, len(segs))
	for i, s := range segs {
		outcomes[i] = m.insert(s)
	}
	return outcomes, nil
}

// insert is INSERT … ON DUPLICATE KEY UPDATE with a no-op, and reading the tag back.
func (m *memory) insert(s cloudstore.Segment) cloudstore.Outcome {
	if old, ok := m.rows[ref(s)]; ok {
		if old.Tag != s.Tag || old.Kind != s.Kind {
			return cloudstore.Fenced
		}
		return cloudstore.Durable
	}
	s.CreatedAt = m.tick()
	s.Data = slices.Clone(s.Data)
	m.rows[ref(s)] = s
	return cloudstore.Durable
}

func (m *memory) AppendFirstBase(ctx context.Context, last cloudstore.Segment, c cloudstore.Credentials) (cloudstore.Outcome, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return cloudstore.Absent, err
	}
	if old, ok := m.rows[ref(last)]; ok && old.Tag != last.Tag || m.fenced(c) {
		return cloudstore.Fenced, nil
	}
	m.creds[c.SessionID] = c
	return m.insert(last), nil
}

func (m *memory) fenced(c cloudstore.Credentials) bool {
	owner := m.owners[c.SessionID]
	return m.creds[c.SessionID].Epoch > c.Epoch || owner.Epoch != c.Epoch || owner.Backup == cloudstore.BackupOff
}

func (m *memory) PutCredentials(ctx context.Context, c cloudstore.Credentials) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if m.fenced(c) {
		return cloudstore.ErrFenced
	}
	m.creds[c.SessionID] = c
	return nil
}

func (m *memory) Credentials(_ context.Context, id string) (cloudstore.Credentials, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, ok := m.creds[id]
	if !ok {
		return c, cloudstore.ErrNotFound
	}
	return c, nil
}

func (m *memory) Touch(_ context.Context, sessions []cloudstore.SessionEpoch) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range sessions {
		if o, ok := m.owners[s.SessionID]; ok && o.Epoch == s.Epoch {
			o.SyncedAt = m.tick()
			m.owners[s.SessionID] = o
		}
	}
	return nil
}

func (m *memory) CopySynced(_ context.Context, ids []string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, id := range ids {
		m.synced[id] = m.owners[id].SyncedAt
	}
	return nil
}

func (m *memory) Owner(_ context.Context, id string) (cloudstore.Owner, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o, ok := m.owners[id]
	if !ok {
		return o, cloudstore.ErrNotFound
	}
	return o, nil
}

func (m *memory) SetBackup(_ context.Context, id, backup string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	o := m.owners[id]
	o.SessionID, o.Backup = id, backup
	m.owners[id] = o
	return nil
}

func (m *memory) ForgetParent(_ context.Context, id string, epoch uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.epochs[id][epoch]
	e.ParentEpoch, e.ParentSeq = 0, 0
	m.epochs[id][epoch] = e
	return nil
}

func (m *memory) Prune(_ context.Context, id string, epoch, beforeEpoch, beforeSeq uint64) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.owners[id].Epoch != epoch {
		return 0, cloudstore.ErrFenced
	}
	var n int64
	for r := range m.rows {
		if r.SessionID == id && (r.Epoch < beforeEpoch || r.Epoch == beforeEpoch && r.Seq < beforeSeq) {
			delete(m.rows, r)
			n++
		}
	}
	return n, nil
}

// epochRows returns the rows of an epoch in the order of seq.
func (m *memory) epochRows(id string, epoch uint64) []cloudstore.Segment {
	var rows []cloudstore.Segment
	for r, s := range m.rows {
		if r.SessionID == id && r.Epoch == epoch {
			rows = append(rows, s)
		}
	}
	slices.SortFunc(rows, func(a, b cloudstore.Segment) int { return cmp.Compare(a.Seq, b.Seq) })
	return rows
}

func (m *memory) Segments(_ context.Context, id string, epoch, from, to uint64) ([]cloudstore.Segment, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.DeleteFunc(m.epochRows(id, epoch), func(s cloudstore.Segment) bool { return s.Seq < from || s.Seq > to }), nil
}

func (m *memory) SegmentHeads(_ context.Context, id string, epoch uint64) ([]cloudstore.Segment, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	rows := m.epochRows(id, epoch)
	for i := range rows {
		rows[i].Data = nil
	}
	return rows, nil
}

func (m *memory) Lineage(_ context.Context, id string, epoch uint64) ([]cloudstore.Epoch, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var lineage []cloudstore.Epoch
	for epoch != 0 {
		e, ok := m.epochs[id][epoch]
		if !ok {
			return nil, cloudstore.ErrNotFound
		}
		lineage = append(lineage, e)
		epoch = e.ParentEpoch
	}
	return lineage, nil
}

// Take is O4 without its races: who may take is not asked.
func (m *memory) Take(ctx context.Context, r cloudstore.TakeRequest) (cloudstore.Taken, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.parent(r.SessionID)
	if r.WithoutParent {
		p = cloudstore.Parent{Owner: p.Owner}
	}
	start, err := r.Judge(ctx, p)
	if err != nil {
		return cloudstore.Taken{}, err
	}
	if p.Epoch.Epoch != 0 && p.Terminator == nil {
		m.insert(cloudstore.Segment{
			SessionID: r.SessionID, Epoch: p.Epoch.Epoch, Seq: p.LastSeq + 1, Kind: cloudstore.KindFence,
			Part: 1, Parts: 1, Tag: [32]byte(append([]byte("fence by epoch 00"), make([]byte, 15)...)),
		})
	}
	owner := m.owners[r.SessionID]
	owner.SessionID, owner.ConnectorID, owner.Epoch = r.SessionID, r.ConnectorID, owner.Epoch+1
	owner.Backup = cmp.Or(owner.Backup, cloudstore.BackupFull)
	if r.WithoutParent {
		owner.Backup = cloudstore.BackupFull
	}
	m.owners[r.SessionID] = owner
	e := cloudstore.Epoch{SessionID: r.SessionID, Epoch: owner.Epoch, Start: start, StartedAt: m.tick()}
	taken := cloudstore.Taken{SessionID: r.SessionID, Epoch: e.Epoch, Start: start, Parent: p, ParentTag: p.LastTag}
	switch {
	case p.LastSeq > 0:
		e.ParentEpoch, e.ParentSeq = p.Epoch.Epoch, p.LastSeq
	case p.Epoch.Epoch != 0:
		e.ParentEpoch, e.ParentSeq = p.Epoch.ParentEpoch, p.Epoch.ParentSeq
	}
	taken.ParentEpoch, taken.ParentSeq = e.ParentEpoch, e.ParentSeq
	if m.epochs[r.SessionID] == nil {
		m.epochs[r.SessionID] = map[uint64]cloudstore.Epoch{}
	}
	m.epochs[r.SessionID][e.Epoch] = e
	if c, ok := m.creds[r.SessionID]; ok {
		c.Epoch = e.Epoch
		m.creds[r.SessionID] = c
	}
	return taken, nil
}

// parent is what a taker finds of the owner's epoch.
func (m *memory) parent(id string) cloudstore.Parent {
	owner := m.owners[id]
	creds, has := m.creds[id]
	p := cloudstore.Parent{Owner: owner, Epoch: m.epochs[id][owner.Epoch], HasCredentials: has, Credentials: creds.Data}
	rows := m.epochRows(id, owner.Epoch)
	seq := uint64(0)
	for i, s := range rows {
		p.MaxSeq = s.Seq
		if p.Terminator == nil && s.Kind.IsTerminator() && (s.Seq == p.LastSeq+1 || s.Kind == cloudstore.KindDeleted) {
			t := s
			p.Terminator = &t
		}
		if p.Terminator == nil && s.Kind.IsData() && (s.Seq == seq+1 || i == 0) {
			p.LastSeq, p.LastTag, seq = s.Seq, s.Tag, s.Seq
		}
	}
	p.Contiguous = p.MaxSeq == p.LastSeq || p.Terminator != nil && p.MaxSeq == p.Terminator.Seq
	p.HasLog = p.LastSeq > 0
	for e := p.Epoch; p.LastTag == [32]byte{} && e.ParentEpoch != 0; e = m.epochs[id][e.ParentEpoch] {
		parent := m.rows[cloudstore.SegmentRef{SessionID: id, Epoch: e.ParentEpoch, Seq: e.ParentSeq}]
		p.LastTag, p.HasLog = parent.Tag, p.HasLog || parent.Seq > 0
	}
	return p
}

func (m *memory) DeleteSession(_ context.Context, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.parent(id)
	owner := m.owners[id]
	owner.Backup = cloudstore.BackupOff
	m.owners[id] = owner
	maps.DeleteFunc(m.rows, func(r cloudstore.SegmentRef, _ cloudstore.Segment) bool { return r.SessionID == id })
	delete(m.creds, id)
	m.insert(cloudstore.Segment{
		SessionID: id, Epoch: owner.Epoch, Seq: p.LastSeq + 1, Kind: cloudstore.KindDeleted, Part: 1, Parts: 1, Tag: [32]byte{'d'},
	})
	return nil
}
