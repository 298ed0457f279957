package e2e

import (
	"net/http"
	"testing"
)

// Until the first base of a term without a log is whole, the only copy of the
// session is in its file: the next start must be from there, safely, and not say
// that there is no such session.
func TestOnlyCopyBeforeTheFirstBase(t *testing.T) {
	for _, c := range []struct{ name, then string }{
		// A first base of several parts, cut short by a crash.
		{"parts of the base are in the log", `INSERT INTO session_segments (session_id, epoch, seq, kind, part, parts, data, tag)
			SELECT session_id, epoch, 1, 'base', 1, 2, 'x', UNHEX(REPEAT('ab', 32)) FROM session_owners WHERE session_id = ?`},
		// The session could not be opened once, and was given back.
		{"given back", `UPDATE session_owners SET connector_id = NULL WHERE session_id = ?`},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScene(t)
			first := s.paired("c")
			s.talk(first)
			s.waitPushed(first)
			s.call(http.StatusOK, http.MethodDelete, "")
			s.must(first.Kill9())
			db := s.database()
			// What backUpAgain's take commits.
			s.exec(db, `INSERT INTO session_epochs (session_id, epoch, parent_epoch, parent_seq, connector_id, incarnation, nonce, start, reason)
				SELECT e.session_id, e.epoch + 1, 0, 0, e.connector_id, e.incarnation, REVERSE(e.nonce), 'new', 'sync after delete'
				FROM session_epochs e JOIN session_owners o ON o.session_id = e.session_id AND o.epoch = e.epoch WHERE e.session_id = ?`)
			s.exec(db, `UPDATE session_owners SET epoch = epoch + 1, backup = 'full' WHERE session_id = ?`)
			s.exec(db, c.then)

			again := s.connectorIn(first.ID(), first.DataDir())
			opened, err := again.Open(s.ctx, s.session)
			s.must(err)
			if opened.Start != "safe" {
				t.Errorf("start is %q, want safe", opened.Start)
			}
			s.must(again.WaitState(s.ctx, s.session, "restored safely"))
			s.talk(again)
			s.nothingLost(again)
		})
	}
}
