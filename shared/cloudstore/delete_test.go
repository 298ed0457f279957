package cloudstore_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cloudsession/shared/cloudstore"
)

// backedUp makes a session with a log over two terms and credentials.
func backedUp(t *testing.T, s *cloudstore.Store, session, connector string) {
	t.Helper()
	mustTake(t, s, session, connector)
	if o, err := s.AppendFirstBase(t.Context(), segment(session, 1, 1, cloudstore.KindBase, ""), creds(session, 1, "c")); err != nil || o != cloudstore.Durable {
		t.Fatal(o, err)
	}
	appendAll(t, s, segment(session, 1, 2, cloudstore.KindDelta, ""))
	mustTake(t, s, session, connector)
	for seq := uint64(1); seq <= 3; seq++ {
		seg := segment(session, 2, seq, cloudstore.KindBase, "")
		seg.Part, seg.Parts = uint16(seq), 3
		appendAll(t, s, seg)
	}
}

func TestDelete(t *testing.T) {
	s, config := migrated(t)
	db := rawDB(t, config)
	register(t, s, "a", "b")
	if err := s.DeleteSession(t.Context(), "x"); !errors.Is(err, cloudstore.ErrNotFound) {
		t.Fatalf("delete of nothing: %v", err)
	}
	backedUp(t, s, "x", "a")
	backedUp(t, s, "other", "a")
	lastParts := allSegments(t, s, "x", 2)
	if err := s.DeleteSession(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	if n := count(t, db, "SELECT COUNT(*) FROM session_segments WHERE session_id = 'x' AND LENGTH(data) > 0"); n != 0 {
		t.Errorf("%d rows with data are left", n)
	}
	if n := count(t, db, "SELECT COUNT(*) FROM whatsapp_sessions WHERE session_id = 'x'"); n != 0 {
		t.Error("the credentials are left")
	}
	if _, err := s.SessionStatus(t.Context(), "x"); !errors.Is(err, cloudstore.ErrNotFound) {
		t.Errorf("status: %v", err)
	}
	if err := s.DeleteSession(t.Context(), "x"); !errors.Is(err, cloudstore.ErrNotFound) {
		t.Errorf("delete again: %v", err)
	}

	// The owner, who knows of nothing: its next push is fenced, and so is the
	// last one, should it not have had the answer; nothing comes back.
	for _, seg := range append(lastParts, segment("x", 2, 4, cloudstore.KindDelta, "")) {
		got, err := s.AppendSegments(t.Context(), []cloudstore.Segment{seg})
		if err != nil || got[0] != cloudstore.Fenced {
			t.Errorf("push of row %d after the delete: %v, %v; want fenced", seg.Seq, got, err)
		}
	}
	if err := s.PutCredentials(t.Context(), creds("x", 2, "late")); !errors.Is(err, cloudstore.ErrFenced) {
		t.Errorf("credentials after the delete: %v, want fenced", err)
	}
	if o, err := s.AppendFirstBase(t.Context(), segment("x", 2, 9, cloudstore.KindBase, ""), creds("x", 2, "late")); err != nil || o != cloudstore.Fenced {
		t.Errorf("first base after the delete: %v, %v; want fenced", o, err)
	}
	if n := count(t, db, "SELECT COUNT(*) FROM session_segments WHERE session_id = 'x' AND LENGTH(data) > 0"); n != 0 {
		t.Errorf("%d rows with data came back", n)
	}
	if rows := allSegments(t, s, "other", 2); len(rows) != 3 {
		t.Errorf("another session has %d rows left", len(rows))
	}
}

// Parts of a push that was on its way go in behind the delete's mark, unless they
// are the ones it stands for. The owner, whom the mark has fenced, removes them.
func TestFinishDelete(t *testing.T) {
	s, config := migrated(t)
	db := rawDB(t, config)
	register(t, s, "a")
	backedUp(t, s, "x", "a")
	if err := s.FinishDelete(t.Context(), "x", 2); !errors.Is(err, cloudstore.ErrFenced) {
		t.Errorf("of a session that was not deleted: %v", err)
	}
	if err := s.DeleteSession(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	late := make([]cloudstore.Segment, 4)
	for i := range late {
		late[i] = segment("x", 2, 4+uint64(i), cloudstore.KindDelta, "late")
		late[i].Part, late[i].Parts = uint16(i+1), 4
	}
	got, err := s.AppendSegments(t.Context(), late)
	if err != nil || got[0] != cloudstore.Fenced {
		t.Fatalf("late push: %v, %v", got, err)
	}
	const withData = "SELECT COUNT(*) FROM session_segments WHERE session_id = 'x' AND LENGTH(data) > 0"
	if n := count(t, db, withData); n != 3 {
		t.Fatalf("%d rows of the late push went in; want 3", n)
	}
	if err := s.FinishDelete(t.Context(), "x", 1); !errors.Is(err, cloudstore.ErrFenced) {
		t.Errorf("under an epoch that is over: %v", err)
	}
	for range 2 {
		if err := s.FinishDelete(t.Context(), "x", 2); err != nil {
			t.Fatal(err)
		}
	}
	if n := count(t, db, withData); n != 0 {
		t.Errorf("%d rows with data are left", n)
	}
	if err := s.FinishDelete(t.Context(), "nobody", 1); !errors.Is(err, cloudstore.ErrFenced) {
		t.Errorf("of a session nobody has: %v", err)
	}
}

// What comes when even the owner has gone is found by whoever looks, however many
// deleted sessions there are of which nothing came.
func TestFinishDeletes(t *testing.T) {
	s, config := migrated(t)
	db := rawDB(t, config)
	register(t, s, "a")
	for _, session := range []string{"x", "y", "kept"} {
		backedUp(t, s, session, "a")
	}
	var between []string // x and y: more than a page of them
	for i := range 600 {
		between = append(between, fmt.Sprintf("('x %03d', 1, 'off')", i))
	}
	mustExec(t, db, "INSERT INTO session_owners (session_id, epoch, backup) VALUES "+strings.Join(between, ", "))
	finish := func(want int) {
		t.Helper()
		if found, err := s.FinishDeletes(t.Context()); err != nil || found != want {
			t.Errorf("found %d (%v), want %d", found, err, want)
		}
	}
	for _, session := range []string{"x", "y"} {
		if err := s.DeleteSession(t.Context(), session); err != nil {
			t.Fatal(err)
		}
	}
	finish(0)
	for _, session := range []string{"x", "y"} {
		for seq := range uint64(3) {
			seg := segment(session, 2, 5+seq, cloudstore.KindDelta, "late")
			if got, err := s.AppendSegments(t.Context(), []cloudstore.Segment{seg}); err != nil || got[0] != cloudstore.Durable {
				t.Fatalf("late row: %v, %v", got, err)
			}
		}
	}
	finish(2)
	finish(0)
	const withData = "SELECT COUNT(*) FROM session_segments WHERE session_id <> 'kept' AND LENGTH(data) > 0"
	if n := count(t, db, withData); n != 0 {
		t.Errorf("%d rows with data are left", n)
	}
	if rows := allSegments(t, s, "kept", 2); len(rows) != 3 {
		t.Errorf("a session that was not deleted has %d rows left", len(rows))
	}
}

// After a delete the owner goes on without backup; a later sync starts a new
// log that hangs on nothing.
func TestDeleteThenSync(t *testing.T) {
	s, _ := migrated(t)
	register(t, s, "a", "b")
	backedUp(t, s, "x", "a")
	if err := s.DeleteSession(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	owner, err := s.Owner(t.Context(), "x")
	if err != nil || owner.Backup != cloudstore.BackupOff || owner.ConnectorID != "a" {
		t.Errorf("owner after delete: %+v, %v", owner, err)
	}
	restarted := request("x", "a") // the same connector, from its own file
	restarted.MayCreate = false
	taken, err := s.Take(t.Context(), restarted)
	if err != nil {
		t.Fatal(err)
	}
	if taken.ParentSeq != 0 || taken.Parent.HasLog || taken.Parent.Terminator == nil || taken.Parent.Terminator.Kind != cloudstore.KindDeleted {
		t.Errorf("taken after delete: %+v", taken)
	}
	if owner, err := s.Owner(t.Context(), "x"); err != nil || owner.Backup != cloudstore.BackupOff {
		t.Errorf("a restart turned backup to %q, %v", owner.Backup, err)
	}
	sync := request("x", "a")
	sync.WithoutParent = true
	taken, err = s.Take(t.Context(), sync)
	if err != nil || taken.ParentEpoch != 0 || taken.Epoch != 4 {
		t.Fatalf("sync after delete: %+v, %v", taken, err)
	}
	if o, err := s.AppendFirstBase(t.Context(), segment("x", 4, 1, cloudstore.KindBase, ""), creds("x", 4, "again")); err != nil || o != cloudstore.Durable {
		t.Fatalf("first base after delete: %v, %v", o, err)
	}
	line, err := s.Lineage(t.Context(), "x", 4)
	if err != nil || len(line) != 1 {
		t.Errorf("lineage %v, %v; want the new epoch only", line, err)
	}
	wantCredentials(t, s, "x", "again", 4)
}

func TestDeleteSealed(t *testing.T) {
	s, config := migrated(t)
	register(t, s, "a", "b")
	backedUp(t, s, "x", "a")
	appendAll(t, s, segment("x", 2, 4, cloudstore.KindSeal, ""))
	if err := s.Release(t.Context(), "x", 2, "", 0, ""); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteSession(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	if n := count(t, rawDB(t, config), "SELECT COUNT(*) FROM session_segments WHERE kind IN ('base', 'delta')"); n != 0 {
		t.Errorf("%d data rows are left", n)
	}
	r := request("x", "b")
	r.MayCreate = false
	if _, err := s.Take(t.Context(), r); !errors.Is(err, cloudstore.ErrNotFound) {
		t.Errorf("take of a deleted session: %v, want not found", err)
	}
	r.MayCreate, r.WithoutParent = true, true // pairing anew
	taken, err := s.Take(t.Context(), r)
	if err != nil || taken.Parent.HasLog || taken.Parent.HasCredentials || taken.Start != cloudstore.StartNew {
		t.Errorf("pairing over a deleted session: %+v, %v", taken, err)
	}
	if o, err := s.Owner(t.Context(), "x"); err != nil || o.Backup != cloudstore.BackupFull {
		t.Errorf("backup is %q, %v", o.Backup, err)
	}
}

// A row of the Node service that nobody took goes without a trace.
func TestDeleteUnowned(t *testing.T) {
	s, config := migrated(t)
	db := rawDB(t, config)
	mustExec(t, db, "INSERT INTO whatsapp_sessions (session_id, session_data) VALUES ('node', 'sealed')")
	if err := s.DeleteSession(t.Context(), "node"); err != nil {
		t.Fatal(err)
	}
	for _, table := range []string{"whatsapp_sessions", "session_owners", "session_segments"} {
		if n := count(t, db, "SELECT COUNT(*) FROM "+table); n != 0 {
			t.Errorf("%d rows in %s", n, table)
		}
	}
}

// An interrupted delete is finished by the next call.
func TestDeleteInterrupted(t *testing.T) {
	direct, config := migrated(t)
	db := rawDB(t, config)
	register(t, direct, "a")
	backedUp(t, direct, "x", "a")
	p := newProxy(t, config)
	s := open(t, p.config)
	p.cut("DELETE FROM session_segments", false)
	p.thenDown()
	if err := s.DeleteSession(t.Context(), "x"); !cloudstore.IsUnavailable(err) {
		t.Fatalf("delete: %v, want unavailable", err)
	}
	p.up()
	if n := count(t, db, "SELECT COUNT(*) FROM session_segments WHERE kind IN ('base', 'delta')"); n == 0 {
		t.Fatal("nothing was left: the test interrupts nothing")
	}
	if err := s.DeleteSession(t.Context(), "x"); err != nil {
		t.Fatalf("delete again: %v", err)
	}
	if n := count(t, db, "SELECT COUNT(*) FROM session_segments WHERE kind IN ('base', 'delta')"); n != 0 {
		t.Errorf("%d rows are left", n)
	}
}

func TestDeleteCommitLost(t *testing.T) {
	for _, afterwards := range []bool{false, true} {
		direct, config := migrated(t)
		register(t, direct, "a")
		backedUp(t, direct, "x", "a")
		p := newProxy(t, config)
		s := open(t, p.config)
		p.cut("COMMIT", afterwards)
		if err := s.DeleteSession(t.Context(), "x"); err != nil {
			t.Errorf("delete with a lost answer (after commit %v): %v", afterwards, err)
		}
		if _, err := direct.Credentials(t.Context(), "x"); !errors.Is(err, cloudstore.ErrNotFound) {
			t.Errorf("credentials afterwards: %v", err)
		}
	}
}

func TestPrune(t *testing.T) {
	s, config := migrated(t)
	db := rawDB(t, config)
	register(t, s, "a")
	base, delta := cloudstore.KindBase, cloudstore.KindDelta
	part := func(epoch, seq uint64, part, parts uint16) cloudstore.Segment {
		seg := segment("x", epoch, seq, base, "")
		seg.Part, seg.Parts = part, parts
		return seg
	}
	mustTake(t, s, "x", "a")
	appendAll(t, s, segment("x", 1, 1, base, ""), segment("x", 1, 2, delta, ""), segment("x", 1, 3, base, ""), segment("x", 1, 4, delta, ""))
	mustTake(t, s, "x", "a")
	refuse := func(what string, epoch, beforeEpoch, beforeSeq uint64, want error) {
		t.Helper()
		if n, err := s.Prune(t.Context(), "x", epoch, beforeEpoch, beforeSeq); !errors.Is(err, want) || n != 0 {
			t.Errorf("%s: pruned %d, %v; want %v", what, n, err, want)
		}
	}
	refuse("no base of its own", 2, 1, 3, cloudstore.ErrBadInput)
	appendAll(t, s, segment("x", 2, 1, delta, ""), part(2, 2, 1, 2))
	refuse("incomplete base", 2, 2, 2, cloudstore.ErrBadInput)
	appendAll(t, s, part(2, 3, 2, 2), segment("x", 2, 4, delta, ""))
	refuse("an old epoch's owner", 1, 1, 3, cloudstore.ErrFenced)
	refuse("a delta as boundary", 2, 2, 4, cloudstore.ErrBadInput)
	refuse("a second part as boundary", 2, 2, 3, cloudstore.ErrBadInput)
	refuse("a later epoch as boundary", 2, 3, 1, cloudstore.ErrBadInput)

	// An older restore point is kept: the boundary lies in the parent.
	if n, err := s.Prune(t.Context(), "x", 2, 1, 3); err != nil || n != 2 {
		t.Errorf("pruned %d, %v; want rows 1 and 2 of epoch 1", n, err)
	}
	if n, err := s.Prune(t.Context(), "x", 2, 2, 2); err != nil || n != 3 {
		t.Errorf("pruned %d, %v; want all data before the base", n, err)
	}
	// The fence stays: the old epoch's writer must still run into it.
	if n := count(t, db, "SELECT COUNT(*) FROM session_segments WHERE epoch = 1"); n != 1 {
		t.Errorf("%d rows of the old epoch, want its fence", n)
	}
	got, err := s.AppendSegments(t.Context(), []cloudstore.Segment{segment("x", 1, 5, delta, "")})
	if diff := cmp.Diff([]cloudstore.Outcome{cloudstore.Fenced}, got); diff != "" || err != nil {
		t.Errorf("a writer of the pruned epoch: %v, %v", got, err)
	}
	next := mustTake(t, s, "x", "a")
	if next.ParentEpoch != 2 || next.ParentSeq != 4 || !next.Parent.Contiguous {
		t.Errorf("taken after pruning: %+v", next)
	}
}

// More rows than one batch.
func TestPruneMany(t *testing.T) {
	s, config := migrated(t)
	register(t, s, "a")
	mustTake(t, s, "x", "a")
	var segs []cloudstore.Segment
	for seq := uint64(1); seq <= 600; seq++ {
		segs = append(segs, segment("x", 1, seq, cloudstore.KindDelta, ""))
	}
	segs = append(segs, segment("x", 1, 601, cloudstore.KindBase, ""))
	appendAll(t, s, segs...)
	if n, err := s.Prune(t.Context(), "x", 1, 1, 601); err != nil || n != 600 {
		t.Errorf("pruned %d, %v; want 600", n, err)
	}
	if n := count(t, rawDB(t, config), "SELECT COUNT(*) FROM session_segments"); n != 1 {
		t.Errorf("%d rows are left", n)
	}
}
