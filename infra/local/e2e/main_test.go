// Package e2e holds the end-to-end tests: real connector processes, the Lambda
// binaries behind the gateway, TiDB and SQS over the network. Only WhatsApp is
// simulated. One rig serves all tests; each has its own sessions, phones and
// connectors.
package e2e

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cloudsession/connector/control"
	"cloudsession/connector/watest"
	"cloudsession/functions/api/apitest"
	"cloudsession/infra/local/rig"
)

var world struct {
	*rig.Rig
	dir  string
	next atomic.Int64
}

// nameTaken is how long the queue service refuses the name of a deleted queue; SQS's
// minute would be waited for.
const nameTaken = 4 * time.Second

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) (code int) {
	dir, err := os.MkdirTemp("", "cloudsession-e2e-*")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	log, err := os.Create(filepath.Join(dir, "processes.log"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	world.dir = dir
	checker, err := apitest.New()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	world.Rig, err = rig.Start(ctx, rig.Options{
		Dir: filepath.Join(dir, "stack"), Out: log, Env: rig.Unhurried,
		Transport: func(base http.RoundTripper) http.RoundTripper { return checker.Transport(base) },
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "start the system:", err)
		return 1
	}
	world.Stack.Queue().SetNameTaken(nameTaken)
	if err := grantScenes(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "grant the tests' databases:", err)
		code = 1
	} else {
		code = m.Run()
	}
	if err := world.Close(); err != nil {
		fmt.Fprintln(os.Stderr, "stop the system:", err)
		code = 1
	}
	if err := log.Close(); err != nil {
		code = 1
	}
	if races, err := ownRaces(log.Name()); err != nil || len(races) > 0 {
		fmt.Fprintln(os.Stderr, "data races in the connectors:", err, strings.Join(races, "\n"))
		code = 1
	}
	if code != 0 {
		fmt.Fprintln(os.Stderr, "the processes' logs are in", filepath.Join(dir, "processes.log"))
		return code
	}
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// stopTime is how long a connector may take to end.
const stopTime = rig.StopTime

// scene is one test's cast: a session, the phone that owns it, a peer.
type scene struct {
	t           *testing.T
	ctx         context.Context
	session     string
	owner, peer *watest.Phone
	number      int64 // of the scene
	n           int
	schema      string // a database of its own; "" for the one that the API serves
}

func newScene(t *testing.T) *scene {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	t.Cleanup(cancel)
	n := world.next.Add(1)
	s := &scene{t: t, ctx: ctx, number: n, session: fmt.Sprintf("%s %d", t.Name(), n)}
	s.owner, s.peer = s.phone(n, 1), s.phone(n, 2)
	t.Cleanup(s.retire) // after the connectors, whose cleanups come later and so run first
	return s
}

func (s *scene) phone(n, who int64) *watest.Phone {
	s.t.Helper()
	p, err := world.WhatsApp.NewPhone(fmt.Sprintf("62811%04d%02d", n, who), fmt.Sprintf("phone %d", who))
	s.must(err)
	return p
}

func (s *scene) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// connector starts a connector process that ends with the test.
func (s *scene) connector(name string, env ...string) *rig.Connector {
	s.t.Helper()
	s.n++
	id := fmt.Sprintf("%s-%d-%d", name, s.number, s.n)
	return s.connectorIn(id, filepath.Join(world.dir, id), env...)
}

func (s *scene) connectorIn(id, dir string, env ...string) *rig.Connector {
	s.t.Helper()
	if s.schema != "" {
		env = append(env, "TIDB_DATABASE="+s.schema)
	}
	// Races are looked for in the log, see ownRaces.
	c, err := world.StartConnector(s.ctx, id, dir, append(env, "GORACE=exitcode=0")...)
	s.must(err)
	s.t.Cleanup(func() {
		// A test that stopped or killed it already gets nil here as well.
		if err := c.Stop(stopTime); err != nil {
			s.t.Errorf("stop connector %s: %v", id, err)
		}
		if s.t.Failed() {
			s.t.Logf("log of connector %s:\n%s", id, c.Logs())
		}
	})
	return c
}

// paired starts a connector and links the session to the owner's phone.
func (s *scene) paired(name string, env ...string) *rig.Connector {
	s.t.Helper()
	c := s.connector(name, env...)
	s.must(c.Pair(s.ctx, s.session, s.owner))
	return c
}

// talk exchanges one text each way and waits until both were read.
func (s *scene) talk(c *rig.Connector) {
	s.t.Helper()
	s.says(c)
	s.hears(c)
}

func (s *scene) says(c *rig.Connector) {
	s.t.Helper()
	s.n++
	text := fmt.Sprintf("from the session %d", s.n)
	_, err := c.Send(s.ctx, s.session, control.SendRequest{To: s.peer.PN().String(), Text: text})
	s.must(err)
	_, err = s.peer.WaitText(s.ctx, text)
	s.must(err)
}

func (s *scene) hears(c *rig.Connector) {
	s.t.Helper()
	text := s.peerWrites()
	_, err := c.WaitText(s.ctx, s.session, text)
	s.must(err)
}

func (s *scene) peerWrites() string {
	s.t.Helper()
	s.n++
	text := fmt.Sprintf("from the peer %d", s.n)
	_, err := s.peer.SendText(s.ctx, s.owner.PN(), text)
	s.must(err)
	return text
}

func (s *scene) path(what string) string {
	return "/cloud/sessions/" + url.PathEscape(s.session) + what
}

// call makes an API request that must be answered with the given status, in the end.
func (s *scene) call(status int, method, what string) string {
	s.t.Helper()
	return s.callWith(status, method, what, nil)
}

// callWith is call with a body.
func (s *scene) callWith(status int, method, what string, body any) string {
	s.t.Helper()
	resp := s.answer(method, s.path(what), body)
	if resp.Status != status {
		s.t.Fatalf("%s %s: got %d %s, want %d", method, what, resp.Status, resp.Body, status)
	}
	return string(resp.Body)
}

// answer makes an API request, again while the answer is that it takes longer than
// a request may.
func (s *scene) answer(method, path string, body any) rig.Response {
	s.t.Helper()
	for {
		resp, err := world.API(s.ctx, method, path, body)
		s.must(err)
		if !later(resp.Status) {
			return resp
		}
		s.pause()
	}
}

// later tells whether a status says that a busy machine needs more time.
func later(status int) bool {
	return status == http.StatusAccepted || status == http.StatusServiceUnavailable
}

// restore asks for a restore until it is done: an owner that has died keeps the
// session until its lease has run out.
func (s *scene) restore() string {
	s.t.Helper()
	return s.call(http.StatusOK, http.MethodPost, "/restore")
}

// nothingLost checks the phones' side of the account.
func (s *scene) nothingLost(c *rig.Connector) {
	s.t.Helper()
	s.must(world.WhatsApp.WaitNothingLost(s.ctx))
	if n := world.WhatsApp.Counters().ShownTwice; n != 0 {
		s.t.Errorf("%d texts were shown twice by phones", n)
	}
	for _, r := range world.WhatsApp.Reuses() {
		s.t.Errorf("message key %d used for %s and %s", r.Counter, r.FirstID, r.ID)
	}
	seen := map[string]bool{}
	s.must(c.Messages(s.ctx, s.session, 0, false, func(m control.Message) error {
		if key := m.Chat + " " + m.Sender + " " + m.ID; seen[key] {
			s.t.Errorf("message %s was shown twice", m.ID)
		} else {
			seen[key] = true
		}
		return nil
	}))
}

// waitLog waits until the connector has logged a text.
func (s *scene) waitLog(c *rig.Connector, text string) {
	s.t.Helper()
	for !strings.Contains(c.Logs(), text) {
		select {
		case <-s.ctx.Done():
			s.t.Fatalf("connector %s never logged %q", c.ID(), text)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
