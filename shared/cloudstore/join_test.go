package cloudstore_test

import (
	"testing"

	"cloudsession/shared/cloudstore"
)

// A sync that runs may have read the session before the change that the next one is
// asked to save: they are two. What it does later takes nothing from the next one.
func TestSyncBesideOneThatRuns(t *testing.T) {
	s, _ := migrated(t)
	register(t, s, "a", "b")
	sync := command("x", cloudstore.CommandSync, "", "")
	again := func(what string, c cloudstore.Command, want string) {
		t.Helper()
		if got, created, err := s.CreateCommand(t.Context(), c); err != nil || created || got.ID != want {
			t.Errorf("%s: %s, %v, %v; want %s", what, got.ID, created, err, want)
		}
	}
	fresh := func() cloudstore.Command { return command("x", cloudstore.CommandSync, "", "") }
	claim := func(id string) {
		t.Helper()
		if _, ok, err := s.ClaimCommand(t.Context(), id, "a", "a/1"); err != nil || !ok {
			t.Fatal(ok, err)
		}
	}
	first := create(t, s, sync)
	claim(first.ID)
	again("the first itself, after a lost answer", sync, first.ID)
	second := create(t, s, fresh())
	again("twin of the one that waits", fresh(), second.ID)
	if err := s.RetargetCommand(t.Context(), first.ID, "a/1", "b"); err != nil {
		t.Fatal(err)
	}
	again("the first is handed on", fresh(), second.ID)
	claim(second.ID)
	again("the first itself, after a lost answer and a second", sync, first.ID)
	third := create(t, s, fresh())
	if err := s.FinishCommand(t.Context(), second.ID, "a/1", true, "", "", nil); err != nil {
		t.Fatal(err)
	}
	again("the second is done", fresh(), third.ID)
}

// A restore that runs brings about all that the next one asks for; so does a rekey.
func TestTwinOfOneThatRuns(t *testing.T) {
	s, _ := migrated(t)
	register(t, s, "a")
	for _, kind := range []string{cloudstore.CommandRestore, cloudstore.CommandRekey} {
		first := create(t, s, command("x", kind, "", ""))
		if _, ok, err := s.ClaimCommand(t.Context(), first.ID, "a", "a/1"); err != nil || !ok {
			t.Fatal(ok, err)
		}
		if twin, created, err := s.CreateCommand(t.Context(), command("x", kind, "", "")); err != nil || created || twin.ID != first.ID {
			t.Errorf("%s: %s, %v, %v; want %s", kind, twin.ID, created, err, first.ID)
		}
	}
}
