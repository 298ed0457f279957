package cloudstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"cloudsession/shared/cloudstore"
)

func TestAppendAndRead(t *testing.T) {
	s, _ := migrated(t)
	var segs []cloudstore.Segment
	for seq := uint64(1); seq <= 150; seq++ { // more than a page
		seg := segment("ünïcode ☕", 3, seq, cloudstore.KindDelta, "")
		seg.Part, seg.Parts = 2, 9
		segs = append(segs, seg)
	}
	segs[0].Data = nil // must not become NULL
	segs[1].Data = []byte{0, 1, '\'', '"', '\\', 0xff, 0xfe, '\n', 26}
	appendAll(t, s, segs...)

	ignoreTime := cmpopts.IgnoreFields(cloudstore.Segment{}, "CreatedAt")
	got := allSegments(t, s, "ünïcode ☕", 3)
	if diff := cmp.Diff(segs, got, ignoreTime); diff != "" {
		t.Errorf("read back (-want +got):\n%s", diff)
	}
	if age := time.Since(got[0].CreatedAt); age < -time.Minute || age > time.Minute {
		t.Errorf("created %s ago", age)
	}
	part, err := s.Segments(t.Context(), "ünïcode ☕", 3, 10, 12)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(segs[9:12], part, ignoreTime); diff != "" {
		t.Errorf("rows 10..12 (-want +got):\n%s", diff)
	}
	heads, err := s.SegmentHeads(t.Context(), "ünïcode ☕", 3)
	if err != nil || len(heads) != len(segs) || heads[5].Data != nil || heads[5].Tag != segs[5].Tag {
		t.Errorf("%d heads, %v; want %d without data", len(heads), err, len(segs))
	}
	if none := allSegments(t, s, "ünïcode ☕", 4); len(none) != 0 {
		t.Errorf("%d rows of another epoch", len(none))
	}
}

// Sent again, the same bytes are durable; other bytes in the same place are
// not, and neither is what follows them. Other sessions don't suffer.
func TestAppendAgain(t *testing.T) {
	s, _ := migrated(t)
	base, delta := cloudstore.KindBase, cloudstore.KindDelta
	appendAll(t, s, segment("a", 1, 1, base, ""), segment("b", 1, 1, base, ""), segment("c", 1, 1, base, ""))
	group := []cloudstore.Segment{
		segment("a", 1, 1, base, ""), segment("a", 1, 2, delta, ""),
		segment("b", 1, 1, delta, "other"), segment("b", 1, 2, delta, "other"),
		segment("c", 2, 1, base, ""), segment("new", 1, 1, base, ""),
	}
	want := []cloudstore.Outcome{
		cloudstore.Durable, cloudstore.Durable,
		cloudstore.Fenced, cloudstore.Fenced,
		cloudstore.Durable, cloudstore.Durable,
	}
	for range 2 {
		got, err := s.AppendSegments(t.Context(), group)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("outcomes (-want +got):\n%s", diff)
		}
	}
	if rows := allSegments(t, s, "b", 1); rows[0].Tag != segment("b", 1, 1, base, "").Tag {
		t.Error("a row was overwritten")
	}
}

// One fenced session in a group is the only one that hears of it.
func TestAppendGroupWithFencedSession(t *testing.T) {
	s, _ := migrated(t)
	register(t, s, "a", "b")
	var group []cloudstore.Segment
	for i := range 10 {
		id := fmt.Sprintf("session %d", i)
		mustTake(t, s, id, "a")
		appendAll(t, s, segment(id, 1, 1, cloudstore.KindBase, ""))
		group = append(group, segment(id, 1, 2, cloudstore.KindDelta, ""), segment(id, 1, 3, cloudstore.KindDelta, ""))
	}
	mustTake(t, s, "session 4", "a")
	outcomes, err := s.AppendSegments(t.Context(), group)
	if err != nil {
		t.Fatal(err)
	}
	for i, o := range outcomes {
		want := cloudstore.Durable
		if group[i].SessionID == "session 4" {
			want = cloudstore.Fenced
		}
		if o != want {
			t.Errorf("%s, row %d: %v, want %v", group[i].SessionID, group[i].Seq, o, want)
		}
	}
	// The row behind the fence is in the table, and no reader looks at it.
	next := mustTake(t, s, "session 4", "a")
	if next.ParentEpoch != 1 || next.ParentSeq != 1 {
		t.Errorf("the next term hangs on %d/%d, want 1/1", next.ParentEpoch, next.ParentSeq)
	}
}

func TestAppendRefusesBeforeSending(t *testing.T) {
	// Nothing listens there: what is refused was not sent.
	s := open(t, cloudstore.Config{Host: "127.0.0.1", Port: 1, User: "u", Database: "d"})
	ok := segment("s", 1, 1, cloudstore.KindBase, "")
	with := func(change func(*cloudstore.Segment)) []cloudstore.Segment {
		seg := ok
		change(&seg)
		return []cloudstore.Segment{ok, seg}
	}
	big := make([]byte, cloudstore.MaxSegmentBytes+1)
	var group []cloudstore.Segment
	for seq := range uint64(7) {
		seg := segment("s", 1, seq+1, cloudstore.KindBase, "")
		seg.Data = big[1:]
		group = append(group, seg)
	}
	tests := []struct {
		name string
		segs []cloudstore.Segment
		want error
	}{
		{"big row", with(func(s *cloudstore.Segment) { s.Data = big }), cloudstore.ErrTooLarge},
		{"big group", group, cloudstore.ErrTooLarge},
		{"many rows", make([]cloudstore.Segment, cloudstore.MaxGroupRows+1), cloudstore.ErrTooLarge},
		{"no id", with(func(s *cloudstore.Segment) { s.SessionID = "" }), cloudstore.ErrBadSessionID},
		{"epoch 0", with(func(s *cloudstore.Segment) { s.Epoch = 0 }), cloudstore.ErrBadInput},
		{"seq 0", with(func(s *cloudstore.Segment) { s.Seq = 0 }), cloudstore.ErrBadInput},
		{"part 0", with(func(s *cloudstore.Segment) { s.Part = 0 }), cloudstore.ErrBadInput},
		{"part behind the last", with(func(s *cloudstore.Segment) { s.Part = 2 }), cloudstore.ErrBadInput},
		{"fence", with(func(s *cloudstore.Segment) { s.Kind = cloudstore.KindFence }), cloudstore.ErrBadInput},
		{"unknown kind", with(func(s *cloudstore.Segment) { s.Kind = "other" }), cloudstore.ErrBadInput},
		{"in order", []cloudstore.Segment{ok}, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			outcomes, err := s.AppendSegments(t.Context(), test.segs)
			if test.want == nil {
				if !cloudstore.IsUnavailable(err) {
					t.Fatalf("%v, want it to have been sent", err)
				}
				return
			}
			if !errors.Is(err, test.want) || outcomes != nil {
				t.Fatalf("%v, %v; want %v", outcomes, err, test.want)
			}
		})
	}
	if outcomes, err := s.AppendSegments(t.Context(), nil); outcomes != nil || err != nil {
		t.Errorf("nothing to append: %v, %v", outcomes, err)
	}
	creds := cloudstore.Credentials{SessionID: "s", Epoch: 1, Data: make([]byte, cloudstore.MaxCredentialsBytes+1)}
	if err := s.PutCredentials(t.Context(), creds); !errors.Is(err, cloudstore.ErrTooLarge) {
		t.Errorf("big credentials: %v", err)
	}
}

// The largest rows and group that are allowed go in.
func TestAppendLargest(t *testing.T) {
	s, _ := migrated(t)
	var segs []cloudstore.Segment
	for seq := range uint64(6) {
		seg := segment("large", 1, seq+1, cloudstore.KindBase, "")
		seg.Part, seg.Parts = uint16(seq+1), 6
		seg.Data = []byte(strings.Repeat("\x00'\\\xff", cloudstore.MaxSegmentBytes/4))
		segs = append(segs, seg)
	}
	appendAll(t, s, segs...)
	got := allSegments(t, s, "large", 1)
	if len(got) != len(segs) {
		t.Fatalf("%d rows, want %d", len(got), len(segs))
	}
	for i, seg := range got {
		if !bytes.Equal(seg.Data, segs[i].Data) {
			t.Errorf("row %d came back different", seg.Seq)
		}
	}
}

// The answer to the insert is lost: what stands says what happened. Small groups
// go as text, large ones in the binary protocol.
func TestAppendAnswerLost(t *testing.T) {
	for _, size := range []int{0, 20_000} {
		for _, afterwards := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d bytes, after commit %v", size, afterwards), func(t *testing.T) {
				testAppendAnswerLost(t, size, afterwards)
			})
		}
	}
}

func testAppendAnswerLost(t *testing.T, size int, afterwards bool) {
	direct, config := migrated(t)
	register(t, direct, "a")
	for _, id := range []string{"x", "y"} {
		mustTake(t, direct, id, "a")
		appendAll(t, direct, segment(id, 1, 1, cloudstore.KindBase, ""))
	}
	mustTake(t, direct, "y", "a") // fences y
	p := newProxy(t, config)
	s := open(t, p.config)
	salt := strings.Repeat("z", size)
	segs := []cloudstore.Segment{
		segment("x", 1, 2, cloudstore.KindDelta, salt), segment("x", 1, 3, cloudstore.KindDelta, salt),
		segment("y", 1, 2, cloudstore.KindDelta, salt),
	}
	p.cut("x/1/2/delta", afterwards) // the data, whichever way it is sent
	got, err := s.AppendSegments(t.Context(), segs)
	if err != nil {
		t.Fatal(err)
	}
	want := []cloudstore.Outcome{cloudstore.Absent, cloudstore.Absent, cloudstore.Fenced}
	if afterwards {
		want = []cloudstore.Outcome{cloudstore.Durable, cloudstore.Durable, cloudstore.Fenced}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
	if p.cuts() != 1 {
		t.Errorf("%d answers were cut off, want 1", p.cuts())
	}
	appendAll(t, s, segs[:2]...)
}

// The database stays away: nothing is known, and the error says so.
func TestAppendNoAnswerAtAll(t *testing.T) {
	direct, config := migrated(t)
	p := newProxy(t, config)
	s := open(t, p.config)
	appendAll(t, s, segment("x", 1, 1, cloudstore.KindBase, ""))
	p.down()
	_, err := s.AppendSegments(t.Context(), []cloudstore.Segment{segment("x", 1, 2, cloudstore.KindDelta, "")})
	if !cloudstore.IsUnavailable(err) {
		t.Errorf("append without database: %v, want unavailable", err)
	}
	p.up()
	appendAll(t, s, segment("x", 1, 2, cloudstore.KindDelta, ""))
	appendAll(t, direct, segment("x", 1, 2, cloudstore.KindDelta, ""))
}

// A canceled call returns promptly and leaves the pool usable.
func TestAppendCanceled(t *testing.T) {
	s, _ := migrated(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.AppendSegments(ctx, []cloudstore.Segment{segment("x", 1, 1, cloudstore.KindBase, "")}); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled append: %v", err)
	}
	appendAll(t, s, segment("x", 1, 1, cloudstore.KindBase, ""))
}

// Many writers at once, each with groups over its own sessions, some of the
// sessions in two writers' hands: of two different rows for one place exactly
// one is durable.
func TestAppendConcurrently(t *testing.T) {
	s, _ := migrated(t)
	const writers, rounds = 6, 15
	outcomes := make([][]cloudstore.Outcome, writers)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for round := range uint64(rounds) {
				var group []cloudstore.Segment
				for i := range 5 {
					group = append(group, segment(fmt.Sprintf("own %d/%d", w, i), 1, round+1, cloudstore.KindDelta, ""))
				}
				group = append(group, segment("shared", 1, round+1, cloudstore.KindDelta, fmt.Sprint(w)))
				got, err := s.AppendSegments(t.Context(), group)
				if err != nil {
					t.Errorf("writer %d: %v", w, err)
					return
				}
				for i, o := range got[:5] {
					if o != cloudstore.Durable {
						t.Errorf("writer %d, round %d, session %d: %v", w, round, i, o)
					}
				}
				outcomes[w] = append(outcomes[w], got[5])
			}
		})
	}
	wg.Wait()
	for round := range rounds {
		durable := 0
		for w := range writers {
			switch outcomes[w][round] {
			case cloudstore.Durable:
				durable++
			case cloudstore.Absent:
				t.Errorf("round %d: writer %d's row is absent", round, w)
			}
		}
		if durable != 1 {
			t.Errorf("round %d: %d writers own the shared place", round, durable)
		}
	}
}
