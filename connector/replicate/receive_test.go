package replicate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"go.mau.fi/whatsmeow/types"
	"golang.org/x/sys/unix"

	"cloudsession/connector/watest"
	"cloudsession/connector/whatsapp"
	"cloudsession/shared/cloudstore"
)

// BenchmarkReceive: messages from phones to linked sessions, whatsmeow and all, each acknowledged once a store that
// answers in 5 ms has it (A1). One op is one message; without=true is the same with messages acknowledged once they
// are in the session file. The phones encrypt before the clock starts: what is left of the simulated service in the
// result are its sockets and its book-keeping.
func BenchmarkReceive(b *testing.B) {
	for _, sessions := range []int{1, 50} {
		for _, without := range []bool{false, true} {
			b.Run(fmt.Sprintf("sessions=%d/without=%v", sessions, without), func(b *testing.B) {
				benchmarkReceive(b, sessions, without)
			})
		}
	}
}

func benchmarkReceive(b *testing.B, sessions int, without bool) {
	g := newRig(b, slowMemory{newMemory()}, defaults)
	service := new(watest.Service)
	addr, err := service.Listen("127.0.0.1:0")
	g.must(err)
	b.Cleanup(func() { g.must(service.Close()) })
	endpoint := whatsapp.Endpoint{Addr: addr.String(), RootKey: service.RootKey()}
	all := make([]*receiver, sessions)
	held := make([]*watest.Rule, sessions)
	for i := range all {
		r := g.receiver(service, endpoint, i, without)
		all[i], held[i] = r, service.Faults().Hold(&r.device, watest.ToDevice, watest.Tag("message"))
		for n := i; n < b.N; n += sessions {
			_, err := r.peer.SendText(b.Context(), r.owner.PN(), fmt.Sprint("message ", n))
			g.must(err)
		}
	}
	b.ResetTimer()
	before := processorTime(b)
	for _, rule := range held {
		rule.Remove()
	}
	for _, r := range all {
		g.must(service.Wait(b.Context(), func() bool { return service.Device(r.device).Queued == 0 }))
	}
	used := processorTime(b) - before
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
	b.ReportMetric(float64(used.Microseconds())/float64(b.N), "cpu-µs/message")
}

// processorTime is what this process has used of the processor so far.
func processorTime(t testing.TB) time.Duration {
	t.Helper()
	var used unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err != nil {
		t.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// A message that comes in after somebody else has taken the session is not acknowledged, however often it comes: it is
// the new owner's (A1).
func TestTakenSessionAcknowledgesNothing(t *testing.T) {
	g := newRig(t, newMemory())
	service := new(watest.Service)
	addr, err := service.Listen("127.0.0.1:0")
	g.must(err)
	t.Cleanup(func() { g.must(service.Close()) })
	r := g.receiver(service, whatsapp.Endpoint{Addr: addr.String(), RootKey: service.RootKey()}, 0, false)
	g.take(r.live.id, false, func(cloudstore.Parent) string { return StartSafe })
	logins := service.Device(r.device).Logins
	id, err := r.peer.SendText(g.limit(), r.owner.PN(), "for the new owner")
	g.must(err)
	g.must(service.Wait(g.limit(), func() bool { return service.Device(r.device).Logins >= logins+3 }))
	if err := r.live.repl.Err(); !errors.Is(err, ErrFenced) {
		t.Errorf("the log has ended with %v", err)
	}
	for _, m := range service.Copies(r.device) {
		if m.ID == id && m.Confirmed {
			t.Error("acknowledged by a session that is somebody else's")
		}
	}
}

// receiver is a linked session that receives, and the phone that writes to it.
type receiver struct {
	owner, peer *watest.Phone
	device      types.JID
	live        *live
}

func (g *rig) receiver(service *watest.Service, endpoint whatsapp.Endpoint, n int, without bool) *receiver {
	g.Helper()
	owner, err := service.NewPhone(fmt.Sprintf("62811000%04d", n), "Owner")
	g.must(err)
	peer, err := service.NewPhone(fmt.Sprintf("62812000%04d", n), "Peer")
	g.must(err)
	l := g.newSession(fmt.Sprint("bench", n))
	config := whatsapp.Config{SessionID: l.id, File: l.file, Endpoint: endpoint, Log: slog.New(slog.DiscardHandler)}
	if !without {
		config.Durable = func(ctx context.Context) error { return l.repl.WaitDurable(ctx) }
	}
	wa, err := whatsapp.Open(g.limit(), config)
	g.must(err)
	g.Cleanup(func() { g.must(wa.Stop(context.Background())) })
	l.attach(Term{Start: StartNew})
	events, err := wa.Pair(g.limit(), whatsapp.PairRequest{})
	g.must(err)
	for e := range events {
		if e.Kind == whatsapp.PairQR {
			_, err := owner.ScanQR(g.limit(), e.Text)
			g.must(err)
		}
	}
	l.flush()
	r := &receiver{owner, peer, owner.Devices()[0], l}
	// The session between the two is opened before anything is measured.
	_, err = peer.SendText(g.limit(), owner.PN(), "hello")
	g.must(err)
	g.must(service.Wait(g.limit(), func() bool { return service.Device(r.device).Queued == 0 }))
	return r
}
