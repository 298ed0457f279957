package manager

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"cloudsession/connector/inbox"
	"cloudsession/connector/whatsapp"
	"cloudsession/infra/local/faultproxy"
	"cloudsession/shared/cloudstore"
)

// owing is an office with session x, which has ended and isn't open. Its application
// has not taken two messages: one is in the cloud, the other in this machine's file alone.
type owing struct {
	*office
	app *application
	s   *session
}

func newOwing(t *testing.T) *owing {
	t.Helper()
	o := &owing{office: furnished(t), app: &application{refuses: true}}
	o.m.opt.Webhook = o.app.hook(t)
	o.s = o.linked()
	if _, err := o.open(o.s); err != nil {
		t.Fatal(err)
	}
	cur := o.s.current()
	comes := func(id string) {
		t.Helper()
		m := inbox.Message{Chat: "1@lid", Sender: "1@lid", ID: id, Kind: "text", Text: id, SentAt: time.Now()}
		if _, err := cur.wa.Inbox().Add(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	comes("pushed")
	if err := cur.rep.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	o.proxy.Set(faultproxy.Fault{Cut: true})
	comes("unpushed")
	o.s.setCurrent(nil)
	if err := cur.shut(); err != nil {
		t.Fatal(err)
	}
	o.proxy.Set(faultproxy.Fault{})
	if err := o.direct.End(t.Context(), "x", cur.taken.Epoch, cloudstore.Ending{
		State: string(whatsapp.StateLoggedOut), Detail: "by the phone", Wanted: cloudstore.WantedRest,
	}); err != nil {
		t.Fatal(err)
	}
	return o
}

// closeUntil closes the session by hand. At the statement with that number, counted
// from 1, TiDB goes away, before or after it has carried it out, and whoever asked
// goes with it. It returns how many statements there were.
func (o *owing) closeUntil(number int, action faultproxy.Action) (statements int, err error) {
	o.t.Helper()
	if err := o.m.opt.Lease.Renew(o.t.Context()); err != nil {
		o.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(o.t.Context())
	defer cancel()
	if number > 0 {
		o.m.stopTime = time.Second // what nobody interrupts; that it is too little breaks it off elsewhere
	}
	o.onStatement(func(st faultproxy.Statement) faultproxy.Verdict {
		if digest := st.Digest(); st.Kind == faultproxy.Prepare || digest == "ROLLBACK" || strings.HasPrefix(digest, "SET ") {
			return faultproxy.Verdict{}
		}
		if statements++; statements != number {
			return faultproxy.Verdict{}
		}
		return faultproxy.Verdict{Action: action, Then: func() {
			o.proxy.Set(faultproxy.Fault{Cut: true})
			cancel()
		}}
	})
	err = o.m.Local().Close(ctx, "x")
	o.onStatement(nil)
	o.proxy.Set(faultproxy.Fault{})
	o.m.stopTime = longStop
	return statements, err
}

// owed reports whether somebody is going to deliver both messages: a connector that
// finds the owner row, or this one from a file that is set aside.
func (o *owing) owed() bool {
	o.t.Helper()
	if o.owner().Wanted == cloudstore.WantedRest {
		return true
	}
	files, err := filepath.Glob(filepath.Join(o.s.files.dir, "aside", "*.db"))
	if err != nil {
		o.t.Fatal(err)
	}
	for _, path := range files {
		l, err := openLeftover(o.t.Context(), path)
		if err != nil {
			o.t.Fatal(err)
		}
		if l == nil {
			continue
		}
		if err := l.file.Close(); err != nil {
			o.t.Error(err)
		}
		if l.all {
			return true
		}
	}
	return false
}

// isDelivered wants the application to get what it is owed, and the session closed. If
// the row could not be freed once the file was set aside, both owe it: then it comes
// again, under its key.
func (o *owing) isDelivered(goOn func() error) {
	o.t.Helper()
	o.app.refuse(false)
	l := o.m.newLeftovers()
	defer l.stop()
	want := []string{"x pushed", "x unpushed"}
	eventually(o.t, "delivered and closed", func() bool {
		if err := goOn(); err != nil {
			o.t.Log(err)
			return false
		}
		l.pass(o.t.Context())
		o.app.mu.Lock()
		defer o.app.mu.Unlock()
		return len(firsts(o.app.ids)) >= len(want) && o.owner().Wanted == cloudstore.WantedClosed
	})
	o.app.wait(o.t, "counted", func(_ int, ids []string) bool { return slices.Equal(firsts(ids), want) })
}

// closeAgain is what who has asked in vain does.
func (o *owing) closeAgain() error {
	if err := o.m.Local().Close(o.t.Context(), "x"); !errors.Is(err, ErrNotOpen) {
		return err
	}
	return nil
}

// beat is what the connector does by itself.
func (o *owing) beat() error {
	if err := o.m.opt.Lease.Renew(o.t.Context()); err != nil {
		return err
	}
	o.s.succeeded() // not less and less often
	return errors.Join(o.m.compare(o.t.Context()), o.m.sweep(o.t.Context()))
}

// Closing what is left of a session breaks off at any of its statements. Whether or not
// TiDB has carried that out, what is owed stays owed, and the application gets it: when
// the session is closed again, or from the heartbeats.
func TestClosingTheRestBreaksOff(t *testing.T) {
	whole := newOwing(t)
	n, err := whole.closeUntil(0, faultproxy.Pass)
	if err != nil || whole.owner().Wanted != cloudstore.WantedClosed {
		t.Fatalf("closed: %v, %+v", err, whole.owner())
	}
	whole.isDelivered(func() error { return nil })
	for _, c := range breaks(t, n) {
		t.Run(fmt.Sprintf("%s statement %d of %d, %s", c.when, c.number, n, c.then), func(t *testing.T) {
			o := newOwing(t)
			action, goOn := faultproxy.FailBefore, o.beat
			if c.when == "after" {
				action = faultproxy.FailAfter
			}
			if c.then == "closed again" {
				goOn = o.closeAgain
			}
			if _, err := o.closeUntil(c.number, action); err == nil && o.owner().Wanted != cloudstore.WantedClosed {
				t.Errorf("it is said to be closed: %+v", o.owner())
			}
			if !o.owed() {
				t.Errorf("nobody owes the messages any more: %+v", o.owner())
			}
			o.isDelivered(goOn)
		})
	}
}

type breaking struct {
	when, then string
	number     int // of the statement
}

// breaks are some ways to break off at one of n statements, chosen by CLOUDSESSION_SEED
// if that is set, or, with CRASHMATRIX=all, all of them.
func breaks(t *testing.T, n int) (all []breaking) {
	t.Helper()
	for number := range n {
		for _, when := range []string{"before", "after"} {
			for _, then := range []string{"closed again", "heartbeats"} {
				all = append(all, breaking{when, then, number + 1})
			}
		}
	}
	if os.Getenv("CRASHMATRIX") == "all" {
		return all
	}
	seed := rand.Uint64()
	if text := os.Getenv("CLOUDSESSION_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("CLOUDSESSION_SEED: %v", err)
		}
	}
	t.Logf("CLOUDSESSION_SEED=%d (CRASHMATRIX=all runs all %d)", seed, len(all))
	rand.New(rand.NewPCG(seed, 0)).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all[:min(inTest, len(all))]
}

// inTest is how many of them an ordinary run has time for.
const inTest = 12
