//go:build interop

package interop

import (
	"net/http"
	"os/exec"
	"path/filepath"
	"testing"

	"cloudsession/infra/local/tidbtest"
)

// A row that Node's own crypto made of what Baileys keeps: the API lists it, a
// restore brings it back safely on a connector, and nothing is lost.
func TestRowOfTheNodeService(t *testing.T) {
	m := newMoving(t)
	folder := filepath.Join(m.dir, "paired")
	b := m.link(folder)
	m.withBot(b)
	b.stop()

	const session = "toko ☕"
	cmd := exec.CommandContext(m.ctx, "node", "row.mjs", folder, session, m.rig.Stack.SessionSecret())
	cmd.Dir = "baileys"
	row, err := cmd.Output()
	must(t, err)
	db := tidbtest.Open(t, m.rig.Stack.StoreConfig())
	_, err = db.ExecContext(m.ctx, "INSERT INTO whatsapp_sessions (session_id, session_data) VALUES (?, ?)", session, string(row))
	must(t, err)

	before := m.meanwhile()
	const path = "/cloud/sessions/toko%20%E2%98%95"
	_, err = m.rig.Want(m.ctx, http.StatusOK, http.MethodGet, path+"/status", nil)
	must(t, err)
	_, err = m.rig.Want(m.ctx, http.StatusOK, http.MethodPost, path+"/restore", nil)
	must(t, err)
	m.withConnector(session, before...)
	m.withConnector(session)
	m.sound(true)
}
