package capture

import (
	"testing"
)

// The weight of the log survives the process and the term: a base begins it
// anew, a delta adds to it, and so does the first push of an epoch to its
// epochs.
func TestLogSizeIsKept(t *testing.T) {
	f := open(t, "", Options{})
	ctx := t.Context()
	push := func(p InFlight) {
		t.Helper()
		p.Tags = [][32]byte{{byte(p.Epoch), byte(p.FirstSeq)}}
		must(t, f.SetInFlight(ctx, p))
		for range 2 { // the second time changes nothing
			must(t, f.Acknowledge(ctx, p))
		}
	}
	check := func(want LogSize) {
		t.Helper()
		st, err := open(t, f.Path(), Options{}).State(ctx) // as another process reads it
		must(t, err)
		if st.Log != want {
			t.Errorf("log weighs %+v, want %+v", st.Log, want)
		}
	}
	begin(t, f, Begin{SessionID: "a", Epoch: 1})
	push(InFlight{Epoch: 1, FirstSeq: 1, Bytes: 100, Base: true})
	push(InFlight{Epoch: 1, FirstSeq: 2, Bytes: 10})
	check(LogSize{BaseBytes: 100, DeltaBytes: 10, Epochs: 1})
	begin(t, f, Begin{SessionID: "a", Epoch: 2})
	push(InFlight{Epoch: 2, FirstSeq: 1, Bytes: 20})
	push(InFlight{Epoch: 2, FirstSeq: 2, Bytes: 30})
	check(LogSize{BaseBytes: 100, DeltaBytes: 60, Epochs: 2})
	begin(t, f, Begin{SessionID: "a", Epoch: 3, Log: LogSize{BaseBytes: 7, DeltaBytes: 5, Epochs: 4}})
	check(LogSize{BaseBytes: 7, DeltaBytes: 5, Epochs: 4})
	push(InFlight{Epoch: 3, FirstSeq: 1, Bytes: 200, Base: true})
	check(LogSize{BaseBytes: 200, Epochs: 1})
}

// A file of an earlier version has a push in flight and knows no weights.
func TestFileWithoutLogSize(t *testing.T) {
	s := newSession(t, 1)
	ctx := t.Context()
	must(t, s.ops.Run(ctx, "PutSession"))
	c, _, err := s.Delta(ctx)
	must(t, err)
	p := s.inFlight(c)
	must(t, s.SetInFlight(ctx, p))
	for _, column := range []string{"state DROP COLUMN log_base", "state DROP COLUMN log_deltas", "state DROP COLUMN log_epochs", "in_flight DROP COLUMN bytes"} {
		exec(t, s.File, "ALTER TABLE cloudsession_"+column)
	}
	again := open(t, s.Path(), Options{})
	st, err := again.State(ctx)
	must(t, err)
	if st.InFlight == nil || st.InFlight.Bytes != 0 || st.Log != (LogSize{}) {
		t.Errorf("state %+v, in flight %+v", st, st.InFlight)
	}
	must(t, again.Acknowledge(ctx, *st.InFlight))
	if st, err := again.State(ctx); err != nil || st.Acked != p.Last() || st.Dirty {
		t.Errorf("state %+v, %v", st, err)
	}
}
