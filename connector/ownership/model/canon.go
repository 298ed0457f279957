package model

import "hash/maphash"

// hasher names a state by 128 bits. States that differ only in what connectors
// or tags are called have the same name.
type hasher struct {
	seeds [2]maphash.Seed
	perms [][maxProcs]int
	conns bool  // connector ids follow the process numbers
	state State // reused
}

func newHasher(b Bounds) hasher {
	h := hasher{seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}, conns: !b.Clone}
	h.perms = [][maxProcs]int{{0, 1, 2}}
	if b.Clone {
		return h
	}
	switch b.Procs {
	case 2:
		h.perms = append(h.perms, [maxProcs]int{1, 0, 2})
	case 3:
		h.perms = append(h.perms, [][maxProcs]int{{0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}}...)
	}
	return h
}

// of returns the smallest name of the state under all renamings of connectors.
func (h *hasher) of(s *State) [2]uint64 {
	var least [2]uint64
	for i, perm := range h.perms {
		name := h.under(s, perm)
		if i == 0 || name[0] < least[0] || name[0] == least[0] && name[1] < least[1] {
			least = name
		}
	}
	return least
}

// under returns the name of the state with its connectors renamed.
func (h *hasher) under(s *State, perm [maxProcs]int) [2]uint64 {
	h.state = *s
	c := &h.state
	for p := range c.Procs {
		c.Procs[perm[p]] = s.Procs[p]
	}
	if h.conns {
		c.Cloud.Owner.Conn = permConn(s.Cloud.Owner.Conn, perm)
	}
	if s.Snap == nil {
		c.renameTags(nil)
		return h.sum(c)
	}
	snap := *s.Snap
	if h.conns {
		snap.Owner.Conn = permConn(snap.Owner.Conn, perm)
	}
	c.renameTags(&snap)
	c.Snap = nil
	a, b := h.sum(c), [2]uint64{maphash.Comparable(h.seeds[0], snap), maphash.Comparable(h.seeds[1], snap)}
	const mix = 0x9e3779b97f4a7c15
	return [2]uint64{a[0] ^ (b[0]+mix)*mix, a[1] ^ (b[1]+mix)*mix}
}

func (h *hasher) sum(s *State) [2]uint64 {
	return [2]uint64{maphash.Comparable(h.seeds[0], *s), maphash.Comparable(h.seeds[1], *s)}
}

func permConn(c Conn, perm [maxProcs]int) Conn {
	if c == 0 {
		return 0
	}
	return Conn(perm[c-1] + 1)
}

// renameTags numbers the tags in the order in which they are met.
func (s *State) renameTags(snap *Cloud) {
	r := renamer{}
	r.cloud(&s.Cloud)
	if snap != nil {
		r.cloud(snap)
	}
	for i := range s.Air {
		if s.Air[i].Epoch == 0 {
			break
		}
		for k := range s.Air[i].N {
			r.row(&s.Air[i].Rows[k])
		}
	}
	for p := range s.Procs {
		proc := &s.Procs[p]
		r.file(&proc.File)
		r.file(&proc.Work)
		r.file(&proc.Copy.File)
		r.one(&proc.Mark.Tag)
		r.one(&proc.Copy.Mark.Tag)
		t := &proc.Term
		r.one(&t.Parent.Tag)
		r.one(&t.Nonce)
		r.one(&t.Cursor.Tag)
		r.push(&t.Push)
		r.one(&t.Seal)
	}
	s.NextTag = 0
}

type renamer struct {
	names [256]Tag
	next  Tag
}

func (r *renamer) one(t *Tag) {
	if *t == 0 {
		return
	}
	if r.names[*t] == 0 {
		r.next++
		r.names[*t] = r.next
	}
	*t = r.names[*t]
}

func (r *renamer) row(row *Row) {
	r.one(&row.Prev)
	r.one(&row.Tag)
}

func (r *renamer) cloud(c *Cloud) {
	for e := uint8(1); e <= c.Owner.Epoch && e < maxEpochs; e++ {
		for q := range c.Rows[e] {
			if c.Rows[e][q].Kind != KindNone {
				r.row(&c.Rows[e][q])
			}
		}
		r.one(&c.Epochs[e].Parent.Tag)
		r.one(&c.Epochs[e].Nonce)
	}
}

func (r *renamer) push(p *Push) {
	for i := range p.Tags {
		r.one(&p.Tags[i])
	}
}

func (r *renamer) file(f *File) {
	r.one(&f.Acked.Tag)
	r.push(&f.InFlight)
}
