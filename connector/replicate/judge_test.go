package replicate

import (
	"errors"
	"testing"
	"time"

	"cloudsession/connector/capture"
	"cloudsession/shared/cloudstore"
	"cloudsession/shared/sessionlog"
)

func TestJudgeExact(t *testing.T) {
	g := newRig(t, newMemory())
	l := g.pair("personal", 1)
	l.steps(10)
	g.must(l.handOff())
	g.take(l.id, false, func(p cloudstore.Parent) string {
		judge := func(what string, want bool, high HighWater, change func(*cloudstore.Parent)) {
			t.Helper()
			q := p
			seal := *p.Terminator
			seal.Data = append([]byte(nil), seal.Data...)
			q.Terminator = &seal
			change(&q)
			if got, err := JudgeExact(g.keys, q, high); err != nil || got != want {
				t.Errorf("%s: exact %v, %v", what, got, err)
			}
		}
		check := func(what string, want error, change func(*cloudstore.Parent)) {
			t.Helper()
			q := p
			seal := *p.Terminator
			seal.Data = append([]byte(nil), seal.Data...)
			q.Terminator = &seal
			change(&q)
			if err := CheckSeal(g.keys, q); !errors.Is(err, want) || (err != nil) != (want != nil) {
				t.Errorf("%s: %v, want %v", what, err, want)
			}
		}
		same := func(*cloudstore.Parent) {}
		judge("as it is", true, HighWater{}, same)
		judge("seen up to its end", true, HighWater{p.Epoch.Epoch, p.LastSeq, p.LastTag}, same)
		judge("seen less", true, HighWater{p.Epoch.Epoch, p.LastSeq - 1, [32]byte{1}}, same)
		judge("seen an epoch more", false, HighWater{Epoch: p.Epoch.Epoch + 1}, same)
		judge("seen a row more", false, HighWater{Epoch: p.Epoch.Epoch, Seq: p.LastSeq + 1}, same)
		judge("seen another end", false, HighWater{p.Epoch.Epoch, p.LastSeq, [32]byte{1}}, same)
		judge("no terminator", false, HighWater{}, func(p *cloudstore.Parent) { p.Terminator = nil })
		judge("a fence", false, HighWater{}, func(p *cloudstore.Parent) { p.Terminator.Kind = cloudstore.KindFence })
		judge("seal with another MAC", false, HighWater{}, func(p *cloudstore.Parent) { p.Terminator.Data[20]++ })
		judge("seal behind another row", false, HighWater{}, func(p *cloudstore.Parent) { p.LastTag[0]++ })
		judge("seal of another seq", false, HighWater{}, func(p *cloudstore.Parent) { p.LastSeq-- })
		judge("seal of another epoch", false, HighWater{}, func(p *cloudstore.Parent) { p.Epoch.Epoch++ })
		judge("seal of another session", false, HighWater{}, func(p *cloudstore.Parent) { p.Owner.SessionID = "another" })
		judge("missing rows", false, HighWater{}, func(p *cloudstore.Parent) { p.Contiguous = false })
		judge("no log", false, HighWater{}, func(p *cloudstore.Parent) { p.HasLog = false })
		judge("credentials only", false, HighWater{}, func(p *cloudstore.Parent) { p.Owner.Backup = cloudstore.BackupCredentials })
		check("as it is", nil, same)
		check("no seal", nil, func(p *cloudstore.Parent) { p.Terminator = nil })
		check("seal with another MAC", sessionlog.ErrTampered, func(p *cloudstore.Parent) { p.Terminator.Data[60]++ })
		check("seal behind another row", sessionlog.ErrTampered, func(p *cloudstore.Parent) { p.LastTag[0]++ })
		if seen := (HighWater{Epoch: p.Epoch.Epoch, Seq: p.LastSeq}); Behind(p, HighWater{}) || Behind(p, HighWater{seen.Epoch, seen.Seq, p.LastTag}) {
			t.Error("a log as this machine knows it is behind")
		} else if seen.Seq++; !Behind(p, seen) {
			t.Error("a log that has lost its end is not behind")
		}
		return StartExact
	})
}

// A file that can't be resumed, but has all that the log has: a safe start begins with it.
func TestHoldsNewest(t *testing.T) {
	g := newRig(t, newMemory())
	l := g.pair("personal", 1)
	l.steps(20)
	l.flush()
	g.crash()
	state, err := l.file.State(t.Context())
	g.must(err)
	inode, err := capture.Inode(l.file.Path())
	g.must(err)
	g.take(l.id, false, func(p cloudstore.Parent) string {
		check := func(what string, want bool, change func(*cloudstore.Parent, *capture.State)) {
			t.Helper()
			q, s := p, state
			change(&q, &s)
			if got := HoldsNewest(s, q, inode); got != want {
				t.Errorf("%s: %v", what, got)
			}
		}
		check("as it is", true, func(*cloudstore.Parent, *capture.State) {})
		check("of another boot", true, func(_ *cloudstore.Parent, s *capture.State) { s.BootID = "other" })
		check("the log goes on", false, func(p *cloudstore.Parent, _ *capture.State) { p.LastSeq++ })
		check("the log went another way", false, func(p *cloudstore.Parent, _ *capture.State) { p.LastTag[0]++ })
		check("of another place", false, func(_ *cloudstore.Parent, s *capture.State) { s.Inode++ })
		check("of an older term", false, func(_ *cloudstore.Parent, s *capture.State) { s.Epoch-- })
		check("only credentials are kept", false, func(p *cloudstore.Parent, _ *capture.State) { p.Owner.Backup = cloudstore.BackupCredentials })
		check("only credentials are kept, and the term pushed nothing", true, func(p *cloudstore.Parent, _ *capture.State) {
			p.Owner.Backup, p.LastSeq, p.MaxSeq = cloudstore.BackupCredentials, 0, 0
		})
		check("so, and it is another term's", false, func(p *cloudstore.Parent, s *capture.State) {
			p.Owner.Backup, p.LastSeq, p.MaxSeq = cloudstore.BackupCredentials, 0, 0
			s.Epoch--
		})
		check("so, and it is of another place", false, func(p *cloudstore.Parent, s *capture.State) {
			p.Owner.Backup, p.LastSeq, p.MaxSeq = cloudstore.BackupCredentials, 0, 0
			s.Inode++
		})
		behind := func(start string, rows uint64) func(*cloudstore.Parent, *capture.State) {
			return func(p *cloudstore.Parent, _ *capture.State) {
				p.Epoch.ParentEpoch, p.Epoch.ParentSeq = p.Epoch.Epoch, p.LastSeq
				p.Epoch.Epoch, p.Epoch.Start, p.LastSeq, p.MaxSeq = p.Epoch.Epoch+1, start, rows, rows
			}
		}
		check("behind a safe start without a base", true, behind(StartSafe, 0))
		check("behind a safe start with rows", false, behind(StartSafe, 1))
		check("behind an exact start", false, behind(StartExact, 0)) // it may have had a socket
		return StartSafe
	})
}

// TestTimesFollowByThemselves: without any command the visible times become those of the pushes.
func TestTimesFollowByThemselves(t *testing.T) {
	m := newMemory()
	g := newRig(t, m, func(o *Options) { o.TouchEvery, o.CopyEvery = time.Millisecond, time.Millisecond })
	l := g.pair("personal", 1)
	g.must(l.repl.WaitDurable(g.limit()))
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for limit := g.limit(); ; <-tick.C {
		m.mu.Lock()
		synced := m.synced[l.id]
		m.mu.Unlock()
		if !synced.IsZero() {
			return
		}
		g.must(limit.Err())
	}
}

func TestBackoff(t *testing.T) {
	pause := time.Duration(0)
	for range 20 {
		next, wait := backoff(pause, 10*time.Millisecond, time.Second)
		if next < pause || next > time.Second || wait < next/2 || wait > next {
			t.Fatalf("pause %v after %v, wait %v", next, pause, wait)
		}
		pause = next
	}
	if pause != time.Second {
		t.Errorf("pause ends at %v", pause)
	}
}
