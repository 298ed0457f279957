package model

// cloudSteps are what happens in TiDB whoever asked for it, and DELETE.
func (m *machine) cloudSteps(s *State, emit emitter) {
	for i := range s.Air {
		if s.Air[i].Epoch != 0 {
			m.land(s, i, emit)
		}
	}
	if s.Left.Deletes > 0 && s.Cloud.Credentials {
		m.delete(s, emit)
	}
	if s.Cloud.DeleteUpTo > 0 {
		m.deleteRows(s, emit)
	}
}

// land is the moment a statement takes effect (P4): INSERT … ON DUPLICATE KEY
// UPDATE puts in the rows whose places are free and leaves the others as they
// are. A guarded one is a transaction (appendFirstBase of
// shared/cloudstore/firstbase.go): owner row locked at its epoch, the row, the
// credentials.
func (m *machine) land(s *State, i int, emit emitter) {
	st := s.Air[i]
	if st.Guarded && (s.Cloud.Owner.Epoch != st.Epoch || s.Cloud.Owner.Off) {
		return
	}
	next := m.with(s)
	inserted := uint8(0)
	for k := range st.N {
		place := &next.Cloud.Rows[st.Epoch][st.Seq+k]
		if place.Kind != KindNone {
			continue
		}
		*place = st.Rows[k]
		place.Late = s.Cloud.Owner.Epoch > st.Epoch
		inserted++
	}
	if inserted == 0 && !m.rules.IgnoreDuplicates {
		return
	}
	if st.Guarded {
		next.Cloud.Credentials = true
	}
	changed := inserted > 0
	if inserted == st.N || m.rules.IgnoreDuplicates {
		for p := range m.bounds.Procs {
			if next.awaits(p, st) && !next.Procs[p].Term.Answered {
				next.Procs[p].Term.Answered, changed = true, true
			}
		}
	}
	if changed {
		emit(Step{OpLand, -1, int8(i)}, next)
	}
}

// delete is the transaction of DeleteSession (O10; terminate and terminateLog of
// shared/cloudstore/delete.go): backup off, the deleted mark, the last push
// entombed, the credentials gone. The rows go later, or never.
func (m *machine) delete(s *State, emit emitter) {
	next := m.with(s)
	next.Left.Deletes--
	c, o := &next.Cloud, next.Cloud.Owner.Epoch
	c.Owner.Off = true
	end := c.findEnd(o)
	if !end.deleted && !m.rules.DeleteNoTerminator {
		at := end.last + 1
		if end.terminator != 0 {
			at = end.max + 1
		}
		tag := next.freshTag()
		c.Rows[o][at] = Row{Kind: KindDeleted, Part: 1, Parts: 1, Tag: tag}
		if end.last > 0 {
			for seq := end.last + 1 - c.Rows[o][end.last].Part; seq <= end.last; seq++ {
				c.Rows[o][seq] = Row{Kind: KindDeleted, Part: 1, Parts: 1, Tag: tag}
			}
		}
	}
	c.Credentials = false
	c.DeleteUpTo = o
	if m.rules.DeleteNoTerminator {
		c.removeDeleted() // at once: what comes back then is nobody's leftover
	}
	next.Ghost.DeletedTo = o
	next.Ghost.Acked = 0
	emit(Step{OpDelete, -1, 0}, next)
}

// deleteRows is deleteLog of shared/cloudstore/delete.go.
func (m *machine) deleteRows(s *State, emit emitter) {
	next := m.with(s)
	next.Cloud.removeDeleted()
	emit(Step{OpDeleteRows, -1, 0}, next)
}

func (c *Cloud) removeDeleted() {
	for epoch := uint8(1); epoch <= c.DeleteUpTo; epoch++ {
		c.removeData(epoch, maxSeq)
	}
	c.DeleteUpTo = 0
}

// removeData removes an epoch's data rows before a seq. Terminators stay.
func (c *Cloud) removeData(epoch, before uint8) {
	for seq := range before {
		if c.Rows[epoch][seq].Kind.isData() {
			c.Rows[epoch][seq] = Row{}
		}
	}
}

// prune is Store.Prune of shared/cloudstore/prune.go as the owner uses it (L2):
// what lies before a complete base of its own term goes.
func (m *machine) prune(s *State, p int, emit emitter) {
	t := &s.Procs[p].Term
	c := &s.Cloud
	if s.Left.Prunes == 0 || t.Phase != Open || t.Off || t.Fenced {
		return
	}
	if (c.Owner.Epoch != t.Epoch || c.Owner.Off) && !m.rules.PruneWithoutLock {
		return
	}
	for seq := uint8(1); seq < maxSeq; seq++ {
		row := c.Rows[t.Epoch][seq]
		if row.Kind != KindBase || row.Part != 1 || !c.completeBase(t.Epoch, seq) && !m.rules.PruneIncomplete {
			continue
		}
		next := m.with(s)
		next.Left.Prunes--
		for epoch := uint8(1); epoch < t.Epoch; epoch++ {
			next.Cloud.removeData(epoch, maxSeq)
		}
		next.Cloud.removeData(t.Epoch, seq)
		if next.Cloud.Rows != c.Rows {
			emit(Step{OpPrune, int8(p), int8(seq)}, next)
		}
	}
}

// completeBase mirrors checkBoundary and hasCompleteBase of
// shared/cloudstore/prune.go.
func (c *Cloud) completeBase(epoch, seq uint8) bool {
	for i := range c.Rows[epoch][seq].Parts {
		if row := c.Rows[epoch][seq+i]; row.Kind != KindBase || row.Part != i+1 {
			return false
		}
	}
	return true
}
