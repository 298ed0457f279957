package manager

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"cloudsession/infra/local/tidbtest"
	"cloudsession/shared/cloudstore"
	"cloudsession/shared/envelope"
)

// copied is an office with session x in the cloud alone, closed.
func copied(t *testing.T) (*office, *sql.DB) {
	t.Helper()
	o := furnished(t)
	s := o.linked()
	if _, err := o.open(s); err != nil {
		t.Fatal(err)
	}
	if err := o.m.Local().Close(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(s.files.dir); err != nil {
		t.Fatal(err)
	}
	return o, tidbtest.Open(t, o.config)
}

// exec runs statements of the test's own.
func (o *office) exec(db *sql.DB, query string, args ...any) {
	o.t.Helper()
	if _, err := db.ExecContext(o.t.Context(), query, args...); err != nil {
		o.t.Fatal(err)
	}
}

// opensAs wants an opening to fail with one of some codes, and to leave the session free and closed.
func (o *office) opensAs(what string, codes ...string) {
	o.t.Helper()
	if err := o.m.opt.Lease.Renew(o.t.Context()); err != nil {
		o.t.Fatal(err)
	}
	_, err := o.m.Local().Open(o.t.Context(), "x")
	if code, _ := outcomeOf(err); !slices.Contains(codes, code) {
		o.t.Errorf("%s: it opens with %q (%v); want one of %q", what, code, err, codes)
	}
	owner := o.owner()
	if owner.ConnectorID != "" || owner.Wanted != cloudstore.WantedClosed || owner.State != string(StateFailed) {
		o.t.Errorf("%s: afterwards it is %q's, wanted %s, %s", what, owner.ConnectorID, owner.Wanted, owner.State)
	}
}

// damages are ways in which a row may be hurt: a bit anywhere, more of them where the
// header is; cut short; not there.
func damages(data []byte) map[string][]byte {
	all := map[string][]byte{"empty": {}}
	for i := range data {
		if i >= 64 && i%(len(data)/8) != 0 {
			continue
		}
		changed := slices.Clone(data)
		changed[i] ^= 1 << (i % 8)
		all[fmt.Sprintf("byte %d of %d changed", i, len(data))] = changed
		if i%16 == 1 {
			all[fmt.Sprintf("cut to %d of %d bytes", i, len(data))] = data[:i]
		}
	}
	return all
}

// neverPaired are credentials before any phone has confirmed them.
func (o *office) neverPaired(row []byte) string {
	o.t.Helper()
	opened, err := o.m.opt.Keys.Open(envelope.CredentialsPosition("x"), row)
	if err != nil {
		o.t.Fatal(err)
	}
	var text map[string]any
	if err := json.Unmarshal(opened.Plaintext, &text); err != nil {
		o.t.Fatal(err)
	}
	delete(text["creds"].(map[string]any), "me")
	changed, err := json.Marshal(text)
	if err != nil {
		o.t.Fatal(err)
	}
	return string(changed)
}

// A session of which there are only the credentials is restored, and their row is
// damaged. Whoever asked is told so, not to try again, and nobody does by himself.
func TestDamagedCredentialsHaveNames(t *testing.T) {
	o, db := copied(t)
	var row []byte
	if err := db.QueryRowContext(t.Context(), "SELECT session_data FROM whatsapp_sessions").Scan(&row); err != nil {
		t.Fatal(err)
	}
	opensWith := func(what string, data []byte, codes ...string) {
		t.Helper()
		for _, table := range []string{"session_segments", "session_epochs", "session_owners"} {
			o.exec(db, "DELETE FROM "+table)
		}
		o.exec(db, "UPDATE whatsapp_sessions SET session_data = ?", data)
		o.opensAs(what, codes...)
	}
	for what, data := range damages(row) {
		opensWith(what, data, "damaged", "wrong_secret")
	}
	sealed := func(session, text string) []byte {
		t.Helper()
		data, _, err := o.m.opt.Keys.Seal(envelope.KindCredentials, false, envelope.CredentialsPosition(session), envelope.NewSalt(), []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	opensWith("another session's", sealed("y", "{}"), "damaged")
	opensWith("no credentials", sealed("x", "[]"), "damaged")
	opensWith("never paired", sealed("x", o.neverPaired(row)), "no_credentials")
	opensWith("the Node service's, under another secret", []byte(strings.Repeat("0", 32)+":"+strings.Repeat("a", 64)), "wrong_secret")

	o.exec(db, "DELETE FROM session_owners")
	o.exec(db, "UPDATE whatsapp_sessions SET session_data = ?", row)
	if _, err := o.m.Local().Open(t.Context(), "x"); err != nil {
		t.Errorf("undamaged: %v", err)
	}
}

// A session is restored from its log, one of whose rows is damaged.
func TestDamagedLogsHaveNames(t *testing.T) {
	o, db := copied(t)
	var epoch, seq uint64
	var row []byte
	if err := db.QueryRowContext(t.Context(), "SELECT epoch, seq, data FROM session_segments WHERE kind = 'base' ORDER BY epoch DESC, seq DESC LIMIT 1").
		Scan(&epoch, &seq, &row); err != nil {
		t.Fatal(err)
	}
	write := func(data []byte) {
		t.Helper()
		o.exec(db, "UPDATE session_segments SET data = ? WHERE epoch = ? AND seq = ?", data, epoch, seq)
	}
	o.exec(db, "UPDATE session_owners SET wanted = 'closed'")
	for what, data := range damages(row) {
		write(data)
		o.opensAs(what, "damaged", "wrong_secret")
	}
	write(row)
	if _, err := o.m.Local().Open(t.Context(), "x"); err != nil {
		t.Errorf("undamaged: %v", err)
	}
}
