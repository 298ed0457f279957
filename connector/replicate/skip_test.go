package replicate

import (
	"testing"

	"cloudsession/connector/capture"
	"cloudsession/shared/cloudstore"
	"cloudsession/shared/sessionlog"
)

// Behind epochs that left no row, a file that knows the log's last row need not be the
// newest. All of them have parent 1/1.
func TestOwnFileBehindEmptyEpochs(t *testing.T) {
	tag := [32]byte{7}
	for _, c := range []struct {
		what            string
		file            uint64 // the file's epoch
		epoch           uint64 // the parent's
		start           string
		resume, atLeast bool
	}{
		{"an interrupted start from it", 1, 2, StartOwnFile, true, true},
		// A sealed 1/1; B went on exactly in 2, sent, and pushed nothing; B's own-file
		// start of 3 came to nothing. A's file is of epoch 1.
		{"two of them, or another's exact term and one", 1, 3, StartOwnFile, false, true},
		{"an exact term", 1, 2, StartExact, false, false},
		{"a safe term", 1, 2, StartSafe, false, true},
		// The file's own term, 2, left no row either. What the file holds and the log
		// doesn't is not lost.
		{"its own term", 2, 2, StartOwnFile, true, true},
		{"its own term and an interrupted start from it", 2, 3, StartOwnFile, true, true},
		{"its own term and an exact one", 2, 3, StartExact, false, false},
		{"its own term and a safe one", 2, 3, StartSafe, false, true},
		{"its own term and two more", 2, 4, StartOwnFile, false, false},
	} {
		state := capture.State{SessionID: "s", Epoch: c.file, BootID: "b", Inode: 9, Acked: sessionlog.Cursor{Epoch: 1, Seq: 1, Tag: tag}}
		parent := cloudstore.Parent{
			Owner:   cloudstore.Owner{SessionID: "s", ConnectorID: "A", Epoch: c.epoch, Backup: cloudstore.BackupFull},
			Epoch:   cloudstore.Epoch{SessionID: "s", Epoch: c.epoch, ParentEpoch: 1, ParentSeq: 1, ConnectorID: "A", Start: c.start},
			LastTag: tag, Contiguous: true, HasLog: true, HasCredentials: true,
		}
		if got := CanResumeOwnFile(state, parent, "b", 9); got != c.resume {
			t.Errorf("behind %s: resumed %t", c.what, got)
		}
		if got := HoldsNewest(state, parent, 9); got != c.atLeast {
			t.Errorf("behind %s: begun with %t", c.what, got)
		}
	}
}
