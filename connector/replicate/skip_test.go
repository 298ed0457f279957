package replicate

import (
	"testing"

	"cloudsession/connector/capture"
	"cloudsession/shared/cloudstore"
	"cloudsession/shared/sessionlog"
)

// The file's own term, 2, left no row, as its parent 1/1 had all there was; then a start
// from it was interrupted. What the file holds and the log doesn't is not lost.
func TestOwnFileOfAnEmptyTermBehindAnInterruptedStart(t *testing.T) {
	tag := [32]byte{7}
	state := capture.State{SessionID: "s", Epoch: 2, BootID: "b", Inode: 9, Acked: sessionlog.Cursor{Epoch: 1, Seq: 1, Tag: tag}}
	parent := func(epoch uint64, start string) cloudstore.Parent {
		return cloudstore.Parent{
			Owner:   cloudstore.Owner{SessionID: "s", ConnectorID: "A", Epoch: epoch, Backup: cloudstore.BackupFull},
			Epoch:   cloudstore.Epoch{SessionID: "s", Epoch: epoch, ParentEpoch: 1, ParentSeq: 1, ConnectorID: "A", Start: start},
			LastTag: tag, Contiguous: true, HasLog: true, HasCredentials: true,
		}
	}
	for _, c := range []struct {
		what            string
		parent          cloudstore.Parent
		resume, atLeast bool
	}{
		{"no other term", parent(2, StartOwnFile), true, true},
		{"an interrupted start from it", parent(3, StartOwnFile), true, true},
		{"an exact term", parent(3, StartExact), false, false},
		{"a safe term", parent(3, StartSafe), false, true},
		{"two terms", parent(4, StartOwnFile), false, false},
	} {
		if got := CanResumeOwnFile(state, c.parent, "b", 9); got != c.resume {
			t.Errorf("behind %s: resumed %t", c.what, got)
		}
		if got := HoldsNewest(state, c.parent, 9); got != c.atLeast {
			t.Errorf("behind %s: begun with %t", c.what, got)
		}
	}
}

// Epochs that left no row hide who used the ratchets in them. A sealed 1/1; B went
// on exactly in 2, sent, and pushed nothing; B's own-file start of 3 came to
// nothing. A's file of epoch 1 knows the log's last row, and is not the newest.
func TestOwnFileBehindEmptyEpochs(t *testing.T) {
	tag := [32]byte{7}
	state := capture.State{SessionID: "s", Epoch: 1, BootID: "b", Inode: 9, Acked: sessionlog.Cursor{Epoch: 1, Seq: 1, Tag: tag}}
	parent := func(epoch uint64, start string) cloudstore.Parent {
		return cloudstore.Parent{
			Owner:   cloudstore.Owner{SessionID: "s", ConnectorID: "B", Epoch: epoch, Backup: cloudstore.BackupFull},
			Epoch:   cloudstore.Epoch{SessionID: "s", Epoch: epoch, ParentEpoch: 1, ParentSeq: 1, ConnectorID: "B", Start: start},
			LastTag: tag, Contiguous: true, HasLog: true, HasCredentials: true,
		}
	}
	for _, c := range []struct {
		what            string
		parent          cloudstore.Parent
		resume, atLeast bool
	}{
		{"an interrupted start from it", parent(2, StartOwnFile), true, true},
		{"two of them, or another's exact term and one", parent(3, StartOwnFile), false, true},
		{"an exact term", parent(2, StartExact), false, false},
		{"a safe term", parent(2, StartSafe), false, true},
	} {
		if got := CanResumeOwnFile(state, c.parent, "b", 9); got != c.resume {
			t.Errorf("behind %s: resumed %t", c.what, got)
		}
		if got := HoldsNewest(state, c.parent, 9); got != c.atLeast {
			t.Errorf("behind %s: begun with %t", c.what, got)
		}
	}
}
