package cloudstore_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloudsession/shared/cloudstore"
)

func TestTakeNewSession(t *testing.T) {
	s, _ := migrated(t)
	register(t, s, "a")
	r := request("new", "a")
	r.MayCreate = false
	if _, err := s.Take(t.Context(), r); !errors.Is(err, cloudstore.ErrNotFound) {
		t.Fatalf("take of an unknown session: %v, want not found", err)
	}
	taken := mustTake(t, s, "new", "a")
	want := cloudstore.Taken{SessionID: "new", Epoch: 1, Start: cloudstore.StartNew}
	taken.Parent = cloudstore.Parent{}
	if diff := cmp.Diff(want, taken); diff != "" {
		t.Errorf("taken (-want +got):\n%s", diff)
	}
	owner, err := s.Owner(t.Context(), "new")
	if err != nil {
		t.Fatal(err)
	}
	wantOwner := cloudstore.Owner{SessionID: "new", ConnectorID: "a", Epoch: 1, Wanted: "open", Backup: "full", Failover: "auto"}
	if diff := cmp.Diff(wantOwner, owner); diff != "" {
		t.Errorf("owner (-want +got):\n%s", diff)
	}
}

// A term's log ends at its last unbroken data row; the next term's first row
// hangs on that.
func TestTakeEndsTheLog(t *testing.T) {
	type row struct {
		seq  uint64
		kind cloudstore.SegmentKind
	}
	base, delta, seal := cloudstore.KindBase, cloudstore.KindDelta, cloudstore.KindSeal
	tests := []struct {
		name       string
		rows       []row
		last       uint64 // n; the fence or terminator stands at n+1
		start      string
		contiguous bool
	}{
		{"empty", nil, 0, "new", true},
		{"base only", []row{{1, base}}, 1, "safe", true},
		{"base and deltas", []row{{1, base}, {2, delta}, {3, delta}}, 3, "safe", true},
		{"sealed", []row{{1, base}, {2, delta}, {3, seal}}, 2, "exact", true},
		{"sealed without data", []row{{1, seal}}, 0, "new", true},
		{"pruned head", []row{{7, base}, {8, delta}}, 8, "safe", true},
		{"pruned head, two bases", []row{{7, base}, {8, delta}, {9, base}, {10, delta}, {11, seal}}, 10, "exact", true},
		{"hole", []row{{1, base}, {2, delta}, {4, delta}, {5, delta}}, 2, "safe", false},
		{"hole before the seal", []row{{1, base}, {3, seal}}, 1, "safe", false},
		{"hole before the last base", []row{{1, base}, {3, base}, {4, delta}}, 4, "safe", true},
		{"no head", []row{{2, delta}, {3, delta}}, 0, "new", false},
		{"rows behind the seal", []row{{1, base}, {2, seal}, {3, delta}}, 1, "safe", false},
	}
	s, _ := migrated(t)
	register(t, s, "a")
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			session := test.name
			first := mustTake(t, s, session, "a")
			var segs []cloudstore.Segment
			for _, row := range test.rows {
				segs = append(segs, segment(session, first.Epoch, row.seq, row.kind, ""))
			}
			appendAll(t, s, segs...)

			second := mustTake(t, s, session, "a")
			if p := second.Parent; p.LastSeq != test.last || p.Contiguous != test.contiguous || second.Start != test.start {
				t.Errorf("last %d, contiguous %v, start %s; want %d, %v, %s", p.LastSeq, p.Contiguous, second.Start, test.last, test.contiguous, test.start)
			}
			checkParent(t, second, test.last, segs)
			checkTerminated(t, s, session, test.last+1)

			// Nothing was written: the third term hangs on the same row, and
			// the second one's log is ended where it would have begun.
			third := mustTake(t, s, session, "a")
			if third.ParentEpoch != second.ParentEpoch || third.ParentSeq != second.ParentSeq || third.ParentTag != second.ParentTag {
				t.Errorf("third term's parent is %d/%d, want the second's, %d/%d",
					third.ParentEpoch, third.ParentSeq, second.ParentEpoch, second.ParentSeq)
			}
			if rows := allSegments(t, s, session, 2); len(rows) != 1 || rows[0].Seq != 1 || rows[0].Kind != cloudstore.KindFence {
				t.Errorf("the empty epoch holds %v, want a fence at seq 1", rows)
			}
		})
	}
}

func checkParent(t *testing.T, taken cloudstore.Taken, last uint64, segs []cloudstore.Segment) {
	t.Helper()
	if last == 0 {
		if taken.ParentEpoch != 0 || taken.ParentSeq != 0 || taken.ParentTag != [32]byte{} || taken.Parent.HasLog {
			t.Errorf("parent %d/%d of a log without data", taken.ParentEpoch, taken.ParentSeq)
		}
		return
	}
	if taken.ParentEpoch != 1 || taken.ParentSeq != last || !taken.Parent.HasLog {
		t.Errorf("parent %d/%d, want 1/%d", taken.ParentEpoch, taken.ParentSeq, last)
	}
	for _, seg := range segs {
		if seg.Seq == last && seg.Tag != taken.ParentTag {
			t.Error("wrong parent tag")
		}
	}
}

// checkTerminated wants a terminator at seq of the first epoch.
func checkTerminated(t *testing.T, s *cloudstore.Store, session string, seq uint64) {
	t.Helper()
	rows, err := s.Segments(t.Context(), session, 1, seq, seq)
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 1 || !rows[0].Kind.IsTerminator() {
		t.Errorf("row %d is %v, want a terminator", seq, rows)
	}
}

// The lineage skips terms without data; the reader gets the ancestors that
// have some.
func TestLineageSkipsEmptyTerms(t *testing.T) {
	s, _ := migrated(t)
	register(t, s, "a")
	mustTake(t, s, "x", "a")
	appendAll(t, s, segment("x", 1, 1, cloudstore.KindBase, ""), segment("x", 1, 2, cloudstore.KindDelta, ""))
	for range 3 {
		mustTake(t, s, "x", "a")
	}
	appendAll(t, s, segment("x", 4, 1, cloudstore.KindBase, ""))
	last := mustTake(t, s, "x", "a")
	line, err := s.Lineage(t.Context(), "x", last.Epoch)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range line {
		got = append(got, fmt.Sprintf("%d<-%d/%d", e.Epoch, e.ParentEpoch, e.ParentSeq))
	}
	if diff := cmp.Diff([]string{"5<-4/1", "4<-1/2", "1<-0/0"}, got); diff != "" {
		t.Errorf("lineage (-want +got):\n%s", diff)
	}
	all, err := s.Epochs(t.Context(), "x")
	if err != nil || len(all) != 5 {
		t.Errorf("%d epochs, %v; want 5", len(all), err)
	}
	if _, err := s.Lineage(t.Context(), "x", 9); !errors.Is(err, cloudstore.ErrNotFound) {
		t.Errorf("lineage of an epoch that never was: %v", err)
	}
}

// Of several connectors that want a free session, or one whose owner is dead,
// one wins each epoch.
func TestTakeRace(t *testing.T) {
	s, config := migrated(t)
	db := rawDB(t, config)
	connectors := []string{"a", "b", "c", "d"}
	register(t, s, connectors...)
	mustTake(t, s, "prize", "a")
	if err := s.Release(t.Context(), "prize", 1, "", 0, ""); err != nil {
		t.Fatal(err)
	}
	owner, epoch := "", uint64(1)
	process := map[string]string{"a": "a/1", "b": "b/1", "c": "c/1", "d": "d/1"}
	for round := range 25 {
		var wg sync.WaitGroup
		taken := make([]*cloudstore.Taken, len(connectors))
		for i, c := range connectors {
			wg.Go(func() {
				r := request("prize", c)
				r.Incarnation = process[c]
				got, err := s.Take(t.Context(), r)
				switch {
				case err == nil:
					taken[i] = &got
				case !errors.Is(err, cloudstore.ErrNotTakeable):
					t.Errorf("round %d: %s: %v", round, c, err)
				}
			})
		}
		wg.Wait()
		winners := 0
		for i, got := range taken {
			if got != nil {
				winners++
				owner = connectors[i]
				if epoch++; got.Epoch != epoch {
					t.Errorf("round %d: epoch %d, want %d", round, got.Epoch, epoch)
				}
			}
		}
		if winners != 1 {
			t.Fatalf("round %d: %d winners", round, winners)
		}
		if n := count(t, db, "SELECT COUNT(*) FROM session_epochs WHERE session_id = 'prize'"); n != int(epoch) {
			t.Fatalf("round %d: %d epoch rows, want %d", round, n, epoch)
		}
		if round%2 == 0 {
			if err := s.Release(t.Context(), "prize", epoch, "", 0, ""); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := s.RetireConnector(t.Context(), owner, process[owner]); err != nil {
			t.Fatal(err)
		}
		// It comes back for the next round but one, and isn't a racer in the next.
		connectors = without(connectors, owner)
		if round%4 == 3 {
			connectors = []string{"a", "b", "c", "d"}
			for _, id := range deadOnes(t, s) {
				process[id] = fmt.Sprintf("%s/%d", id, round)
				if err := s.RegisterConnector(t.Context(), cloudstore.Connector{ID: id, Incarnation: process[id]}, "", lease); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

func without(list []string, gone string) (rest []string) {
	for _, x := range list {
		if x != gone {
			rest = append(rest, x)
		}
	}
	return rest
}

func deadOnes(t *testing.T, s *cloudstore.Store) (ids []string) {
	t.Helper()
	all, err := s.Connectors(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range all {
		if c.Dead {
			ids = append(ids, c.ID)
		}
	}
	return ids
}

// A writer that goes on after its session was taken: whatever it was told is
// durable, the taker has counted; everything behind the fence is fenced.
func TestStaleWriterRace(t *testing.T) {
	s, _ := migrated(t)
	register(t, s, "a")
	rnd := random(t)
	for round := range 20 {
		session := fmt.Sprintf("race %d", round)
		mustTake(t, s, session, "a")
		appendAll(t, s, segment(session, 1, 1, cloudstore.KindBase, ""))
		durable := uint64(1)
		fenced := false
		pushes := uint64(rnd.IntN(12))
		reached := make(chan struct{})
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		var wg sync.WaitGroup
		var once sync.Once
		wg.Go(func() {
			for seq := uint64(2); !fenced; seq++ {
				if seq == pushes+2 {
					once.Do(func() { close(reached) })
				}
				outcomes, err := s.AppendSegments(ctx, []cloudstore.Segment{
					segment(session, 1, seq, cloudstore.KindDelta, "writer"),
				})
				if err != nil {
					t.Errorf("append: %v", err)
					return
				}
				switch outcomes[0] {
				case cloudstore.Fenced:
					fenced = true
				case cloudstore.Durable:
					durable = seq
				case cloudstore.Absent:
					seq-- // send it again
				}
			}
		})
		<-reached
		taken, err := s.Take(ctx, request(session, "a"))
		if err != nil {
			t.Errorf("take: %v", err)
			cancel()
		}
		wg.Wait() // the writer runs into the fence by itself
		cancel()
		if t.Failed() {
			return
		}
		if taken.ParentSeq != durable {
			t.Errorf("%s: the taker counts %d rows, the writer was told that %d are durable", session, taken.ParentSeq, durable)
		}
	}
}

// After a failure one connector takes many sessions at once; all of these takes
// lock its own row.
func TestTakeManyAtOnce(t *testing.T) {
	s, _ := migrated(t)
	register(t, s, "a")
	var wg sync.WaitGroup
	for worker := range 12 {
		wg.Go(func() {
			for i := range 10 {
				if _, err := s.Take(t.Context(), request(fmt.Sprintf("%d/%d", worker, i), "a")); err != nil {
					t.Errorf("take: %v", err)
				}
			}
		})
	}
	wg.Wait()
	if owners, err := s.OwnersOf(t.Context(), "a"); err != nil || len(owners) != 120 {
		t.Errorf("%d sessions owned, %v; want 120", len(owners), err)
	}
}

func TestTakeByNonceTwice(t *testing.T) {
	s, _ := migrated(t)
	register(t, s, "a", "b")
	mustTake(t, s, "x", "a")
	appendAll(t, s, segment("x", 1, 1, cloudstore.KindBase, ""))
	r := request("x", "a")
	first, err := s.Take(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	second, err := s.Take(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	first.Parent, second.Parent = cloudstore.Parent{}, cloudstore.Parent{}
	if diff := cmp.Diff(first, second); diff != "" {
		t.Errorf("the same request again (-first +second):\n%s", diff)
	}
}

func TestTakeRules(t *testing.T) {
	type change func(t *testing.T, s *cloudstore.Store, r *cloudstore.TakeRequest)
	release := func(reserve string, d time.Duration, wanted string) change {
		return func(t *testing.T, s *cloudstore.Store, _ *cloudstore.TakeRequest) {
			if err := s.Release(t.Context(), "x", 1, reserve, d, wanted); err != nil {
				t.Fatal(err)
			}
		}
	}
	retire := func(id string) change {
		return func(t *testing.T, s *cloudstore.Store, _ *cloudstore.TakeRequest) {
			if err := s.RetireConnector(t.Context(), id, id+"/1"); err != nil {
				t.Fatal(err)
			}
		}
	}
	manual := func(t *testing.T, s *cloudstore.Store, _ *cloudstore.TakeRequest) {
		if err := s.SetFailover(t.Context(), "x", cloudstore.FailoverManual); err != nil {
			t.Fatal(err)
		}
	}
	noBackup := func(t *testing.T, s *cloudstore.Store, _ *cloudstore.TakeRequest) {
		if err := s.SetBackup(t.Context(), "x", cloudstore.BackupOff); err != nil {
			t.Fatal(err)
		}
	}
	set := func(f func(r *cloudstore.TakeRequest)) change {
		return func(_ *testing.T, _ *cloudstore.Store, r *cloudstore.TakeRequest) { f(r) }
	}
	tests := []struct {
		name    string
		taker   string // the session is a's, at epoch 1
		changes []change
		want    error
	}{
		{"owner alive", "b", nil, cloudstore.ErrNotTakeable},
		{"its own", "a", nil, nil},
		{"owner dead", "b", []change{retire("a")}, nil},
		{"free", "b", []change{release("", 0, "")}, nil},
		{"reserved for it", "b", []change{release("b", time.Hour, "")}, nil},
		{"reserved for another", "b", []change{release("c", time.Hour, "")}, cloudstore.ErrNotTakeable},
		{"reserved for another, asked for", "b", []change{release("c", time.Hour, ""), set(func(r *cloudstore.TakeRequest) { r.ByCommand = true })}, nil},
		{"reserved once", "b", []change{release("c", 0, "")}, nil},
		{"wanted closed", "b", []change{release("", 0, "closed")}, cloudstore.ErrNotTakeable},
		{"wanted closed, rekey", "b", []change{release("", 0, "closed"), set(func(r *cloudstore.TakeRequest) { r.AnyWanted = true })}, nil},
		{"manual", "b", []change{retire("a"), manual}, cloudstore.ErrNotTakeable},
		{"manual, asked for", "b", []change{retire("a"), manual, set(func(r *cloudstore.TakeRequest) { r.ByCommand = true })}, nil},
		{"no backup", "b", []change{retire("a"), noBackup}, cloudstore.ErrNotTakeable},
		{"no backup, its own", "a", []change{noBackup}, nil},
		{"taker dead", "b", []change{retire("a"), retire("b")}, cloudstore.ErrIncarnation},
		{"taker replaced", "b", []change{retire("a"), set(func(r *cloudstore.TakeRequest) { r.Incarnation = "b/0" })}, cloudstore.ErrIncarnation},
		{"taker unknown", "z", []change{retire("a")}, cloudstore.ErrIncarnation},
		{"no nonce", "a", []change{set(func(r *cloudstore.TakeRequest) { r.Nonce = [16]byte{} })}, cloudstore.ErrBadInput},
		{"no judge", "a", []change{set(func(r *cloudstore.TakeRequest) { r.Judge = nil })}, cloudstore.ErrBadInput},
		{"bad verdict", "a", []change{set(func(r *cloudstore.TakeRequest) {
			r.Judge = func(context.Context, cloudstore.Parent) (string, error) { return "perhaps", nil }
		})}, cloudstore.ErrBadInput},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s, config := migrated(t)
			register(t, s, "a", "b", "c")
			mustTake(t, s, "x", "a")
			r := request("x", test.taker)
			r.MayCreate = false
			for _, change := range test.changes {
				change(t, s, &r)
			}
			_, err := s.Take(t.Context(), r)
			if !errors.Is(err, test.want) {
				t.Fatalf("take: %v, want %v", err, test.want)
			}
			epochs := 2
			if test.want != nil {
				epochs = 1
			}
			if n := count(t, rawDB(t, config), "SELECT COUNT(*) FROM session_epochs"); n != epochs {
				t.Errorf("%d epochs afterwards, want %d", n, epochs)
			}
			listed, err := s.Takeable(t.Context(), test.taker, 10)
			if err != nil {
				t.Fatal(err)
			}
			if errors.Is(test.want, cloudstore.ErrNotTakeable) && len(listed) != 0 {
				t.Errorf("a sweep would try it: %+v", listed)
			}
		})
	}
}

// The judge's refusal leaves everything as it was.
func TestTakeJudgeRefuses(t *testing.T) {
	s, _ := migrated(t)
	register(t, s, "a")
	mustTake(t, s, "x", "a")
	appendAll(t, s, segment("x", 1, 1, cloudstore.KindBase, ""))
	refusal := errors.New("no")
	r := request("x", "a")
	r.Judge = func(context.Context, cloudstore.Parent) (string, error) { return "", refusal }
	if _, err := s.Take(t.Context(), r); !errors.Is(err, refusal) {
		t.Fatalf("take: %v, want the judge's error", err)
	}
	appendAll(t, s, segment("x", 1, 2, cloudstore.KindDelta, ""))
}
