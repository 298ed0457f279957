package inbox

// Watch returns a channel that gets a value after messages were added: List says which. Several additions may share
// one value. stop ends it; the channel is never closed.
func (in *Inbox) Watch() (added <-chan struct{}, stop func()) {
	ch := make(chan struct{}, 1)
	in.mu.Lock()
	in.watchers[ch] = struct{}{}
	in.mu.Unlock()
	return ch, func() {
		in.mu.Lock()
		delete(in.watchers, ch)
		in.mu.Unlock()
	}
}

func (in *Inbox) wake() {
	in.mu.Lock()
	defer in.mu.Unlock()
	for ch := range in.watchers {
		select {
		case ch <- struct{}{}:
		default: // a value is waiting already
		}
	}
}
