package manager

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"

	"go.mau.fi/whatsmeow/store/sqlstore"

	"cloudsession/connector/capture"
	"cloudsession/connector/replicate"
	"cloudsession/shared/cloudstore"
	"cloudsession/shared/envelope"
)

// The session was closed while it was synced, to be opened again here: what is asked
// for is a sync of the session, not of one term of it.
func TestSyncOfASessionThatIsOpenedAgain(t *testing.T) {
	o := newOffice(t)
	keys, err := envelope.NewKeyring("a secret of this test, 0123456789abcdef")
	if err != nil {
		t.Fatal(err)
	}
	r := replicate.New(o.direct, keys, replicate.Options{
		Credentials: func(context.Context, *sql.DB) ([]byte, error) { return nil, errors.New("there are none") },
		Log:         slog.New(slog.DiscardHandler),
	})
	t.Cleanup(r.Close)
	s, err := o.m.entry("x")
	if err != nil {
		t.Fatal(err)
	}
	first := o.term(r, 1)
	first.rep.Close()
	if err := first.rep.Flush(t.Context()); !termOver(err) {
		t.Errorf("the end of a term is not told from a failure: %v", err)
	}
	if err := o.m.backUpAgain(t.Context(), s, first); err != nil {
		t.Errorf("closed: %v, want it looked for again", err)
	}
	s.setCurrent(o.term(r, 2))
	if err := o.m.backUpAgain(t.Context(), s, first); err != nil {
		t.Errorf("opened again: %v, want it looked at again", err)
	}
	// The new term has no device yet, which only its own sync can tell.
	if err := o.m.Sync(t.Context(), "x"); !errors.Is(err, replicate.ErrNoDevice) {
		t.Errorf("the sync: %v", err)
	}
}

// term is a term of session x that holds no device.
func (o *office) term(r *replicate.Replicator, epoch uint64) *opened {
	o.t.Helper()
	f, err := capture.Open(o.t.Context(), filepath.Join(o.t.TempDir(), fmt.Sprint(epoch, ".db")), capture.Options{})
	if err != nil {
		o.t.Fatal(err)
	}
	o.t.Cleanup(func() {
		if err := f.Close(); err != nil {
			o.t.Error(err)
		}
	})
	if err := sqlstore.NewWithDB(f.DB(), "sqlite3", nil).Upgrade(o.t.Context()); err != nil {
		o.t.Fatal(err)
	}
	if _, err := f.Install(o.t.Context()); err != nil {
		o.t.Fatal(err)
	}
	rep, err := r.Attach(o.t.Context(), f, replicate.Term{SessionID: "x", Epoch: epoch, Start: replicate.StartNew, Backup: cloudstore.BackupFull})
	if err != nil {
		o.t.Fatal(err)
	}
	o.t.Cleanup(rep.Close)
	return &opened{taken: cloudstore.Taken{SessionID: "x", Epoch: epoch}, rep: rep, gone: make(chan struct{})}
}

func TestWhatEndsATerm(t *testing.T) {
	for err, want := range map[error]bool{
		replicate.ErrSealed: true, replicate.ErrClosed: true, replicate.ErrFenced: true, replicate.ErrBackupOff: true,
		nil: false, replicate.ErrNoDevice: false, context.DeadlineExceeded: false,
	} {
		if got := termOver(err); got != want {
			t.Errorf("%v: %v", err, got)
		}
	}
}
