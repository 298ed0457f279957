package leakscan

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cloudsession/connector/control"
	"cloudsession/connector/watest"
	"cloudsession/functions/api/apitest"
	"cloudsession/infra/local/rig"
	"cloudsession/infra/local/sqsemu"
	"cloudsession/shared/devtoken"
)

// The places that are scanned.
const (
	inLogs    = "the processes' logs"
	inCLI     = "what the commands printed"
	inAPI     = "the API's answers"
	inQueue   = "the queue's requests and answers"
	inRows    = "the rows in TiDB"
	inFiles   = "TiDB's files"
	inMetrics = "the metrics"
	inWatch   = "the log of the function that watches"
)

// run is one whole run and what is looked for in it.
type run struct {
	t       *testing.T
	ctx     context.Context
	rig     *rig.Rig
	dir     string
	secrets Scanner // nowhere
	config  Scanner // not on a connector's disk either
	numbers Scanner // the phones': nowhere but where a command shows them
	canary  Scanner // everywhere: no secret, and shows that a place was looked at
	emf     Scanner // in the functions' metrics, which are lines of their logs
	seen    places
	app     *rig.Webhook
	env     []string // of every connector

	session     string // its name is the canary
	owner, peer *watest.Phone
	token       string
	dirs        []string // of the connectors
	connectors  []*rig.Connector
	scraped     map[*rig.Connector]bool
	deployment  string // whose metrics the functions' are
	texts       int
}

// random is a text that stands nowhere else.
func random(prefix string) string {
	var b [15]byte
	_, _ = rand.Read(b[:]) // never fails
	return prefix + base64.RawURLEncoding.EncodeToString(b[:])
}

func (r *run) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// secret makes a text that must be seen nowhere.
func (r *run) secret(what string) string {
	text := random("marker-")
	r.secrets.Add(what, []byte(text))
	return text
}

// configured is a secret of the configuration: not on a connector's disk either.
func (r *run) configured(what, value string) string {
	r.secrets.Add(what, []byte(value))
	r.config.Add(what, []byte(value))
	return value
}

// start starts the system with every log at its most talkative.
func start(t *testing.T) *run {
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	t.Cleanup(cancel)
	r := &run{t: t, ctx: ctx, dir: t.TempDir(), session: random("canary-"), deployment: random("deployment-"), scraped: map[*rig.Connector]bool{}}
	r.canary.Add("the session's name", []byte(r.session))
	r.emf.Add("the dimension of metrics", []byte(`"Deployment":"`+r.deployment+`"`))
	environment := map[string]string{"LOG_LEVEL": "debug", "AWS_ENDPOINT_URL_SQS": r.queue(), "AWS_REGION": "local"}
	checker, err := apitest.New()
	r.must(err)
	r.rig, err = rig.Start(ctx, rig.Options{
		Dir: filepath.Join(r.dir, "stack"), Out: log{&r.seen, inLogs},
		Env:         rig.Unhurried,
		FunctionEnv: []string{"DEPLOYMENT=" + r.deployment},
		Getenv:      func(name string) string { return environment[name] },
		Transport: func(next http.RoundTripper) http.RoundTripper {
			return recorder{&r.seen, inAPI, false, checker.Transport(next)}
		},
	})
	r.must(err)
	t.Cleanup(func() { r.must(r.rig.Close()) })
	r.webhook()
	r.configured("SESSION_ENCRYPTION_SECRET", r.rig.Stack.SessionSecret())
	r.configured("JWT_SECRET", r.rig.Stack.JWTSecret())
	r.configured("TIDB_PASSWORD", r.rig.Stack.StoreConfig().Password)
	r.token = r.bearer(devtoken.ScopeRead, devtoken.ScopeWrite)
	r.owner, r.peer = r.phone("628110001"), r.phone("628110002")
	r.numbers.Add("the peer's number", []byte(r.peer.PN().User))
	r.numbers.Add("the session's own number", []byte(r.owner.PN().User))
	return r
}

// queue starts the SQS emulator behind a proxy that notes all that passes.
func (r *run) queue() (endpoint string) {
	server := new(sqsemu.Server)
	_, err := server.Listen(r.ctx, "127.0.0.1:0")
	r.must(err)
	target, err := url.Parse(server.URL())
	r.must(err)
	proxy := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite:   func(p *httputil.ProxyRequest) { p.SetURL(target) },
		Transport: recorder{&r.seen, inQueue, true, http.DefaultTransport},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) {
			w.WriteHeader(http.StatusBadGateway) // a poll that was given up
		},
	})
	r.t.Cleanup(func() {
		proxy.CloseClientConnections()
		proxy.Close()
		r.must(server.Close())
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
	return proxy.URL
}

// webhook starts the application that messages are delivered to.
func (r *run) webhook() {
	var err error
	r.app, err = rig.ListenWebhook(r.ctx)
	r.must(err)
	r.t.Cleanup(func() { r.must(r.app.Close()) })
	inURL := r.configured("a token in WEBHOOK_URL", random("hook-"))
	r.configured("WEBHOOK_SECRET", rig.WebhookSecret)
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(rig.WebhookSecret, "whsec_"))
	r.must(err)
	r.configured("the key in WEBHOOK_SECRET", string(key))
	for _, v := range r.app.Env() {
		r.env = append(r.env, strings.Replace(v, "t0ken", inURL, 1))
	}
}

func (r *run) bearer(scopes ...string) string {
	token, err := r.rig.Stack.Token(scopes...)
	r.must(err)
	r.secrets.Add("a bearer token", []byte(token))
	_, signature, _ := strings.Cut(token[strings.Index(token, ".")+1:], ".")
	r.secrets.Add("a bearer token's signature", []byte(signature))
	return token
}

// phone is a phone whose owner has a name to keep.
func (r *run) phone(number string) *watest.Phone {
	p, err := r.rig.WhatsApp.NewPhone(number, r.secret("a push name"))
	r.must(err)
	return p
}

// connector starts a connector that ends with the test.
func (r *run) connector(id string, env ...string) *rig.Connector {
	r.t.Helper()
	dir := filepath.Join(r.dir, id)
	r.dirs = append(r.dirs, dir)
	// whatsmeow has races of its own, which would fail a run with the race detector at random.
	env = slices.Concat(r.env, []string{"GORACE=exitcode=0", "METRICS_ADDR=127.0.0.1:0"}, env)
	c, err := r.rig.StartConnector(r.ctx, id, dir, env...)
	r.must(err)
	r.connectors = append(r.connectors, c)
	r.t.Cleanup(func() {
		select {
		case <-c.Done(): // it was stopped or killed on purpose
		default:
			r.must(c.Stop(rig.StopTime))
		}
		if r.t.Failed() {
			r.t.Logf("log of %s:\n%s", id, c.Logs())
		}
	})
	return c
}

// pair links a session by QR code, or by pairing code.
func (r *run) pair(c *rig.Connector, session string, phone *watest.Phone, byCode bool) {
	r.t.Helper()
	request := control.PairRequest{}
	if byCode {
		request.Phone = "+" + phone.PN().User
	}
	r.must(c.Client.Pair(r.ctx, session, request, func(e control.PairEvent) error {
		switch e.Kind {
		case "qr":
			r.secrets.Add("a QR text", []byte(e.QR))
			for _, part := range strings.FieldsFunc(e.QR, func(r rune) bool { return r == ',' || r == '#' })[1:] {
				if len(part) >= window {
					r.secrets.Add("a part of a QR text", []byte(part))
				}
			}
			_, err := phone.ScanQR(r.ctx, e.QR)
			return err
		case "code":
			r.secrets.Add("a pairing code", []byte(e.Code))
			if plain := strings.ReplaceAll(e.Code, "-", ""); len(plain) >= window {
				r.secrets.Add("a pairing code", []byte(plain))
			}
			_, err := phone.EnterCode(r.ctx, e.Code)
			return err
		case "failed":
			return errors.New(e.Error)
		}
		return nil
	}))
}

// talk sends a text each way, and one from the account's own phone.
func (r *run) talk(c *rig.Connector) {
	r.t.Helper()
	r.delivered(c, r.texted(c)...)
}

// texted sends the texts of talk. What comes to the session has begun to arrive.
func (r *run) texted(c *rig.Connector) (coming []string) {
	r.t.Helper()
	r.texts++
	out, in, own := r.secret("a text that was sent"), r.secret("a text that came"), r.secret("a text of the phone's")
	_, err := c.Send(r.ctx, r.session, control.SendRequest{To: r.peer.PN().String(), Text: out, Key: random("key-")})
	r.must(err)
	_, err = r.peer.WaitText(r.ctx, out)
	r.must(err)
	_, err = r.peer.SendText(r.ctx, r.owner.PN(), in)
	r.must(err)
	_, err = r.owner.SendText(r.ctx, r.peer.PN(), own)
	r.must(err)
	_, err = c.WaitText(r.ctx, r.session, in)
	r.must(err)
	return []string{in, own}
}

// delivered waits until texts are in the inbox and with the application.
func (r *run) delivered(c *rig.Connector, texts ...string) {
	r.t.Helper()
	for _, text := range texts {
		_, err := c.WaitText(r.ctx, r.session, text)
		r.must(err)
	}
	r.must(r.app.WaitTexts(r.ctx, texts...))
	r.keys()
}

// pushed waits until TiDB has everything of the session.
func (r *run) pushed(c *rig.Connector) {
	r.t.Helper()
	for {
		list, err := c.Sessions(r.ctx)
		r.must(err)
		if slices.ContainsFunc(list, func(s control.Session) bool { return s.SessionID == r.session && !s.Pending }) {
			return
		}
		select {
		case <-r.ctx.Done():
			r.t.Fatal("the changes were never pushed")
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// keys reads what keys the connectors' files hold now.
func (r *run) keys() {
	r.t.Helper()
	total := map[string]int{}
	for _, dir := range r.dirs {
		count, err := addKeys(r.ctx, &r.secrets, dir)
		r.must(err)
		for table, n := range count {
			total[table] += n
		}
	}
	for _, table := range []string{"whatsmeow_device", "whatsmeow_pre_keys", "whatsmeow_sessions"} {
		if total[table] == 0 {
			r.t.Errorf("no key was found in %s: the test looks for nothing", table)
		}
	}
}

// cli runs a command beside a connector and notes what it prints.
func (r *run) cli(c *rig.Connector, env []string, args ...string) (code int) {
	r.t.Helper()
	cmd := c.Command(r.ctx, args...)
	cmd.Env = append(cmd.Env, env...)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		r.t.Fatalf("connector %v: %v", args, err)
	}
	r.seen.add(inCLI, out)
	if code = cmd.ProcessState.ExitCode(); code != 0 {
		r.t.Logf("connector %v: exit %d: %s", args, code, bytes.TrimSpace(out))
	}
	return code
}

// call makes a request of the API, until it is answered with the status.
func (r *run) call(token string, status int, method, path string, body any) {
	r.t.Helper()
	for {
		response, err := r.rig.APIAs(r.ctx, token, method, path, body)
		r.must(err)
		switch response.Status {
		case status:
			return
		case http.StatusAccepted, http.StatusServiceUnavailable: // this machine needs more time
		default:
			r.t.Fatalf("%s %s: %d %s, want %d", method, path, response.Status, response.Body, status)
		}
		select {
		case <-r.ctx.Done():
			r.t.Fatalf("%s %s: %d %s, want %d", method, path, response.Status, response.Body, status)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (r *run) path(what string) string { return "/cloud/sessions/" + r.session + what }

// files notes every file of the database.
func (r *run) files() {
	r.t.Helper()
	dir := filepath.Join(r.rig.Stack.Dir(), "tidb")
	r.must(filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		r.seen.add(inFiles, data)
		return err
	}))
}
