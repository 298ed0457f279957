package model

// stopProcess ends the process on machine p. Its memory is gone, and so is the
// file it was building.
func (s *State) stopProcess(p int) {
	proc := &s.Procs[p]
	proc.Up, proc.Believes = false, false
	proc.Work, proc.Term = File{}, Term{}
}

// faultSteps are what happens to processes, machines and disks. A process that
// is frozen is one that takes no step.
func (m *machine) faultSteps(s *State, p int, emit emitter) {
	proc := &s.Procs[p]
	if proc.Up {
		m.crash(s, p, emit)
	} else {
		m.restart(s, p, emit)
	}
	m.bury(s, p, emit)
	m.disk(s, p, emit)
	if !proc.Current && proc.Believes {
		// Only where belief outlives the row: a copied directory, a mutation.
		next := m.with(s)
		next.Procs[p].Believes = false
		emit(Step{OpDoubt, int8(p), 0}, next)
	}
}

// crash: the process dies, or the machine. A commit survives the process, not
// the machine (connector/capture/file.go): the last ones may be lost.
func (m *machine) crash(s *State, p int, emit emitter) {
	if next, ok := m.fault(s); ok {
		next.stopProcess(p)
		emit(Step{OpCrash, int8(p), 0}, next)
	}
	if !m.bounds.Reboots {
		return
	}
	if next, ok := m.fault(s); ok {
		next.stopProcess(p)
		proc := &next.Procs[p]
		proc.File.SameBoot = false
		emit(Step{OpReboot, int8(p), 0}, next)
		if proc.Copy.Exists {
			lost := *next
			lost.Procs[p].File = proc.Copy.File
			lost.Procs[p].File.SameBoot = false
			emit(Step{OpRebootLost, int8(p), 0}, &lost)
		}
	}
}

// restart is ownership.Register (O1): the directory remembers the incarnation
// that the row names, or the row's is dead.
func (m *machine) restart(s *State, p int, emit emitter) {
	proc := &s.Procs[p]
	if m.bounds.Clone && p == 1 && !proc.Copy.Exists {
		return // there is no copy of the directory yet
	}
	next := m.with(s)
	for q := range m.bounds.Procs {
		if q != p && m.conn(q) == m.conn(p) {
			next.Procs[q].Current = false // replaced; it learns of that at its next renewal
		}
	}
	np := &next.Procs[p]
	np.Up, np.Current, np.Believes = true, true, true
	emit(Step{OpRestart, int8(p), 0}, next)
}

// bury: the lease of p has run out and another connector says so (O2). A lease
// may run out at any time; a process never believes in it longer than TiDB (I2).
// Burying a process that runs is a fault, burying a dead one is what follows.
func (m *machine) bury(s *State, p int, emit emitter) {
	proc := &s.Procs[p]
	if !proc.Current {
		return
	}
	judge := false
	for q := range m.bounds.Procs {
		judge = judge || m.conn(q) != m.conn(p) && s.Procs[q].Up && s.Procs[q].Current
	}
	if !judge {
		return
	}
	next, ok := m.with(s), true
	if proc.Up {
		next, ok = m.fault(s)
	}
	if !ok {
		return
	}
	np := &next.Procs[p]
	np.Current = false
	np.Believes = np.Believes && m.rules.LeaseOutlives
	emit(Step{OpBury, int8(p), 0}, next)
}

// disk: a directory is copied, lost, or an old copy is put in its place.
func (m *machine) disk(s *State, p int, emit emitter) {
	proc := &s.Procs[p]
	if s.Left.Copies > 0 && proc.File.Exists && !proc.Copy.Exists {
		next := m.with(s)
		next.Left.Copies--
		np := &next.Procs[p]
		np.Copy = Copy{Exists: true, File: np.File, Mark: np.Mark}
		if m.bounds.Clone && p == 0 {
			to := &next.Procs[1]
			to.Copy, to.File, to.Mark = np.Copy, np.File, np.Mark
			to.File.SameBoot, to.File.SameInode = false, false
			np.Copy = Copy{}
		}
		emit(Step{OpCopy, int8(p), 0}, next)
	}
	if proc.Up || m.bounds.Clone || m.bounds.DB && m.bounds.Procs == 1 {
		return // an unmarked database and a lost high-water mark at once: nobody can tell
	}
	if proc.Copy.Exists {
		if next, ok := m.fault(s); ok {
			np := &next.Procs[p]
			np.File, np.Mark = proc.Copy.File, proc.Copy.Mark
			np.File.SameInode = false
			emit(Step{OpPutBack, int8(p), 0}, next)
		}
	}
	if proc.File.Exists {
		if next, ok := m.fault(s); ok {
			np := &next.Procs[p]
			np.File, np.Mark, np.Copy = File{}, HighWater{}, Copy{}
			emit(Step{OpDiskLost, int8(p), 0}, next)
		}
	}
}

// databaseSteps put an older backup of the database in place, while no
// connector runs and nothing is in the air.
func (m *machine) databaseSteps(s *State, emit emitter) {
	if s.Snap == nil {
		next := m.with(s)
		snap := s.Cloud
		next.Snap = &snap
		emit(Step{OpBackup, -1, 0}, next)
		return
	}
	for p := range m.bounds.Procs {
		if s.Procs[p].Up {
			return
		}
	}
	next, ok := m.fault(s)
	if !ok || *s.Snap == s.Cloud {
		return
	}
	next.Air = [maxAir]Statement{}
	next.Cloud = *s.Snap
	next.Ghost.Acked, next.Ghost.DeletedTo = 0, 0 // an older point, on purpose
	marked := *next
	if m.bounds.Procs == 1 {
		// Without the mark only a machine that saw the newer log can know better.
		next.Ghost.Rewound = true
		emit(Step{OpRestoreDB, -1, 0}, next)
	}
	if s.Ghost.EverEpoch+1 < maxEpochs { // a bound: each mark gives an epoch out
		m.markRestored(&marked)
		emit(Step{OpRestoreDBMarked, -1, 0}, &marked)
	}
}

// markRestored is MarkDatabaseRestored of shared/cloudstore/restored.go: a take
// by nobody, its epoch beyond all that were ever given out.
func (m *machine) markRestored(s *State) {
	c := &s.Cloud
	par := c.readParent()
	m.putFence(s, par)
	epoch := s.Ghost.EverEpoch + 1
	if m.rules.MarkNotBeyond {
		epoch = c.Owner.Epoch + 1
	}
	m.insertEpoch(s, epoch, Epoch{Parent: par.last, Start: StartSafe})
	c.Owner = Owner{Epoch: epoch, Off: c.Owner.Off}
}
