package leakscan

import (
	"database/sql"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"cloudsession/infra/local/rig"
	"cloudsession/shared/devtoken"
)

// TestNothingLeaks goes through all that a session can go through, with every log
// at debug, and then looks for each key, secret, token, code, name and text that was
// in use: in every log, row, file of TiDB, queue message, answer and metric. The last
// step plants one in the ordinary way and finds it in each of these places, so that
// the silence before means something. Metrics have no place for a name: there the
// program's version and the deployment's name are found instead.
func TestNothingLeaks(t *testing.T) {
	r := start(t)
	a := r.connector("a")
	r.pair(a, r.session, r.owner, false)
	second := r.phone("628110003")
	r.pair(a, "by code", second, true)
	r.talk(a)
	r.commands(a)
	r.refusals()

	b := r.handOver()
	r.refusedDelivery(b)
	r.outage(b)
	r.metrics(b)
	r.must(b.Kill9())
	r.must(os.RemoveAll(b.DataDir()))
	r.call(r.token, http.StatusOK, http.MethodPost, r.path("/restore"), nil)
	r.talk(a) // safely started, on a's disk
	r.moves(a, "by code")
	a = r.rekeyed(a)
	r.misconfigured(a)
	r.damaged(a)
	r.rows()
	r.call(r.token, http.StatusOK, http.MethodDelete, r.path(""), nil)
	r.talk(a)
	r.must(r.watch())
	r.scrapeAll()
	r.rows()
	r.files()

	t.Logf("%d forms of secrets looked for", r.secrets.Count())
	for where, names := range r.seen.scan(&r.secrets) {
		t.Errorf("in %s: %q", where, names)
	}
	for where, names := range r.seen.scan(&r.numbers) {
		if where != inCLI {
			t.Errorf("in %s: %q", where, names)
		}
	}
	r.looked(&r.canary, inLogs, inCLI, inAPI, inQueue, inRows, inFiles)
	r.looked(&r.emf, inLogs, inWatch)
	r.looked(r.labels(), inMetrics)
	r.disks()
	r.planted()
}

// looked checks that something is found in each place.
func (r *run) looked(s *Scanner, where ...string) {
	r.t.Helper()
	found := r.seen.scan(s)
	for _, place := range where {
		if len(found[place]) == 0 {
			r.t.Errorf("nothing was found in %s, where it has to be: the test does not see", place)
		}
	}
}

// planted makes a secret a connector's name, which goes wherever names go.
func (r *run) planted() {
	name := r.secret("planted")
	c := r.connector(name)
	r.call(r.token, http.StatusOK, http.MethodPost, "/cloud/sessions/by%20code%202/restore", map[string]string{"connector": name})
	r.call(r.token, http.StatusOK, http.MethodGet, "/cloud/sessions/by%20code%202/status", nil)
	r.cli(c, nil, "inspect", "list", "by code 2")
	r.rows()
	r.files()
	var s Scanner
	s.Add("planted", []byte(name))
	r.looked(&s, inLogs, inCLI, inAPI, inQueue, inRows, inFiles)
	db := r.database()
	_, err := db.ExecContext(r.ctx, "UPDATE session_owners SET state_detail = LEFT(HEX(?), 200) WHERE session_id = ?", r.rig.Stack.SessionSecret()[:32], "by code 2")
	r.must(err)
	var row places
	r.rowsTo(&row)
	s.Add("the secret", []byte(r.rig.Stack.SessionSecret()[:32]))
	if found := row.scan(&s)[inRows]; !slices.ContainsFunc(found, func(f string) bool { return strings.HasPrefix(f, "the secret, in ") }) {
		r.t.Errorf("a secret in a row was not seen: %q", found)
	}
}

// commands runs what a person runs beside a connector.
func (r *run) commands(c *rig.Connector) {
	r.t.Helper()
	r.pushed(c)
	for _, args := range [][]string{
		{"sessions"},
		{"config"},
		{"migrate"},
		{"inspect", "list", r.session},
		{"inspect", "dump", r.session},
		{"inspect", "verify", r.session},
		{"send", r.session, "+" + r.peer.PN().User, r.secret("a text that was typed")},
	} {
		if code := r.cli(c, nil, args...); code != 0 {
			r.t.Errorf("connector %v ended with %d", args, code)
		}
	}
	for _, args := range [][]string{
		{"pair", r.session},
		{"send", r.session, "nobody", r.secret("a text to nobody")},
		{"open", "unknown"},
		{"inspect", "dump", "unknown"},
		{"send", "unknown", "+628110002", r.secret("a text from nobody")},
	} {
		if code := r.cli(c, nil, args...); code == 0 {
			r.t.Errorf("connector %v succeeded", args)
		}
	}
}

// refusals are requests of the API that are answered with each kind of error.
func (r *run) refusals() {
	r.t.Helper()
	foreign, err := devtoken.Mint([]byte(r.secret("another issuer's secret")+r.secret("more of it")), "x", []string{devtoken.ScopeRead}, time.Hour)
	r.must(err)
	r.secrets.Add("a foreign token", []byte(foreign))
	read := r.bearer(devtoken.ScopeRead)
	cut := read[:len(read)-4]
	r.secrets.Add("a token that was cut short", []byte(cut))
	for _, token := range []string{"", foreign, r.secret("no token"), cut} {
		r.call(token, http.StatusUnauthorized, http.MethodGet, r.path("/status"), nil)
	}
	r.call(read, http.StatusForbidden, http.MethodPost, r.path("/sync"), nil)
	r.call(r.token, http.StatusOK, http.MethodGet, r.path("/status"), nil)
	r.call(r.token, http.StatusOK, http.MethodGet, "/cloud/sessions", nil)
	r.call(r.token, http.StatusOK, http.MethodPost, r.path("/sync"), nil)
	r.call(r.token, http.StatusNotFound, http.MethodGet, "/cloud/sessions/nobody/status", nil)
	r.call(r.token, http.StatusBadRequest, http.MethodPost, r.path("/restore"), map[string]string{"connecter": "x"})
}

// handOver moves the session to another connector through the API.
func (r *run) handOver() *rig.Connector {
	r.t.Helper()
	b := r.connector("b")
	r.call(r.token, http.StatusOK, http.MethodPost, r.path("/restore"), map[string]string{"connector": "b"})
	r.talk(b)
	return b
}

// refusedDelivery has the application refuse a message for a while.
func (r *run) refusedDelivery(c *rig.Connector) {
	r.t.Helper()
	r.app.Answer(http.StatusInternalServerError)
	text, before := r.secret("a text that was refused"), r.app.Attempts()
	_, err := r.peer.SendText(r.ctx, r.owner.PN(), text)
	r.must(err)
	r.must(r.app.Wait(r.ctx, func() bool { return r.app.Attempts() >= before+2 }))
	r.app.Answer(0)
	r.must(r.app.WaitTexts(r.ctx, text))
	r.talk(c)
}

// outage kills TiDB and brings it back, with texts in between.
func (r *run) outage(c *rig.Connector) {
	r.t.Helper()
	r.must(r.rig.Stack.KillDatabase())
	coming := r.texted(c)
	response, err := r.rig.APIAs(r.ctx, r.token, http.MethodGet, "/cloud/sessions", nil)
	r.must(err)
	if response.Status < http.StatusInternalServerError {
		r.t.Errorf("the API without its database answered %d", response.Status)
	}
	r.cli(c, nil, "inspect", "list", r.session)
	if r.watch() == nil {
		r.t.Error("the function that watches found nothing wrong with a database that is away")
	}
	r.must(r.rig.Stack.StartDatabase(r.ctx))
	r.delivered(c, coming...) // without TiDB the connector's lease may have run out before
	r.pushed(c)
	r.talk(c)
}

// moves takes a session out and in again, in both formats.
func (r *run) moves(c *rig.Connector, session string) {
	r.t.Helper()
	r.open(c, session)
	folder, file := filepath.Join(r.dir, "folder"), filepath.Join(r.dir, "file.db")
	for _, args := range [][]string{
		{"export", "baileys", "--session", session, "--out", folder},
		{"import", "baileys", folder, "--session", session + " 1"},
		{"export", "whatsmeow", "--session", session + " 1", "--out", file},
		{"import", "whatsmeow", file, "--session", session + " 2", "--stopped-cleanly"},
	} {
		if code := r.cli(c, nil, args...); code != 0 {
			r.t.Errorf("connector %v ended with %d", args, code)
		}
	}
	if code := r.cli(c, nil, "import", "baileys", file, "--session", session+" 3"); code == 0 {
		r.t.Error("a file was imported as a folder")
	}
	r.keys()
	for _, out := range []string{folder, file} {
		if files := r.private(out); files == 0 {
			r.t.Errorf("nothing was exported to %s", filepath.Base(out))
		}
	}
}

// rekeyed starts the connector again under another secret and seals all anew.
func (r *run) rekeyed(c *rig.Connector) *rig.Connector {
	r.t.Helper()
	old := r.rig.Stack.SessionSecret()
	r.metrics(c)
	r.must(c.Stop(rig.StopTime))
	r.env = append(r.env, "SESSION_ENCRYPTION_SECRET="+r.configured("the new secret", random("secret-")+random("")), "SESSION_ENCRYPTION_SECRET_PREVIOUS="+old)
	c = r.connector(c.ID())
	if code := r.cli(c, nil, "rekey"); code != 0 {
		r.t.Errorf("rekey ended with %d", code)
	}
	r.must(c.WaitState(r.ctx, r.session, "connected", "restored safely"))
	r.talk(c)
	return c
}

// misconfigured runs programs with secrets that are wrong.
func (r *run) misconfigured(c *rig.Connector) {
	r.t.Helper()
	elsewhere := "DATA_DIR=" + filepath.Join(r.dir, "elsewhere")
	for _, env := range [][]string{
		{"SESSION_ENCRYPTION_SECRET=" + r.secret("a short secret")[:20]},
		{"TIDB_PASSWORD=" + r.secret("a wrong password")},
		{"WEBHOOK_SECRET=" + r.secret("a short webhook secret")[:20]},
		{"WEBHOOK_SECRET=whsec_" + r.secret("no base64") + "!"},
		{"TIDB_PORT=x", "CAPACITY=y", "TIDB_PASSWORD=" + r.secret("a password among mistakes")},
	} {
		r.cli(c, append(env, elsewhere), "migrate") // which needs some of these
		if code := r.cli(c, append(env, elsewhere), "run"); code == 0 {
			r.t.Errorf("run with a wrong %s succeeded", strings.Split(env[0], "=")[0])
		}
	}
	r.must(c.Close(r.ctx, r.session))
	wrong := r.connector("wrong", "SESSION_ENCRYPTION_SECRET="+r.configured("a wrong secret", random("wrong-")+random("")), "SESSION_ENCRYPTION_SECRET_PREVIOUS=")
	if _, err := wrong.Open(r.ctx, r.session); err == nil {
		r.t.Error("a session was opened under a wrong secret")
	}
	r.metrics(wrong)
	r.must(wrong.Stop(rig.StopTime))
	r.open(c, r.session)
}

// damaged changes a sealed row behind the connector's back, and mends it again.
func (r *run) damaged(c *rig.Connector) {
	r.t.Helper()
	r.must(c.Close(r.ctx, r.session))
	const change = `UPDATE session_segments SET data = CONCAT(SUBSTRING(data, 1, LENGTH(data) - 40), CHAR(ASCII(SUBSTRING(data, LENGTH(data) - 39, 1)) ^ 1 USING binary), SUBSTRING(data, LENGTH(data) - 38))
		WHERE session_id = ? AND kind = 'seal'`
	db := r.database()
	_, err := db.ExecContext(r.ctx, change, r.session)
	r.must(err)
	r.must(os.RemoveAll(filepath.Join(r.dir, "aside")))
	fresh := r.connector("fresh")
	if _, err := fresh.Open(r.ctx, r.session); err == nil {
		r.t.Error("a session was opened from a changed log")
	}
	r.cli(fresh, nil, "inspect", "verify", r.session)
	_, err = db.ExecContext(r.ctx, change, r.session)
	r.must(err)
	r.open(c, r.session)
	r.talk(c)
}

func (r *run) open(c *rig.Connector, session string) {
	r.t.Helper()
	_, err := c.Open(r.ctx, session)
	r.must(err)
	r.must(c.WaitState(r.ctx, session, "connected", "restored safely"))
}

// database opens TiDB as whoever has stolen its password.
func (r *run) database() *sql.DB {
	r.t.Helper()
	c := r.rig.Stack.StoreConfig()
	cfg := mysql.NewConfig()
	cfg.Net, cfg.Addr = "tcp", net.JoinHostPort(c.Host, strconv.Itoa(c.Port))
	cfg.User, cfg.Passwd, cfg.DBName = c.User, c.Password, c.Database
	connector, err := mysql.NewConnector(cfg)
	r.must(err)
	db := sql.OpenDB(connector)
	r.t.Cleanup(func() { r.must(db.Close()) })
	return db
}

// rows notes every column of every row of every table.
func (r *run) rows() { r.t.Helper(); r.rowsTo(&r.seen) }

func (r *run) rowsTo(p *places) {
	r.t.Helper()
	db := r.database()
	var tables []string
	r.each(db, "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()", func(row []sql.RawBytes) {
		tables = append(tables, string(row[0]))
	})
	if len(tables) < 6 {
		r.t.Fatalf("the database has only the tables %s", tables)
	}
	for _, table := range tables {
		r.each(db, "SELECT * FROM `"+table+"`", func(row []sql.RawBytes) {
			for _, column := range row {
				p.add(inRows, column)
			}
		})
	}
}

func (r *run) each(db *sql.DB, query string, do func([]sql.RawBytes)) {
	r.t.Helper()
	rows, err := db.QueryContext(r.ctx, query)
	r.must(err)
	defer rows.Close() //nolint:errcheck // Err says what matters
	columns, err := rows.Columns()
	r.must(err)
	values := make([]sql.RawBytes, len(columns))
	pointers := make([]any, len(columns))
	for i := range values {
		pointers[i] = &values[i]
	}
	for rows.Next() {
		r.must(rows.Scan(pointers...))
		do(values)
	}
	r.must(rows.Err())
}

// disks looks at what the connectors have kept: closed to others, and without the
// secrets of the configuration.
func (r *run) disks() {
	r.t.Helper()
	files := 0
	for _, dir := range slices.Compact(slices.Sorted(slices.Values(r.dirs))) {
		if _, err := os.Stat(dir); os.IsNotExist(err) {
			continue // the disk that was lost
		}
		files += r.private(dir)
	}
	if files == 0 {
		r.t.Error("no file was looked at")
	}
}

// private checks that nobody else may read what is below a path, and that no secret
// of the configuration is in it. It returns how many files it read.
func (r *run) private(path string) (files int) {
	r.t.Helper()
	r.must(filepath.WalkDir(path, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o077 != 0 {
			r.t.Errorf("%s has mode %v", path, info.Mode())
		}
		if !info.Mode().IsRegular() {
			return nil
		}
		files++
		data, err := os.ReadFile(path)
		if found := r.config.Scan(data); len(found) > 0 {
			r.t.Errorf("%s holds %q", filepath.Base(path), found)
		}
		return err
	}))
	return files
}
