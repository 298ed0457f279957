package crashmatrix_test

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"go.mau.fi/whatsmeow/types"

	"cloudsession/connector/replicate"
	"cloudsession/connector/watest"
	"cloudsession/infra/local/sqsemu"
	"cloudsession/infra/local/tidbtest"
	"cloudsession/shared/cloudstore"
	"cloudsession/shared/command"
)

// world is a database and a queue for one scene after the other: connectors
// sweep for all sessions of a database, and so scenes can't share one.
type world struct {
	config cloudstore.Config
	store  *cloudstore.Store // past every link
	db     *sql.DB
	queue  string
	scenes int
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{config: tidbtest.Start(t)}
	var err error
	if w.store, err = cloudstore.Open(w.config); err != nil {
		t.Fatal(err)
	}
	d := mysql.NewConfig()
	d.Net, d.Addr = "tcp", fmt.Sprintf("%s:%d", w.config.Host, w.config.Port)
	d.User, d.Passwd, d.DBName, d.InterpolateParams = w.config.User, w.config.Password, w.config.Database, true
	connector, err := mysql.NewConnector(d)
	if err != nil {
		t.Fatal(err)
	}
	w.db = sql.OpenDB(connector)
	queue := &sqsemu.Server{}
	if _, err := queue.Listen(t.Context(), "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	w.queue = queue.URL()
	t.Cleanup(func() {
		for _, closing := range []func() error{w.store.Close, w.db.Close, queue.Close} {
			if err := closing(); err != nil {
				t.Error(err)
			}
		}
	})
	if err := w.store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return w
}

// clear leaves nothing for the next scene's connectors to find.
func (w *world) clear(t testing.TB) {
	t.Helper()
	for _, table := range []string{"whatsapp_sessions", "session_segments", "session_epochs", "session_owners", "connectors", "commands"} {
		if _, err := w.db.ExecContext(t.Context(), "DELETE FROM "+table); err != nil {
			t.Fatal(err)
		}
	}
}

// scene is one session, its people, and the connectors that hold it one after
// the other.
type scene struct {
	t          testing.TB
	w          *world
	id         string
	log        *slog.Logger
	patience   time.Duration
	whatsapp   *watest.Service
	service    string // its address
	own, other *watest.Phone
	tune       func(*replicate.Options)
	connectors []*connector

	link  *link
	first *connector // the one that holds the session, or is to, while the fault happens
	file  *connector // whose file is the session's state

	told  []string          // texts the session was sent: its application sees each once
	said  map[string]string // key and text of what the session was asked to send
	acked rows              // what a connector called durable
	epoch uint64            // highest seen

	reported  map[string]bool   // ids of messages that the service knows to be shown
	fillFirst bool              // the session is large
	function  *cloudstore.Store // a function's, through the link
	target    *connector        // the one that a handover is for, if the giver's link breaks
	giver     *connector        // the one that a handover comes from, if the target's link breaks
	capacity  int               // of the connectors that are started
	asked     string            // command id
}

func newScene(t testing.TB, w *world) *scene {
	t.Helper()
	w.clear(t)
	w.scenes++
	b := &logBuffer{}
	s := &scene{t: t, w: w, id: fmt.Sprintf("sesi ☕ %d", w.scenes), log: logger(b), whatsapp: &watest.Service{}, said: map[string]string{}, patience: patience, reported: map[string]bool{}, capacity: room}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log:\n%s", b)
		}
	})
	addr, err := s.whatsapp.Listen("127.0.0.1:0")
	s.must("start the simulated service", err)
	t.Cleanup(func() {
		if err := s.whatsapp.Close(); err != nil {
			t.Error(err)
		}
	})
	s.service = addr.String()
	s.own, err = s.whatsapp.NewPhone("+62 811 2222 3333", "Own")
	s.must("make a phone", err)
	s.other, err = s.whatsapp.NewPhone("+62 812 4444 5555", "Other")
	s.must("make a phone", err)
	s.link = newLink(t, w.config)
	t.Cleanup(func() {
		for _, c := range s.connectors {
			c.crash()
		}
	})
	return s
}

// logBuffer keeps what is logged.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// tell has the other person send the session a text.
func (s *scene) tell(text string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	_, err := s.other.SendText(ctx, s.own.LID(), text)
	s.must("send a text to the session", err)
	s.told = append(s.told, text)
}

// say has the session send a text, again and again until it is sent, under one key.
func (s *scene) say(c *connector, text string) {
	s.t.Helper()
	s.said["key "+text] = text
	s.until("send a text from the session", func(ctx context.Context) error { return c.send(ctx, text, "key "+text) })
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	_, err := s.other.WaitText(ctx, text)
	s.must("the text to be shown", err)
}

// paired starts a connector and gives it a session that has talked and is durable.
func (s *scene) paired(id string, l *link) *connector {
	s.t.Helper()
	c := s.start(id, s.t.TempDir(), l)
	s.until("pair", c.pair)
	s.talk(c, "hello")
	s.file, s.acked = c, s.durable(c)
	return c
}

// durable has a connector push what its session file holds, and returns that. What is
// written meanwhile need not be durable.
func (s *scene) durable(c *connector) rows {
	s.t.Helper()
	r := s.fileRows(c)
	s.until("sync", c.sync)
	return r
}

// talk has both sides say something and hear it.
func (s *scene) talk(c *connector, text string) {
	s.t.Helper()
	s.wait("the session to be live", c.live)
	s.tell(text + " to the session")
	s.wait("the text to be in the inbox", func() bool { return c.has(text + " to the session") })
	s.say(c, text+" from the session")
}

// linked is the device that the session is.
func (s *scene) linked() types.JID {
	devices := s.own.Devices()
	if len(devices) == 0 {
		return types.JID{}
	}
	return devices[len(devices)-1]
}

// bury has everybody know that a connector is dead, as its lease's end would.
func (s *scene) bury(id string) {
	s.t.Helper()
	_, err := s.w.db.ExecContext(s.t.Context(), "UPDATE connectors SET dead = 1 WHERE connector_id = ?", id)
	s.must("bury connector "+id, err)
}

// count runs a query for one number.
func (s *scene) count(query string, args ...any) (n int) {
	s.t.Helper()
	s.must(query, s.w.db.QueryRowContext(s.t.Context(), query, args...).Scan(&n))
	return n
}

func (s *scene) exec(query string, args ...any) {
	s.t.Helper()
	_, err := s.w.db.ExecContext(s.t.Context(), query, args...)
	s.must(query, err)
}

// openStore opens a store of its own, for as long as the scene lasts.
func (s *scene) openStore(config cloudstore.Config) *cloudstore.Store {
	s.t.Helper()
	store, err := cloudstore.Open(config)
	s.must("open a store", err)
	s.t.Cleanup(func() {
		if err := store.Close(); err != nil {
			s.t.Error(err)
		}
	})
	return store
}

// knock sends the message of the command that was asked for.
func (s *scene) knock(ctx context.Context, kind string) error {
	queue, err := command.NewSQS(command.SQSConfig{Endpoint: s.w.queue})
	if err != nil {
		return err
	}
	c, err := s.w.store.Connector(ctx, s.asksWhom().id)
	if err != nil {
		return err
	}
	return queue.Send(ctx, c.QueueURL, command.Message{CommandID: s.asked, SessionID: s.id, Kind: kind})
}

// asksWhom is the connector that a command goes to: who has the session.
func (s *scene) asksWhom() *connector {
	if s.giver != nil {
		return s.giver
	}
	return s.first
}

// inCloud tells whether the API would list the session.
func (s *scene) inCloud() bool {
	return s.count("SELECT COUNT(*) FROM whatsapp_sessions WHERE session_id = ?", s.id) == 1
}
