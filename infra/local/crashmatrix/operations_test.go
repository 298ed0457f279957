package crashmatrix_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"

	"cloudsession/connector/capture"
	"cloudsession/connector/manager"
	"cloudsession/connector/replicate"
	"cloudsession/shared/cloudstore"
)

// operation is what a fault happens in.
type operation struct {
	name string
	tune func(*replicate.Options)
	// setup leaves s.first, the connector that holds the session or is to.
	setup func(s *scene)
	// do is the operation; who asked for it repeats it until it returns nil.
	do func(s *scene, ctx context.Context) error
	// closes: it leaves the session closed.
	closes bool
	// ends: it leaves the connector stopped; nobody repeats it.
	ends bool
	// byFunction: a function's link is the one that breaks, and s.first lives on.
	byFunction bool
	// running: s.first does by itself what it does by itself, from the beginning.
	running bool
	// declines: the session goes back to the one that it came from.
	declines bool
	// mayGo: the session need not be in the cloud when the operation was cut short.
	mayGo bool
}

// operations are every way in which a connector, or a function that touches a
// log, writes to TiDB.
var operations = []operation{
	{
		name: "pair", mayGo: true,
		setup: func(s *scene) { s.first = s.start("first", s.t.TempDir(), s.link); s.file = s.first },
		do:    func(s *scene, ctx context.Context) error { return s.first.pair(ctx) },
	},
	{
		name:  "push-delta",
		setup: func(s *scene) { s.first = s.paired("first", s.link) },
		do: func(s *scene, ctx context.Context) error {
			if err := s.tellOnce(ctx, "during the push"); err != nil {
				return err
			}
			s.said["key of the push"] = "from the session, during the push"
			if err := s.first.send(ctx, "from the session, during the push", "key of the push"); err != nil {
				return err
			}
			return s.first.sync(ctx)
		},
	},
	{
		name:  "credentials",
		setup: func(s *scene) { s.first = s.paired("first", s.link) },
		do: func(s *scene, ctx context.Context) error {
			if err := s.change(ctx, s.first, "UPDATE whatsmeow_device SET push_name = ?", rand.Text()); err != nil {
				return err
			}
			return s.first.sync(ctx)
		},
	},
	{
		name:  "compact",
		tune:  func(o *replicate.Options) { o.CompactBytes, o.KeepBases = 1, 1 },
		setup: func(s *scene) { s.first = s.paired("first", s.link) },
		do:    compact,
	},
	{name: "take-exact", setup: sealedElsewhere, do: open},
	{name: "take-own-file", setup: crashedHere, do: open},
	{name: "take-safe", setup: crashedElsewhere, do: open},
	{
		name: "take-safe-large", setup: func(s *scene) {
			s.fillFirst = true
			crashedElsewhere(s)
		}, do: open,
	},
	{
		name: "failed-open", closes: true,
		setup: func(s *scene) {
			sealedElsewhere(s)
			// In the way of the file of the epoch to be taken.
			sum := sha256.Sum256([]byte(s.id))
			path := filepath.Join(s.first.dir, "sessions", hex.EncodeToString(sum[:16]), fmt.Sprintf("%d.db", s.lastEpoch().Epoch+1))
			s.must("put something in the way", os.MkdirAll(filepath.Join(path, "full"), 0o700))
		},
		do: func(s *scene, ctx context.Context) error {
			if err := s.first.open(ctx); err == nil && !s.link.hasFired() {
				return errors.New("the session opened though its file is in the way")
			}
			return nil
		},
	},
	{
		name: "close", closes: true,
		setup: func(s *scene) { s.first = s.paired("first", s.link) },
		do: func(s *scene, ctx context.Context) error {
			if err := s.tellOnce(ctx, "just before the close"); err != nil {
				return err
			}
			return closeByHand(s, ctx)
		},
	},
	{name: "close-own-file", closes: true, setup: crashedHere, do: closeByHand},
	{name: "close-unheld", closes: true, setup: stoppedElsewhere, do: closeByHand},
	{
		name: "stop", ends: true,
		setup: func(s *scene) { s.first = s.paired("first", s.link) },
		do: func(s *scene, ctx context.Context) error {
			if err := s.tellOnce(ctx, "just before the stop"); err != nil {
				return err
			}
			return s.first.manager.Close(ctx)
		},
	},
	{
		name: "take-credentials",
		setup: func(s *scene) {
			crashedElsewhere(s)
			for _, table := range []string{"session_segments", "session_epochs", "session_owners"} {
				s.exec("DELETE FROM " + table)
			}
			s.acked, s.told, s.said = nil, nil, map[string]string{} // what was in the log is lost
		},
		do: open,
	},
	{
		name: "delete", byFunction: true, mayGo: true,
		setup: func(s *scene) {
			s.first = s.paired("first", nil)
			s.first.run()
			s.function = s.openStore(s.link.config)
		},
		do: func(s *scene, ctx context.Context) error {
			err := s.function.DeleteSession(ctx, s.id)
			if errors.Is(err, cloudstore.ErrNotFound) {
				return nil
			}
			return err
		},
	},
	{
		name: "sync-after-delete", mayGo: true,
		setup: func(s *scene) {
			s.first = s.paired("first", s.link)
			s.must("delete the session", s.w.store.DeleteSession(s.t.Context(), s.id))
			s.acked = nil
		},
		do: func(s *scene, ctx context.Context) error { return s.first.sync(ctx) },
	},
	{name: "command-sync", running: true, setup: runningHere, do: commanded(cloudstore.CommandSync, "")},
	{name: "command-restore", running: true, setup: runningHere, do: commanded(cloudstore.CommandRestore, "")},
	{
		name: "command-handover", running: true,
		setup: func(s *scene) {
			runningHere(s)
			s.target = s.start("target", s.t.TempDir(), nil)
			s.target.run()
			s.waitQueue(s.target)
		},
		do: commanded(cloudstore.CommandRestore, `{"connector":"target"}`),
	},
	{name: "take-handover", running: true, setup: heldElsewhere(room), do: toFirst},
	{name: "decline-handover", running: true, declines: true, setup: heldElsewhere(0), do: declined},
}

func open(s *scene, ctx context.Context) error { return s.first.open(ctx) }

// closeByHand closes the session, whether it is open or waits to be opened.
func closeByHand(s *scene, ctx context.Context) error {
	err := s.first.manager.Local().Close(ctx, s.id)
	if err != nil && !errors.Is(err, manager.ErrNotOpen) { // an earlier attempt closed it, if without a seal
		return err
	}
	owner, err := s.w.store.Owner(ctx, s.id)
	if err == nil && owner.Wanted != cloudstore.WantedClosed {
		err = fmt.Errorf("the session was closed, and waits to be %s again", owner.Wanted)
	}
	return err
}

// sealedElsewhere: another connector closed the session exactly, and a text waits.
func sealedElsewhere(s *scene) {
	before := s.paired("before", nil)
	s.until("close", func(ctx context.Context) error { return before.manager.Local().Close(ctx, s.id) })
	s.acked = s.fileRows(before)
	s.tell("while it was closed")
	s.first = s.start("first", s.t.TempDir(), s.link)
}

// stoppedElsewhere: another connector stopped, and the session waits to be opened.
func stoppedElsewhere(s *scene) {
	before := s.paired("before", nil)
	s.until("stop", before.manager.Close)
	s.acked = s.fileRows(before)
	s.tell("while it was stopped")
	s.first = s.start("first", s.t.TempDir(), s.link)
}

// crashedElsewhere: the session's connector and its disk are gone.
func crashedElsewhere(s *scene) {
	before := s.paired("before", nil)
	if s.fillFirst {
		s.must("fill the session", s.fill(s.t.Context(), before, 40))
		s.acked = s.durable(before)
	}
	before.crash()
	s.bury("before")
	s.tell("while it was down")
	s.first = s.start("first", s.t.TempDir(), s.link)
}

// crashedHere: this connector's last process crashed, with something not pushed.
func crashedHere(s *scene) {
	before := s.paired("first", nil)
	before.crash()
	s.must("change what nobody pushes", s.change(s.t.Context(), before, "UPDATE whatsmeow_device SET push_name = ?", "not pushed"))
	s.tell("while it was down")
	s.first = s.start("first", before.dir, s.link)
}

// runningHere: the connector also does what it does by itself.
func runningHere(s *scene) {
	s.first = s.paired("first", s.link)
	s.first.run()
	s.waitQueue(s.first)
}

// waitQueue waits until a running connector has said where its commands go.
func (s *scene) waitQueue(c *connector) {
	s.t.Helper()
	s.wait("the connector to have a queue", func() bool {
		return s.count("SELECT COUNT(*) FROM connectors WHERE connector_id = ? AND queue_url <> ''", c.id) == 1
	})
}

// tellOnce sends the session a text and waits until its inbox has it. When the
// operation is repeated that has happened.
func (s *scene) tellOnce(ctx context.Context, text string) error {
	if slices.Contains(s.told, text) {
		return nil
	}
	s.told = append(s.told, text)
	if _, err := s.other.SendText(ctx, s.own.LID(), text); err != nil {
		return err
	}
	for !s.first.has(text) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
	return nil
}

// change writes to a connector's session file, as a second process would.
func (s *scene) change(ctx context.Context, c *connector, query string, args ...any) error {
	path, _ := s.adopted(c)
	f, err := capture.Open(ctx, path, capture.Options{})
	if err != nil {
		return err
	}
	_, err = f.DB().ExecContext(ctx, query, args...)
	return errors.Join(err, f.Close())
}

// fill adds rows of 50 kB that can't be compressed.
func (s *scene) fill(ctx context.Context, c *connector, n int) error {
	data := make([]byte, 50<<10)
	for range n {
		_, _ = rand.Read(data)
		err := s.change(ctx, c, `INSERT INTO whatsmeow_message_secrets (our_jid, chat_jid, sender_jid, message_id, key)
			SELECT jid, 'chat', 'sender', ?, ? FROM whatsmeow_device`, rand.Text(), data)
		if err != nil {
			return err
		}
	}
	return nil
}

// compact grows the deltas beyond the base, so that a new base is written and
// what was before it is pruned.
func compact(s *scene, ctx context.Context) error {
	for _, n := range []int{20, 1} {
		if err := s.fill(ctx, s.first, n); err != nil {
			return err
		}
		if err := s.first.sync(ctx); err != nil {
			return err
		}
	}
	const left = `SELECT COUNT(*) FROM session_segments WHERE session_id = ? AND seq <
		(SELECT MAX(seq) FROM session_segments WHERE session_id = ? AND kind = 'base' AND part = 1)`
	for s.count(left, s.id, s.id) > 0 && !s.link.hasFired() { // a prune that fails is left to the next base
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
	return nil
}

var errCommandFailed = errors.New("command failed")

// commanded asks for something by a command's row and message, as the functions
// do, and waits for its end.
func commanded(kind, args string) func(s *scene, ctx context.Context) error {
	return func(s *scene, ctx context.Context) error {
		if s.asked == "" {
			s.asked = ulid.MustNew(ulid.Now(), rand.Reader).String()
			c := cloudstore.Command{
				ID: s.asked, SessionID: s.id, Kind: kind, Args: []byte(args), ConnectorID: s.asksWhom().id, Deadline: time.Now().Add(patience),
			}
			if _, _, err := s.w.store.CreateCommand(ctx, c); err != nil {
				return err
			}
			if err := s.knock(ctx, kind); err != nil {
				return err
			}
		}
		for {
			c, err := s.w.store.Command(ctx, s.asked)
			switch {
			case err != nil:
				return err
			case c.State == cloudstore.CommandDone:
				return nil
			case c.State == cloudstore.CommandFailed, c.State == cloudstore.CommandExpired:
				s.asked = "" // who asked is told, and asks again
				return fmt.Errorf("%w: %s: %s %s", errCommandFailed, c.State, c.ErrorCode, c.Error)
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
}
