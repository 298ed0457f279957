package e2e

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"net/http"
	"os"
	"strings"
	"testing"

	"cloudsession/infra/local/rig"
	"cloudsession/shared/envelope"
)

// The log is gone, the credentials row is there: the session comes back safely,
// with no new scan, and nothing is lost from then on.
func TestRestoreFromCredentialsAlone(t *testing.T) {
	s := newScene(t)
	c := s.paired("c")
	s.talk(c)
	s.waitPushed(c)
	s.must(c.Stop(stopTime))
	s.must(os.RemoveAll(c.DataDir()))
	s.exec(s.database(), "DELETE FROM session_segments WHERE session_id = ?")

	s.backFromCredentials()
}

// A row of the Node service, in its own format and with no rows of ours beside
// it: listed like any other, restored safely on first use, then kept sealed.
func TestRestoreFromARowOfTheNodeService(t *testing.T) {
	s := newScene(t)
	c := s.paired("c")
	s.talk(c)
	s.waitPushed(c)
	s.must(c.Stop(stopTime))
	s.must(os.RemoveAll(c.DataDir()))

	db, secret := s.database(), envOf(c, "SESSION_ENCRYPTION_SECRET")
	s.asNodeRow(db, secret, secret)

	s.call(http.StatusOK, http.MethodGet, "/status")
	s.backFromCredentials()
	if envelope.IsLegacy([]byte(s.sessionData(db))) {
		t.Error("the row is still in the Node service's format")
	}
}

// The same rows sealed all at once, by the command: a dry run and a wrong secret
// change nothing, and the session comes back from what it wrote.
func TestImportNodeRows(t *testing.T) {
	s := newScene(t)
	c := s.paired("c")
	s.talk(c)
	s.waitPushed(c)
	s.must(c.Stop(stopTime))
	s.must(os.RemoveAll(c.DataDir()))
	db := s.database()
	nodeSecret := strings.Repeat("n", 40)
	s.asNodeRow(db, envOf(c, "SESSION_ENCRYPTION_SECRET"), nodeSecret)
	row := s.sessionData(db)

	s.imports(c, 1, "rows of the Node service sealed: 0", nil)
	previous := []string{"SESSION_ENCRYPTION_SECRET_PREVIOUS=" + nodeSecret}
	s.imports(c, 0, "rows of the Node service would be sealed: 1", previous, "--dry-run")
	if s.sessionData(db) != row {
		t.Fatal("the row was changed")
	}
	s.imports(c, 0, "rows of the Node service sealed: 1", previous)
	if s.sessionData(db) == row {
		t.Fatal("the row was not sealed")
	}
	s.call(http.StatusOK, http.MethodGet, "/status")
	s.backFromCredentials()
}

// imports runs `connector import node-rows` with c's environment.
func (s *scene) imports(c *rig.Connector, code int, says string, env []string, args ...string) {
	s.t.Helper()
	cmd := c.Command(s.ctx, append([]string{"import", "node-rows"}, args...)...)
	cmd.Env = append(cmd.Env, env...)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != code || !strings.Contains(string(out), says) {
		s.t.Fatalf("import node-rows %v: %v\n%s", args, err, out)
	}
}

// asNodeRow makes the session's only row in the cloud one of the Node service's.
func (s *scene) asNodeRow(db *sql.DB, secret, nodeSecret string) {
	s.t.Helper()
	keys, err := envelope.NewKeyring(secret)
	s.must(err)
	opened, err := keys.Open(envelope.CredentialsPosition(s.session), []byte(s.sessionData(db)))
	s.must(err)
	for _, table := range []string{"session_segments", "session_epochs", "session_owners"} {
		s.exec(db, "DELETE FROM "+table+" WHERE session_id = ?")
	}
	_, err = db.ExecContext(s.ctx, "UPDATE whatsapp_sessions SET epoch = 0, session_data = ? WHERE session_id = ?",
		nodeRow(s.t, s.session, nodeSecret, opened.Plaintext), s.session)
	s.must(err)
}

func (s *scene) sessionData(db *sql.DB) (data string) {
	s.t.Helper()
	s.must(db.QueryRowContext(s.ctx, "SELECT session_data FROM whatsapp_sessions WHERE session_id = ?", s.session).Scan(&data))
	return data
}

// backFromCredentials restores the session on an empty connector and talks.
func (s *scene) backFromCredentials() {
	s.t.Helper()
	fresh := s.connector("fresh")
	s.restore()
	s.must(fresh.WaitState(s.ctx, s.session, "restored safely"))
	if !strings.Contains(fresh.Logs(), "start=safe") {
		s.t.Error("a start from credentials alone was not safe")
	}
	s.talk(fresh)
	s.talk(fresh)
	s.must(fresh.WaitState(s.ctx, s.session, "connected"))
	s.nothingLost(fresh)
}

// nodeRow seals a plaintext as the Node service does: AES-256-CBC under a key of
// PBKDF2 over session id and secret, "hex(iv):hex(ciphertext)".
func nodeRow(t *testing.T, session, secret string, plaintext []byte) string {
	t.Helper()
	key, err := pbkdf2.Key(sha256.New, session+secret, []byte("whiskeysocket"), 100_000, 32)
	if err != nil {
		t.Fatal(err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	iv := make([]byte, aes.BlockSize)
	_, _ = rand.Read(iv) // never fails
	pad := aes.BlockSize - len(plaintext)%aes.BlockSize
	padded := append([]byte{}, plaintext...)
	for range pad {
		padded = append(padded, byte(pad))
	}
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(padded, padded)
	return hex.EncodeToString(iv) + ":" + hex.EncodeToString(padded)
}
