package manager

import (
	"bytes"
	"context"
	"sync"
	"testing"
	"time"

	"cloudsession/connector/replicate"
	"cloudsession/infra/local/faultproxy"
	"cloudsession/infra/local/sqsemu"
	"cloudsession/shared/cloudstore"
	"cloudsession/shared/command"
)

// taken takes session "x" for this connector.
func (o *office) taken() cloudstore.Taken {
	o.t.Helper()
	taken, err := o.direct.Take(o.t.Context(), cloudstore.TakeRequest{
		SessionID: "x", ConnectorID: "me", Incarnation: o.m.opt.Lease.Incarnation(), Reason: "test", MayCreate: true,
		Nonce: [16]byte{1},
		Judge: func(context.Context, cloudstore.Parent) (string, error) { return replicate.StartNew, nil },
	})
	if err != nil {
		o.t.Fatal(err)
	}
	return taken
}

// deletedInAPush makes session "x" of this connector's, which was deleted from the
// cloud while a push was on its way: parts of it stand there all the same.
func (o *office) deletedInAPush() cloudstore.Taken {
	o.t.Helper()
	taken := o.taken()
	row := func(seq uint64, kind cloudstore.SegmentKind, part, parts uint16) cloudstore.Segment {
		return cloudstore.Segment{
			SessionID: "x", Epoch: taken.Epoch, Seq: seq, Kind: kind, Part: part, Parts: parts, Data: []byte("data"), Tag: [32]byte{byte(seq)},
		}
	}
	creds := cloudstore.Credentials{SessionID: "x", Data: []byte("data"), Epoch: taken.Epoch}
	if _, err := o.direct.AppendFirstBase(o.t.Context(), row(1, cloudstore.KindBase, 1, 1), creds); err != nil {
		o.t.Fatal(err)
	}
	if err := o.direct.DeleteSession(o.t.Context(), "x"); err != nil {
		o.t.Fatal(err)
	}
	late := []cloudstore.Segment{row(2, cloudstore.KindDelta, 1, 3), row(3, cloudstore.KindDelta, 2, 3), row(4, cloudstore.KindDelta, 3, 3)}
	if got, err := o.direct.AppendSegments(o.t.Context(), late); err != nil || got[0] != cloudstore.Fenced {
		o.t.Fatalf("late push: %v, %v", got, err)
	}
	if left, marks := o.leftInLog(taken); left == 0 || marks == 0 {
		o.t.Fatalf("of the late push %d rows are left, and %d marks: this test shows nothing", left, marks)
	}
	return taken
}

// leftInLog counts the rows of a term that have data, and those that have none.
func (o *office) leftInLog(taken cloudstore.Taken) (data, marks int) {
	o.t.Helper()
	rows, err := o.direct.Segments(o.t.Context(), "x", taken.Epoch, 1, 100)
	if err != nil {
		o.t.Fatal(err)
	}
	for _, row := range rows {
		if len(row.Data) > 0 {
			data++
		} else {
			marks++
		}
	}
	return data, marks
}

// The owner, who finds out why his push was refused, removes what is left of it.
func TestOwnerFinishesDelete(t *testing.T) {
	o := newOffice(t)
	taken := o.deletedInAPush()
	s, err := o.m.entry("x")
	if err != nil {
		t.Fatal(err)
	}
	held := &opened{taken: taken}
	o.m.fenced(s, held)
	if !held.local.Load() {
		t.Error("the session doesn't go on locally")
	}
	if left, marks := o.leftInLog(taken); left != 0 || marks == 0 {
		t.Errorf("%d rows are left, and %d marks", left, marks)
	}
}

// Where its owner has gone every connector that runs does, if not at the first try.
func TestConnectorFinishesDeletes(t *testing.T) {
	o := newOffice(t)
	taken := o.deletedInAPush()
	if err := o.direct.Release(t.Context(), "x", taken.Epoch, "", 0, cloudstore.WantedClosed); err != nil {
		t.Fatal(err)
	}
	o.withQueue()
	o.onStatement(func(st faultproxy.Statement) (v faultproxy.Verdict) {
		if bytes.Contains(st.Message, []byte("backup = 'off'")) {
			v.Action = faultproxy.FailBefore
		}
		return v
	})
	o.m.finishEvery = time.Second
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() {
		if err := o.m.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	eventually(t, "a try fails", func() bool {
		o.m.mu.Lock()
		defer o.m.mu.Unlock()
		return !o.m.said["finish deletes"].IsZero()
	})
	if left, _ := o.leftInLog(taken); left == 0 {
		t.Error("somebody else removes them: this test shows nothing")
	}
	o.onStatement(nil)
	eventually(t, "rows are gone", func() bool {
		left, _ := o.leftInLog(taken)
		return left == 0
	})
}

// withQueue gives the manager a queue, as it needs to run.
func (o *office) withQueue() {
	o.t.Helper()
	emu := &sqsemu.Server{}
	if _, err := emu.Listen(o.t.Context(), "127.0.0.1:0"); err != nil {
		o.t.Fatal(err)
	}
	o.t.Cleanup(func() {
		if err := emu.Close(); err != nil {
			o.t.Error(err)
		}
	})
	queue, err := command.NewSQS(command.SQSConfig{Endpoint: emu.URL()})
	if err != nil {
		o.t.Fatal(err)
	}
	o.m.opt.Queue, o.m.opt.QueueName = queue, command.QueueName("test", "me")
}
