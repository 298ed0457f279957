package manager

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"cloudsession/connector/control"
	"cloudsession/connector/replicate"
	"cloudsession/connector/whatsapp"
	"cloudsession/infra/local/faultproxy"
	"cloudsession/shared/cloudstore"
)

// linked is session x, closed here, with a device and its newest state in the file.
func (o *office) linked() *session {
	o.t.Helper()
	s, err := o.m.entry("x")
	if err != nil {
		o.t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := o.m.openLocked(o.t.Context(), s, openRequest{reason: "pair", create: true}); err != nil {
		o.t.Fatal(err)
	}
	linkDevice(o.t, s.current().file.DB())
	if err := o.m.pairingFailed(s, errors.New("gone"), func(control.PairEvent) {}); err != nil {
		o.t.Fatal(err)
	}
	return s
}

// open opens a session and returns how it started; it fails while the endpoint is of no use.
func (o *office) open(s *session) (start string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := o.m.openLocked(o.t.Context(), s, openRequest{reason: "load", byCommand: true}); err != nil {
		return "", err
	}
	return s.current().taken.Start, nil
}

// closes closes a session in order; it is to be opened again.
func (o *office) closes(s *session) {
	o.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := o.m.closeInTime(o.t.Context(), s, release{wanted: cloudstore.WantedOpen}); err != nil {
		o.t.Fatal(err)
	}
}

func (o *office) owner() cloudstore.Owner {
	o.t.Helper()
	owner, err := o.direct.Owner(o.t.Context(), "x")
	if err != nil {
		o.t.Fatal(err)
	}
	return owner
}

// An opening from this machine's own file fails: nobody else has what is in it, and
// the session stays this connector's.
func TestOpeningThatFailsKeepsTheNewestState(t *testing.T) {
	o := furnished(t)
	s := o.linked()
	if _, err := o.open(s); err != nil {
		t.Fatal(err)
	}
	cur := s.current()
	send := func(id string) {
		t.Helper()
		if _, _, err := cur.wa.Inbox().Reserve(t.Context(), id, id, "6281244445555@s.whatsapp.net", "text"); err != nil {
			t.Fatal(err)
		}
	}
	send("pushed")
	if err := cur.rep.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	o.proxy.Set(faultproxy.Fault{Cut: true})
	send("not pushed")
	s.setCurrent(nil)
	if err := cur.shut(); err != nil {
		t.Fatal(err)
	}
	o.proxy.Set(faultproxy.Fault{})

	endpoint := o.m.opt.Endpoint
	o.m.opt.Endpoint = whatsapp.Endpoint{Addr: "of no use"}
	if _, err := o.open(s); err == nil {
		t.Fatal("it was opened")
	}
	if owner := o.owner(); owner.ConnectorID != "me" || owner.Wanted != cloudstore.WantedOpen || owner.State != string(StateFailed) {
		t.Errorf("after it failed: %+v", owner)
	}
	o.m.opt.Endpoint = endpoint
	start, err := o.open(s)
	if err != nil || start != replicate.StartOwnFile {
		t.Fatalf("starts %q, %v; want from the own file", start, err)
	}
	if sends, err := s.current().wa.Inbox().Unfinished(t.Context()); err != nil || len(sends) != 2 {
		t.Errorf("%d sends are to be repeated, %v; want both that were promised", len(sends), err)
	}
	if v := o.m.Overview(); v.OpenSends != 2 || v.OldestSend <= 0 {
		t.Errorf("metrics are shown %d sends, the oldest %v old; want 2 of some age", v.OpenSends, v.OldestSend)
	}
}

// An opening that the process's end breaks off leaves the session to the next process
// of this connector first, as closing it would have.
func TestOpeningThatTheEndBreaksOff(t *testing.T) {
	o := furnished(t)
	s := o.linked()
	if _, err := o.open(s); err != nil {
		t.Fatal(err)
	}
	o.closes(s)
	o.m.opt.Endpoint = whatsapp.Endpoint{Addr: "of no use"}
	o.m.end()
	if _, err := o.open(s); err == nil {
		t.Fatal("it was opened")
	}
	if owner := o.owner(); owner.ConnectorID != "" || owner.ReservedFor != "me" {
		t.Errorf("after it was broken off: %+v", owner)
	}
}

// On a disk that takes no more no session is taken: what began with this machine's own
// file, or exactly, does so once there is room.
func TestStartOnAFullDisk(t *testing.T) {
	o := furnished(t)
	s := o.linked()
	full := filepath.Join(s.files.dir, "probe")
	for _, want := range []string{replicate.StartOwnFile, replicate.StartExact} {
		before := o.owner()
		if want == replicate.StartExact {
			if err := o.m.Local().Close(t.Context(), "x"); err != nil {
				t.Fatal(err)
			}
			before = o.owner()
		}
		if err := os.Symlink("/dev/full", full); err != nil {
			t.Fatal(err)
		}
		_, err := o.open(s)
		if !errors.Is(err, errNoRoom) || !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("it opens with %v", err)
		}
		if _, text := outcomeOf(err); text == "the connector's log says why" {
			t.Errorf("whoever asked is told that %s", text)
		}
		if after := o.owner(); after.Epoch != before.Epoch || after.ConnectorID != before.ConnectorID {
			t.Errorf("it was taken: %+v", after)
		}
		if _, err := os.Lstat(full); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("left behind: %v", err)
		}
		if start, err := o.open(s); err != nil || start != want {
			t.Fatalf("then it starts %q, %v; want %s", start, err, want)
		}
	}
}

// The disk fails between the take and everything else. The session is free for others,
// and starts as exactly as before.
func TestDiskThatFailsOnceTaken(t *testing.T) {
	o := furnished(t)
	s := o.linked()
	if _, err := o.open(s); err != nil {
		t.Fatal(err)
	}
	o.closes(s)
	away := s.files.dir + " as it was"
	o.onStatement(func(st faultproxy.Statement) (v faultproxy.Verdict) {
		if _, err := os.Stat(away); err != nil && st.Text == "COMMIT" {
			v.Then = func() {
				if err := errors.Join(os.Rename(s.files.dir, away), os.WriteFile(s.files.dir, nil, 0o600)); err != nil {
					t.Error(err)
				}
			}
		}
		return v
	})
	if _, err := o.open(s); err == nil {
		t.Fatal("it was opened")
	}
	o.onStatement(nil)
	if owner := o.owner(); owner.ConnectorID != "" || owner.Wanted != cloudstore.WantedOpen || owner.State != string(StateFailed) {
		t.Errorf("after it failed: %+v", owner)
	}
	if err := errors.Join(os.Remove(s.files.dir), os.Rename(away, s.files.dir)); err != nil {
		t.Fatal(err)
	}
	if start, err := o.open(s); err != nil || start != replicate.StartExact {
		t.Errorf("then it starts %q, %v; want exactly", start, err)
	}
}
