package replicate

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"cloudsession/infra/local/tidbtest"
	"cloudsession/shared/cloudstore"
	"cloudsession/shared/envelope"
)

// stateSizes are how much a session holds: the credentials alone, and a session as it is after a while.
var stateSizes = []struct {
	name  string
	bytes int
}{{"3kB", 3 << 10}, {"1MB", 1 << 20}}

// nodeService writes rows as the Node service does: on each change the key is derived, the whole state encrypted and
// the row written anew. Node runs a program's own code on one thread.
type nodeService struct {
	db     *sql.DB
	thread sync.Mutex
}

func (n *nodeService) seal(id string, state []byte) (string, error) {
	n.thread.Lock()
	defer n.thread.Unlock()
	text, err := json.Marshal(map[string]any{
		"creds":     map[string]any{"state": map[string]string{"type": "Buffer", "data": base64.StdEncoding.EncodeToString(state)}},
		"timestamp": time.Now().UnixMilli(),
	})
	if err != nil {
		return "", err
	}
	key, err := pbkdf2.Key(sha256.New, id+secret, []byte("whiskeysocket"), 100_000, 32)
	if err != nil {
		return "", err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return "", err
	}
	iv := make([]byte, aes.BlockSize)
	_, _ = rand.Read(iv)
	pad := aes.BlockSize - len(text)%aes.BlockSize
	for range pad {
		text = append(text, byte(pad))
	}
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(text, text)
	return hex.EncodeToString(iv) + ":" + hex.EncodeToString(text), nil
}

func (n *nodeService) save(t testing.TB, id string, state []byte) string {
	data, err := n.seal(id, state)
	if err == nil {
		_, err = n.db.ExecContext(t.Context(), `INSERT INTO whatsapp_sessions (session_id, session_data, last_synced_at)
			VALUES (?, ?, CURRENT_TIMESTAMP) ON DUPLICATE KEY UPDATE session_data = VALUES(session_data), last_synced_at = VALUES(last_synced_at)`, id, data)
	}
	if err != nil {
		t.Error(err)
	}
	return data
}

func newNodeService(t testing.TB) *nodeService {
	config := tidbtest.Start(t)
	openTiDB(t, config) // the tables
	return &nodeService{db: rawDB(t, config)}
}

// rawDB opens a database as no part of the connector does.
func rawDB(t testing.TB, config cloudstore.Config) *sql.DB {
	driver := mysql.NewConfig()
	driver.Net, driver.Addr = "tcp", net.JoinHostPort(config.Host, strconv.Itoa(config.Port))
	driver.User, driver.Passwd, driver.DBName = config.User, config.Password, config.Database
	driver.InterpolateParams = true
	connector, err := mysql.NewConnector(driver)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// What BenchmarkNodeService writes is what that service writes.
func TestNodeServiceRow(t *testing.T) {
	n := newNodeService(t)
	data := n.save(t, "toko", noise(100))
	if _, err := envelope.OpenLegacy("toko", secret, []byte(data)); err != nil {
		t.Error(err)
	}
}

// BenchmarkNodeService: 16 sessions change as fast as the Node service's way allows. One op is one change.
func BenchmarkNodeService(b *testing.B) {
	for _, size := range stateSizes {
		b.Run("state="+size.name, func(b *testing.B) {
			n := newNodeService(b)
			const sessions = 16
			states := make([][]byte, sessions)
			for i := range states {
				states[i] = noise(size.bytes * 3 / 4) // base64 makes it the size
				n.save(b, fmt.Sprint("bench", i), states[i])
			}
			sideBySide(b, sessions, func(session, _ int) { n.save(b, fmt.Sprint("bench", session), states[session]) })
		})
	}
}

// BenchmarkChanges: 100 sessions change as fast as they can, until all of it is durable. One op is one change.
func BenchmarkChanges(b *testing.B) {
	for _, size := range stateSizes {
		b.Run("state="+size.name, func(b *testing.B) {
			const sessions = 100
			g := newRig(b, newTiDB(b), defaults)
			all := make([]*live, sessions)
			for i := range all {
				all[i] = g.pair(fmt.Sprint("bench", i), uint64(i))
				all[i].bulk(size.bytes, 1)
				all[i].flush()
			}
			var durable atomic.Int64
			sideBySide(b, sessions, func(session, n int) {
				all[session].message(n)
				if n+sessions >= b.N { // its last one
					g.must(all[session].repl.WaitDurable(g.limit()))
					durable.Add(1)
				}
			})
			if n := durable.Load(); n != min(sessions, int64(b.N)) {
				b.Errorf("%d sessions are durable", n)
			}
		})
	}
}

// sideBySide makes b.N changes, those of each session one after the other.
func sideBySide(b *testing.B, sessions int, change func(session, n int)) {
	var wg sync.WaitGroup
	b.ResetTimer()
	for i := range sessions {
		wg.Go(func() {
			for n := i; n < b.N; n += sessions {
				change(i, n)
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "changes/s")
}
