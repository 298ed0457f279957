package crashmatrix_test

import (
	"context"
	"errors"
	"slices"

	"go.mau.fi/whatsmeow/types"

	"cloudsession/connector/capture"
	"cloudsession/connector/inspect"
	"cloudsession/connector/manager"
	"cloudsession/shared/cloudstore"
)

// lastStart is how the newest epoch started, and which it is.
func (s *scene) lastEpoch() cloudstore.Epoch {
	s.t.Helper()
	epochs, err := s.w.store.Epochs(s.t.Context(), s.id)
	s.must("read epochs", err)
	if len(epochs) == 0 {
		return cloudstore.Epoch{}
	}
	return epochs[0]
}

// dueStarts says how the next connector has to start the session: what the log
// ends with decides, and whether the disk is that of the crashed one.
func (s *scene) dueStarts(sameDisk bool) []string {
	s.t.Helper()
	last := s.lastEpoch()
	if last.Epoch == 0 {
		return nil
	}
	heads, err := s.w.store.SegmentHeads(s.t.Context(), s.id, last.Epoch)
	s.must("read log", err)
	end := slices.IndexFunc(heads, func(g cloudstore.Segment) bool { return g.Kind.IsTerminator() })
	if end >= 0 && heads[end].Kind == cloudstore.KindSeal {
		return []string{cloudstore.StartExact}
	}
	if !sameDisk {
		return []string{cloudstore.StartSafe}
	}
	if _, ok := s.adopted(s.first); !ok {
		return []string{cloudstore.StartSafe}
	}
	var state capture.State
	s.withFile(s.first, func(ctx context.Context, f *capture.File) (err error) {
		state, err = f.State(ctx)
		return err
	})
	switch {
	case state.Epoch+1 == last.Epoch && last.Start == cloudstore.StartOwnFile && len(heads) == 0:
		// A start from this file that did not come so far as to change it.
		return []string{cloudstore.StartOwnFile}
	case state.Epoch != last.Epoch:
		return []string{cloudstore.StartSafe}
	case last.Start == cloudstore.StartSafe && len(heads) == 0:
		return []string{cloudstore.StartSafe}
	}
	return []string{cloudstore.StartOwnFile}
}

// checkRecovered checks everything that must hold once a connector has the session.
func (s *scene) checkRecovered(c *connector, word string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	s.talk(c, word)
	for key, text := range s.said {
		s.until("send once more under the key", func(ctx context.Context) error { return c.send(ctx, text, key) })
	}
	s.must("everything to be shown to the phones", s.whatsapp.WaitNothingLost(ctx))
	s.checkInbox(c)
	s.checkService(c)
	s.checkSame(c)
	keys, err := keyring()
	s.must("make keys", err)
	report, err := inspect.Verify(ctx, s.w.store, keys, s.id)
	s.must("verify the log", err)
	if !report.OK {
		s.t.Errorf("the log has faults: %+v", report.Faults)
	}
	s.checkEpochs()
}

// checkInbox wants each text that the session was sent once in the inbox.
func (s *scene) checkInbox(c *connector) {
	s.t.Helper()
	count := func() map[string]int {
		list, err := c.messages(s.t.Context())
		s.must("read inbox", err)
		n := map[string]int{}
		for _, m := range list {
			n[m.Text]++
		}
		return n
	}
	for _, text := range s.told {
		s.wait("the text "+text+" to be in the inbox", func() bool { return count()[text] > 0 })
	}
	seen := count()
	for _, text := range s.told {
		if seen[text] != 1 {
			s.t.Errorf("the text %q is in the inbox %d times", text, seen[text])
		}
	}
}

// checkService asks the service what it counted.
func (s *scene) checkService(c *connector) {
	s.t.Helper()
	list, err := c.messages(s.t.Context())
	s.must("read inbox", err)
	device := s.linked()
	for _, m := range list {
		sender, err := types.ParseJID(m.Sender)
		s.must("read sender", err)
		chat, err := types.ParseJID(m.Chat)
		s.must("read chat", err)
		if !s.reported[m.ID] {
			s.reported[m.ID] = true
			s.whatsapp.ReportShown(device, sender, chat, m.ID, m.Text)
		}
	}
	n := s.whatsapp.Counters()
	// An old counter alone is no loss: whatsmeow sends the same bytes again when a
	// socket ends before the ack, and the phone drops the copy.
	if n.ShownTwice > 0 || n.KeysReused > 0 {
		s.t.Errorf("the service counted %+v, keys used twice %v", n, s.whatsapp.Reuses())
	}
	if lost := s.whatsapp.Lost(); len(lost) > 0 {
		s.t.Errorf("messages lost: %+v", lost)
	}
}

// checkEpochs wants epochs that only grew, each with an older parent.
func (s *scene) checkEpochs() {
	s.t.Helper()
	epochs, err := s.w.store.Epochs(s.t.Context(), s.id)
	s.must("read epochs", err)
	owner, err := s.w.store.Owner(s.t.Context(), s.id)
	s.must("read owner", err)
	for _, e := range epochs {
		if e.ParentEpoch >= e.Epoch || e.Epoch > owner.Epoch {
			s.t.Errorf("epoch %d has parent %d, and the owner row is at %d", e.Epoch, e.ParentEpoch, owner.Epoch)
		}
	}
	if owner.Epoch < s.epoch {
		s.t.Errorf("the epoch was %d and is %d", s.epoch, owner.Epoch)
	}
	s.epoch = owner.Epoch
}

// checkGone wants nothing of the session to be found, and nothing to bring it back.
func (s *scene) checkGone(c *connector) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	// Its owner, even a dead one, may have the only copy.
	if err := c.open(ctx); !errors.Is(err, manager.ErrNoSession) && !errors.Is(err, manager.ErrElsewhere) {
		s.t.Errorf("open a session that is not in the cloud: %v", err)
	}
	if _, err := s.w.store.SessionStatus(ctx, s.id); !errors.Is(err, cloudstore.ErrNotFound) {
		s.t.Errorf("status of a session that is not in the cloud: %v", err)
	}
	if err := s.w.store.DeleteSession(ctx, s.id); err != nil && !errors.Is(err, cloudstore.ErrNotFound) {
		s.t.Errorf("delete what is left: %v", err)
	}
	if n := s.count("SELECT COUNT(*) FROM session_segments WHERE session_id = ? AND kind IN ('base', 'delta')", s.id); n > 0 && s.lastEpoch().Epoch > 0 {
		owner, err := s.w.store.Owner(ctx, s.id)
		s.must("read owner", err)
		if owner.Backup == cloudstore.BackupOff {
			s.t.Errorf("%d rows of a deleted log are left", n)
		}
	}
}

// checkCommands wants every command to have come to its end.
func (s *scene) checkCommands() {
	s.t.Helper()
	s.wait("commands to end", func() bool {
		return s.count("SELECT COUNT(*) FROM commands WHERE state IN ('queued', 'running')") == 0
	})
}
