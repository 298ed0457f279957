package cloudstore_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"fmt"
	"math"
	mathrand "math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"cloudsession/infra/local/leaktest"
	"cloudsession/infra/local/tidbtest"
	"cloudsession/shared/cloudstore"
)

func TestMain(m *testing.M) {
	tidbtest.Main(m, func() error { return leaktest.Find() })
}

// open returns a store on these settings.
func open(t testing.TB, config cloudstore.Config) *cloudstore.Store {
	t.Helper()
	store, err := cloudstore.Open(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store
}

// migrated returns a store on a new, migrated database.
func migrated(t testing.TB) (*cloudstore.Store, cloudstore.Config) {
	t.Helper()
	config := tidbtest.Start(t)
	store := open(t, config)
	if err := store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return store, config
}

// rawDB opens the database without the store, to look and to meddle.
func rawDB(t testing.TB, c cloudstore.Config) *sql.DB {
	t.Helper()
	d := mysql.NewConfig()
	d.Net, d.Addr = "tcp", fmt.Sprintf("%s:%d", c.Host, c.Port)
	d.User, d.Passwd, d.DBName = c.User, c.Password, c.Database
	d.InterpolateParams, d.ParseTime = true, true
	d.Params = map[string]string{"time_zone": "'+00:00'"}
	connector, err := mysql.NewConnector(d)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func mustExec(t testing.TB, db *sql.DB, query string, args ...any) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), query, args...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

func count(t testing.TB, db *sql.DB, query string, args ...any) (n int) {
	t.Helper()
	if err := db.QueryRowContext(t.Context(), query, args...).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

// lease outlives every test: those that want one that is over end it themselves.
const lease = time.Hour

// register enters a connector whose incarnation is its id + "/1".
func register(t testing.TB, s *cloudstore.Store, ids ...string) {
	t.Helper()
	for _, id := range ids {
		c := cloudstore.Connector{ID: id, Incarnation: id + "/1", QueueURL: "queue-" + id, Capacity: 10}
		if err := s.RegisterConnector(t.Context(), c, "", lease); err != nil {
			t.Fatal(err)
		}
	}
}

func nonce() (n [16]byte) {
	_, _ = rand.Read(n[:])
	return n
}

// request asks for a take by a connector entered with register; it starts
// "new" on a new session, "exact" behind a seal, and "safe" otherwise.
func request(session, connector string) cloudstore.TakeRequest {
	return cloudstore.TakeRequest{
		SessionID: session, ConnectorID: connector, Incarnation: connector + "/1",
		Reason: "test", Nonce: nonce(), MayCreate: true,
		Judge: func(_ context.Context, p cloudstore.Parent) (string, error) {
			switch {
			case !p.HasLog && !p.HasCredentials:
				return cloudstore.StartNew, nil
			case p.Terminator != nil && p.Terminator.Kind == cloudstore.KindSeal && p.Contiguous:
				return cloudstore.StartExact, nil
			}
			return cloudstore.StartSafe, nil
		},
	}
}

func mustTake(t testing.TB, s *cloudstore.Store, session, connector string) cloudstore.Taken {
	t.Helper()
	taken, err := s.Take(t.Context(), request(session, connector))
	if err != nil {
		t.Fatalf("take %s: %v", session, err)
	}
	return taken
}

// segment makes a row with data of its own; salt makes two of one place differ.
func segment(session string, epoch, seq uint64, kind cloudstore.SegmentKind, salt string) cloudstore.Segment {
	data := []byte(fmt.Sprintf("%s/%d/%d/%s/%s", session, epoch, seq, kind, salt))
	return cloudstore.Segment{SessionID: session, Epoch: epoch, Seq: seq, Kind: kind, Part: 1, Parts: 1, Data: data, Tag: sha256.Sum256(data)}
}

// appendAll writes rows and wants every one durable.
func appendAll(t testing.TB, s *cloudstore.Store, segs ...cloudstore.Segment) {
	t.Helper()
	outcomes, err := s.AppendSegments(t.Context(), segs)
	if err != nil {
		t.Fatal(err)
	}
	for i, o := range outcomes {
		if o != cloudstore.Durable {
			t.Fatalf("row %d of %s: %v, want durable", segs[i].Seq, segs[i].SessionID, o)
		}
	}
}

func allSegments(t testing.TB, s *cloudstore.Store, session string, epoch uint64) []cloudstore.Segment {
	t.Helper()
	segs, err := s.Segments(t.Context(), session, epoch, 0, math.MaxUint64)
	if err != nil {
		t.Fatal(err)
	}
	return segs
}

// seeded returns the random source of this run, from CLOUDSESSION_SEED if set.
var seeded = sync.OnceValue(func() uint64 {
	if text := os.Getenv("CLOUDSESSION_SEED"); text != "" {
		if seed, err := strconv.ParseUint(text, 10, 64); err == nil {
			return seed
		}
	}
	return mathrand.Uint64()
})

func random(t testing.TB) *mathrand.Rand {
	t.Logf("CLOUDSESSION_SEED=%d", seeded())
	return mathrand.New(mathrand.NewPCG(seeded(), 0))
}
