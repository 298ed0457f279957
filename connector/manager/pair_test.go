package manager

import (
	"context"
	"testing"

	"cloudsession/connector/control"
	"cloudsession/connector/replicate"
)

// The client goes away between the link's record and whatsmeow's word that there is
// one: the session is kept, and has to be opened, since its pairing won't log in.
func TestPairingThatBreaksOffOnceLinked(t *testing.T) {
	o := furnished(t)
	s, err := o.m.entry("x")
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	if err := o.m.openLocked(t.Context(), s, openRequest{reason: "pair", create: true}); err != nil {
		t.Fatal(err)
	}
	linkDevice(t, s.current().file.DB())
	var told []string
	err = o.m.pairingFailed(s, context.Canceled, func(e control.PairEvent) { told = append(told, e.Kind) })
	s.mu.Unlock()
	if err != nil || len(told) != 1 || told[0] != "paired" {
		t.Fatalf("%v, told %q", err, told)
	}
	if s.current() != nil {
		t.Fatal("it is held without a socket, for good")
	}
	eventually(t, "the session to be opened", func() bool {
		if err := o.m.compare(t.Context()); err != nil { // as each heartbeat does: one opening may fail
			t.Fatal(err)
		}
		cur := s.current()
		return cur != nil && cur.wa.Paired()
	})
	if cur := s.current(); cur.taken.Start != replicate.StartOwnFile {
		t.Errorf("it starts %s", cur.taken.Start)
	}
}
