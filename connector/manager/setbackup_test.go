package manager

import (
	"os"
	"strings"
	"testing"
	"time"

	"cloudsession/connector/inbox"
	"cloudsession/infra/local/faultproxy"
	"cloudsession/shared/cloudstore"
)

// The first start that keeps the credentials alone fails, at any statement that it sends
// once the session is taken. What only the log has, messages that the application has not
// taken among it, is there for the next start all the same.
func TestFirstStartWithCredentialsAloneFails(t *testing.T) {
	for _, refused := range []string{
		"UPDATE session_epochs SET parent_epoch = 0", // that the log is not gone on from
		"UPDATE whatsapp_sessions SET session_data",  // the credentials
	} {
		t.Run(refused, func(t *testing.T) {
			o := furnished(t)
			s := o.linked()
			if _, err := o.open(s); err != nil {
				t.Fatal(err)
			}
			m := inbox.Message{Chat: "1@lid", Sender: "1@lid", ID: "owed", Kind: "text", Text: "owed", SentAt: time.Now()}
			if _, err := s.current().wa.Inbox().Add(t.Context(), m); err != nil {
				t.Fatal(err)
			}
			o.closes(s)
			if err := os.RemoveAll(s.files.dir); err != nil {
				t.Fatal(err)
			}
			if err := o.direct.SetBackup(t.Context(), "x", cloudstore.BackupCredentials); err != nil {
				t.Fatal(err)
			}

			o.m.baseTime = time.Second
			o.onStatement(func(st faultproxy.Statement) (v faultproxy.Verdict) {
				if strings.Contains(st.Text, refused) {
					v.Action = faultproxy.FailBefore
				}
				return v
			})
			if _, err := o.open(s); err == nil {
				t.Fatal("it was opened")
			}
			o.onStatement(nil)
			o.m.baseTime = baseTime
			if owner := o.owner(); owner.ConnectorID != "" || owner.Wanted != cloudstore.WantedOpen {
				t.Errorf("after it failed: %+v", owner)
			}
			if err := o.m.opt.Lease.Renew(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := o.open(s); err != nil {
				t.Fatal(err)
			}
			list, err := s.current().wa.Inbox().Last(t.Context(), 3)
			if err != nil || len(list) != 1 || list[0].ID != "owed" {
				t.Errorf("the next start has %v, %v", list, err)
			}
			if _, err := o.direct.Lineage(t.Context(), "x", s.current().taken.Epoch); err != nil {
				t.Error(err)
			}
			if e, err := o.direct.Epochs(t.Context(), "x"); err != nil || e[0].ParentEpoch != 0 {
				t.Errorf("the log is still gone on from: %+v, %v", e, err)
			}
		})
	}
}

// keeping is an office with session x open, of which the credentials alone are kept.
func keeping(t *testing.T) (*office, *session) {
	t.Helper()
	o := furnished(t)
	s := o.linked()
	if err := o.direct.SetBackup(t.Context(), "x", cloudstore.BackupCredentials); err != nil {
		t.Fatal(err)
	}
	if _, err := o.open(s); err != nil {
		t.Fatal(err)
	}
	return o, s
}

// Where the credentials alone are kept the next start on the same machine is safe, and
// has all that its file has: what is promised to be sent, and what came in.
func TestCredentialsAloneKeepTheFile(t *testing.T) {
	for _, how := range []string{"closed", "crashed"} {
		t.Run(how, func(t *testing.T) {
			o, s := keeping(t)
			cur := s.current()
			if _, _, err := cur.wa.Inbox().Reserve(t.Context(), "m", "m", "6281244445555@s.whatsapp.net", "text"); err != nil {
				t.Fatal(err)
			}
			if how == "closed" {
				o.closes(s)
			} else {
				s.setCurrent(nil)
				if err := cur.shut(); err != nil {
					t.Fatal(err)
				}
			}
			if start, err := o.open(s); err != nil || start != cloudstore.StartSafe {
				t.Fatalf("starts %s, %v", start, err)
			}
			if list, err := s.current().wa.Inbox().Unfinished(t.Context()); err != nil || len(list) != 1 {
				t.Errorf("%d sends are to be repeated, %v; want the one that was promised", len(list), err)
			}
		})
	}
}

// Its copy is deleted from the cloud, which no push shows. It stays its connector's, whose
// file is the only copy.
func TestDeletedWithCredentialsAlone(t *testing.T) {
	o, s := keeping(t)
	if err := o.direct.DeleteSession(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	err := o.m.closeInTime(t.Context(), s, release{reserveFor: "me", wanted: cloudstore.WantedOpen})
	s.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	if owner := o.owner(); owner.ConnectorID != "me" || owner.Backup != cloudstore.BackupOff {
		t.Errorf("it is %q's, backup %s", owner.ConnectorID, owner.Backup)
	}
	if _, err := o.open(s); err != nil {
		t.Errorf("opened again: %v", err)
	}
}
