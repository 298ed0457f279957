package whatsapp

// becomeReady lets messages flow. Only the goroutine that runs the connection calls it.
func (s *Session) becomeReady() {
	if s.isReady() {
		return
	}
	// Read before anybody is told: what is recorded from then on has a delivery of its own.
	unfinished, err := s.inbox.Unfinished(s.ctx)
	if err != nil && s.ctx.Err() == nil {
		s.log.Error("unfinished messages not read", "error", scrub(err.Error()))
	}
	dropped := s.announceReady()
	s.spawn(func() { s.resumeSends(unfinished, dropped) })
	s.spawn(s.fetchHistory)
}

func (s *Session) isReady() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.ready:
		return true
	default:
		return false
	}
}

// announceReady wakes who waits for the connection. They find the state that says so.
func (s *Session) announceReady() (dropped <-chan struct{}) {
	s.announce.Lock()
	defer s.announce.Unlock()
	s.mu.Lock()
	s.own = ownAddresses{pn: s.device.GetJID(), lid: s.device.GetLID()}
	tell := s.enterState(s.liveState(), "")
	s.dropped = make(chan struct{})
	dropped = s.dropped
	close(s.ready)
	s.mu.Unlock()
	tell()
	return dropped
}

func (s *Session) unready() {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.ready:
		s.ready = make(chan struct{})
		close(s.dropped)
	default:
	}
}
