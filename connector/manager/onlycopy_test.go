package manager

import (
	"testing"

	"cloudsession/connector/capture"
	"cloudsession/connector/ownership"
	"cloudsession/connector/replicate"
	"cloudsession/shared/cloudstore"
)

// A file that is all there is of a session is gone on from, and no other is.
func TestOnlyCopy(t *testing.T) {
	m := &Manager{opt: Options{Lease: &ownership.Lease{}}} // its connector's id is empty
	owner := cloudstore.Owner{SessionID: "x", Epoch: 3, Backup: cloudstore.BackupFull}
	off, others := owner, owner
	off.Backup, others.ConnectorID = cloudstore.BackupOff, "another"
	epoch := func(start, reason string) cloudstore.Epoch {
		return cloudstore.Epoch{Epoch: 3, Start: start, Reason: reason}
	}
	for name, c := range map[string]struct {
		file   uint64 // its epoch; 0 for no file
		parent cloudstore.Parent
		want   bool
	}{
		"no file":                         {0, cloudstore.Parent{Owner: off, Epoch: epoch(replicate.StartSafe, "")}, false},
		"backup is off":                   {1, cloudstore.Parent{Owner: off, Epoch: epoch(replicate.StartSafe, "")}, true},
		"parts of a first base stand":     {3, cloudstore.Parent{Owner: owner, Epoch: epoch(replicate.StartNew, "pair"), HasLog: true}, true},
		"credentials stand":               {3, cloudstore.Parent{Owner: owner, Epoch: epoch(replicate.StartNew, "pair"), HasCredentials: true}, false},
		"pairing not pushed":              {3, cloudstore.Parent{Owner: owner, Epoch: epoch(replicate.StartNew, "pair")}, true},
		"new identity, an older one's":    {2, cloudstore.Parent{Owner: owner, Epoch: epoch(replicate.StartNew, "pair")}, false},
		"first backup after a DELETE":     {2, cloudstore.Parent{Owner: owner, Epoch: epoch(replicate.StartNew, reasonAgain)}, true},
		"the start after that, cut short": {2, cloudstore.Parent{Owner: owner, Epoch: epoch(replicate.StartSafe, reasonSweep)}, true},
		"another connector's term":        {2, cloudstore.Parent{Owner: others, Epoch: epoch(replicate.StartNew, reasonAgain)}, false},
	} {
		p := &prior{state: capture.State{SessionID: "x", Epoch: c.file}}
		if c.file > 0 {
			p.file = &capture.File{}
		}
		if got := m.onlyCopy(p, c.parent); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
