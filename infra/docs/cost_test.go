package docs

import (
	"database/sql"
	"fmt"
	"io"
	"io/fs"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"cloudsession/connector/control"
	"cloudsession/connector/watest"
	"cloudsession/infra/local/rig"
	"cloudsession/shared/cloudstore"
)

// BenchmarkStatements measures what docs/cost.md calculates with: the statements that
// a connector with 20 sessions sends to the engine, and the bytes of their log, while
// each session receives a text and answers it so often a minute. It is run by hand:
//
//	go test ./infra/docs -run '^$' -bench Statements -benchtime 1x
func BenchmarkStatements(b *testing.B) {
	const sessions, seconds = 20, 60
	for _, perMinute := range []int{0, 1, 6, 30} {
		b.Run(fmt.Sprintf("pairs-a-minute=%d", perMinute), func(b *testing.B) {
			m := newMeter(b, sessions)
			for range b.N {
				before := m.read()
				m.talk(perMinute, seconds*time.Second)
				m.report(before, m.read(), sessions, seconds, perMinute)
			}
		})
	}
}

// meter is a system under observation.
type meter struct {
	b         *testing.B
	db        *sql.DB
	connector *rig.Connector
	phones    []*watest.Phone
	peer      *watest.Phone
}

func newMeter(b *testing.B, sessions int) *meter {
	b.Helper()
	watest.SilenceSignal()
	dir := b.TempDir()
	r, err := rig.Start(b.Context(), rig.Options{Dir: filepath.Join(dir, "stack"), Out: io.Discard, Built: true})
	m := &meter{b: b}
	m.must(err)
	b.Cleanup(func() { m.must(r.Close()) })
	m.db = openRoot(m, r.Stack.StoreConfig())
	_, err = m.db.ExecContext(b.Context(), "SET GLOBAL tidb_enable_stmt_summary = ON")
	m.must(err)
	m.connector, err = r.StartConnector(b.Context(), "c", filepath.Join(dir, "c"))
	m.must(err)
	m.peer, err = r.WhatsApp.NewPhone("628110009999", "Peer")
	m.must(err)
	for i := range sessions {
		phone, err := r.WhatsApp.NewPhone(fmt.Sprintf("62811000%04d", i), "Owner")
		m.must(err)
		m.must(m.connector.Pair(b.Context(), session(i), phone))
		m.phones = append(m.phones, phone)
	}
	m.talk(30, 4*time.Second) // what is made once, at the first text, is not counted
	return m
}

func session(i int) string { return fmt.Sprint("session ", i) }

func (m *meter) must(err error) {
	m.b.Helper()
	if err != nil {
		m.b.Fatal(err)
	}
}

func openRoot(m *meter, c cloudstore.Config) *sql.DB {
	cfg := mysql.NewConfig()
	cfg.Net, cfg.Addr, cfg.User, cfg.DBName = "tcp", net.JoinHostPort(c.Host, strconv.Itoa(c.Port)), "root", c.Database
	db, err := sql.Open("mysql", cfg.FormatDSN())
	m.must(err)
	m.b.Cleanup(func() { m.must(db.Close()) })
	return db
}

// talk has the peer write to every session and each session answer, spread evenly.
func (m *meter) talk(perMinute int, lasting time.Duration) {
	end := time.Now().Add(lasting)
	var all sync.WaitGroup
	for i, phone := range m.phones {
		all.Go(func() {
			for n := 0; perMinute > 0; n++ {
				every := time.Minute / time.Duration(perMinute)
				next := end.Add(-lasting).Add(time.Duration(n)*every + time.Duration(i)*every/time.Duration(len(m.phones)))
				if !next.Before(end) {
					return
				}
				time.Sleep(time.Until(next))
				m.exchange(i, phone, fmt.Sprintf("a text of some thirty characters %d %d", i, n))
			}
		})
	}
	all.Wait()
	time.Sleep(time.Until(end))
}

func (m *meter) exchange(i int, phone *watest.Phone, text string) {
	ctx := m.b.Context()
	if _, err := m.peer.SendText(ctx, phone.PN(), text); err != nil {
		m.b.Error(err)
		return
	}
	if _, err := m.connector.WaitText(ctx, session(i), text); err != nil {
		m.b.Error(err)
	}
	if _, err := m.connector.Send(ctx, session(i), control.SendRequest{To: m.peer.PN().String(), Text: text}); err != nil {
		m.b.Error(err)
	}
}

// reading is what the engine has counted: executions by statement, and the log's size.
type reading struct {
	statements map[string]int
	rows       int
	bytes      int
	// A row's bytes, on average: the sealed credentials; what a heartbeat sums up of an owner.
	credentials, owner float64
}

func (m *meter) read() reading {
	m.b.Helper()
	r := reading{statements: map[string]int{}}
	rows, err := m.db.QueryContext(m.b.Context(), `SELECT DIGEST_TEXT, SUM(EXEC_COUNT) FROM information_schema.statements_summary_history
		WHERE SCHEMA_NAME = DATABASE() AND SAMPLE_USER NOT LIKE 'root%' GROUP BY DIGEST_TEXT`)
	m.must(err)
	defer func() { m.must(rows.Close()) }()
	for rows.Next() {
		var text string
		var n int
		m.must(rows.Scan(&text, &n))
		r.statements[text] = n
	}
	m.must(rows.Err())
	row := m.db.QueryRowContext(m.b.Context(), "SELECT COUNT(*), COALESCE(SUM(LENGTH(data)), 0) FROM session_segments")
	m.must(row.Scan(&r.rows, &r.bytes))
	row = m.db.QueryRowContext(m.b.Context(), "SELECT AVG(LENGTH(session_data)) FROM whatsapp_sessions")
	m.must(row.Scan(&r.credentials))
	row = m.db.QueryRowContext(m.b.Context(), `SELECT AVG(LENGTH(CONCAT_WS('|', session_id, connector_id, epoch, wanted, reserved_for, reserved_until,
		state, state_detail, state_at, backup, failover, synced_at, not_before))) FROM session_owners`)
	m.must(row.Scan(&r.owner))
	return r
}

// report tells what came between two readings, and prints it by statement.
func (m *meter) report(before, r reading, sessions, seconds, perMinute int) {
	b := m.b
	total := 0
	var lines []string
	for text, n := range r.statements {
		if n -= before.statements[text]; n > 0 {
			total += n
			lines = append(lines, fmt.Sprintf("%6d  %.110s", n, text))
		}
	}
	slices.Sort(lines)
	slices.Reverse(lines)
	fmt.Printf("%s\n", strings.Join(lines, "\n"))
	b.ReportMetric(float64(total)/float64(seconds), "statements/s")
	b.ReportMetric(r.credentials, "credentials-bytes")
	b.ReportMetric(r.owner, "owner-bytes")
	b.ReportMetric(m.fileBytes(), "file-bytes/session")
	b.ReportMetric(float64(r.rows-before.rows)/float64(seconds), "rows/s")
	if texts := 2 * sessions * perMinute * seconds / 60; texts > 0 {
		b.ReportMetric(float64(r.rows-before.rows)/float64(texts), "rows/text")
		b.ReportMetric(float64(r.bytes-before.bytes)/float64(texts), "bytes/text")
	}
}

// fileBytes is what a session takes of the connector's disk, on average.
func (m *meter) fileBytes() float64 {
	m.b.Helper()
	total := int64(0)
	m.must(filepath.WalkDir(m.connector.DataDir(), func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			total += info.Size()
		}
		return err
	}))
	return float64(total) / float64(len(m.phones))
}
