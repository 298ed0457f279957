package cloudstore_test

import (
	"errors"
	"testing"

	"cloudsession/shared/cloudstore"
)

// A copy that was deleted is not there again because somebody says so.
func TestSetBackupAfterDelete(t *testing.T) {
	s, _ := migrated(t)
	register(t, s, "a")
	taken := mustTake(t, s, "x", "a")
	row := segment("x", taken.Epoch, 1, cloudstore.KindBase, "")
	if _, err := s.AppendFirstBase(t.Context(), row, cloudstore.Credentials{SessionID: "x", Data: []byte("c"), Epoch: taken.Epoch}); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteSession(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	for _, backup := range []string{cloudstore.BackupFull, cloudstore.BackupCredentials} {
		if err := s.SetBackup(t.Context(), "x", backup); !errors.Is(err, cloudstore.ErrCopyDeleted) {
			t.Errorf("%s: %v", backup, err)
		}
	}
	if o, err := s.Owner(t.Context(), "x"); err != nil || o.Backup != cloudstore.BackupOff {
		t.Errorf("backup is %q, %v", o.Backup, err)
	}
}

// A term that forgets its parent has no log before it, and neither has what follows.
func TestForgetParent(t *testing.T) {
	s, _ := migrated(t)
	register(t, s, "a")
	first := mustTake(t, s, "x", "a")
	appendAll(t, s, segment("x", first.Epoch, 1, cloudstore.KindBase, ""))
	second := mustTake(t, s, "x", "a")
	if second.ParentSeq != 1 {
		t.Fatalf("parent %d.%d", second.ParentEpoch, second.ParentSeq)
	}
	for range 2 {
		if err := s.ForgetParent(t.Context(), "x", second.Epoch); err != nil {
			t.Fatal(err)
		}
	}
	third := mustTake(t, s, "x", "a")
	if third.ParentEpoch != 0 || third.ParentSeq != 0 || third.Parent.HasLog || third.Parent.Damaged {
		t.Errorf("taken %+v", third)
	}
}
