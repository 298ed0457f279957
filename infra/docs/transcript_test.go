package docs

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"cloudsession/connector/control"
	"cloudsession/connector/watest"
	"cloudsession/infra/local/rig"
)

// world is the running system that transcripts are checked in: connectors a and b on
// the database and with the user that docs/deploy.md makes, and two phones.
type world struct {
	t           *testing.T
	ctx         context.Context
	rig         *rig.Rig
	dir         string
	owner, peer *watest.Phone
	connectors  map[string]*rig.Connector
	database    []string // the variables of the connectors' user
	paired      bool
}

func newWorld(t *testing.T) *world {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	t.Cleanup(cancel)
	watest.SilenceSignal()
	w := &world{t: t, ctx: ctx, dir: t.TempDir(), connectors: map[string]*rig.Connector{}}
	var err error
	w.rig, err = rig.Start(ctx, rig.Options{Dir: filepath.Join(w.dir, "stack"), Out: io.Discard, Built: true, Env: rig.Unhurried})
	w.must(err)
	t.Cleanup(func() { w.must(w.rig.Close()) })
	w.owner, err = w.rig.WhatsApp.NewPhone("628110000001", "Owner")
	w.must(err)
	w.peer, err = w.rig.WhatsApp.NewPhone("628110000002", "Peer")
	w.must(err)
	w.makeDatabase()
	w.linkPrograms()
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// linkPrograms puts the connector where a shell finds it under both names, the curl
// of these tests, and a sudo that has nothing to do.
func (w *world) linkPrograms() {
	w.t.Helper()
	binary, err := filepath.Abs(connectorBinary())
	w.must(err)
	bin := filepath.Join(w.dir, "bin")
	w.must(os.Mkdir(bin, 0o700))
	self, err := os.Executable()
	w.must(err)
	for name, program := range map[string]string{"connector": binary, "cloudsession": binary, "curl": self} {
		w.must(os.Symlink(program, filepath.Join(bin, name)))
	}
	w.must(os.WriteFile(filepath.Join(bin, "sudo"), []byte("#!/bin/sh\n[ \"$1\" = -u ] && shift 2\nexec \"$@\"\n"), 0o700))
}

// connector is a running connector, started when first needed.
func (w *world) connector(id string) *rig.Connector {
	w.t.Helper()
	if c := w.connectors[id]; c != nil {
		return c
	}
	c, err := w.rig.StartConnector(w.ctx, id, filepath.Join(w.dir, id), w.database...)
	w.must(err)
	w.t.Cleanup(func() {
		if err := c.Stop(rig.StopTime); err != nil {
			w.t.Errorf("%v\n%s", err, c.Logs())
		}
	})
	w.connectors[id] = c
	return c
}

// enter makes what a scene begins with true.
func (w *world) enter(scene string) {
	w.t.Helper()
	a := w.connector("jakarta-1")
	switch scene {
	case "running":
		w.have(a, "toko", w.owner)
	case "two connectors":
		w.connector("jakarta-2")
		w.have(a, "toko", w.owner)
	default:
		w.t.Fatalf("no scene %q", scene)
	}
	w.wait("the connector to be ready", func() bool { return w.ready(a) })
}

// have has a session on a connector, with a text that has come in. It is paired when
// first needed; later it is brought back from wherever a transcript has left it.
func (w *world) have(c *rig.Connector, session string, phone *watest.Phone) {
	w.t.Helper()
	if !w.paired {
		w.paired = true
		w.must(c.Pair(w.ctx, session, phone))
		_, err := w.peer.SendText(w.ctx, phone.PN(), "Is the shop open?")
		w.must(err)
		_, err = c.WaitText(w.ctx, session, "Is the shop open?")
		w.must(err)
	} else if !w.holds(c, session) {
		for _, other := range w.connectors {
			if other != c && w.holds(other, session) {
				w.must(other.Close(w.ctx, session))
			}
		}
		_, err := c.Open(w.ctx, session)
		w.must(err)
	}
	w.wait("the session to be connected and pushed", func() bool { return w.quiet(c, session) })
}

// quiet tells whether a session is as transcripts show it: live, with nothing to be
// done about it at the moment.
func (w *world) quiet(c *rig.Connector, session string) bool {
	w.t.Helper()
	list, err := c.Sessions(w.ctx)
	w.must(err)
	return slices.ContainsFunc(list, func(s control.Session) bool {
		live := s.State == "connected" || s.State == "restored safely"
		return s.SessionID == session && live && s.SyncedAt != nil && !s.Pending && s.Unprotected == ""
	})
}

// ready tells whether a connector says that it may be given sessions.
func (w *world) ready(c *rig.Connector) bool {
	w.t.Helper()
	url, err := c.MetricsURL()
	if err != nil {
		return false // not said yet
	}
	req, err := http.NewRequestWithContext(w.ctx, http.MethodGet, url+"/readyz", http.NoBody)
	w.must(err)
	client := &http.Client{Transport: &http.Transport{Proxy: nil, DisableKeepAlives: true}}
	resp, err := client.Do(req)
	w.must(err)
	w.must(resp.Body.Close())
	return resp.StatusCode == http.StatusOK
}

// wait polls until a condition holds.
func (w *world) wait(what string, condition func() bool) {
	w.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-w.ctx.Done():
			w.t.Fatalf("waited in vain for %s", what)
		}
	}
}

func (w *world) holds(c *rig.Connector, session string) bool {
	w.t.Helper()
	list, err := c.Sessions(w.ctx)
	w.must(err)
	return slices.ContainsFunc(list, func(s control.Session) bool {
		return s.SessionID == session && (s.State == "connected" || s.State == "restored safely")
	})
}

// metricsServed is where a connector says that its metrics are.
var metricsServed = regexp.MustCompile(`msg="metrics are served" addr=(\S+)`)

// shell runs a command line as it stands in a text.
func (w *world) shell(line string) string {
	w.t.Helper()
	cmd := exec.CommandContext(w.ctx, "/bin/sh", "-c", line)
	cmd.Dir = w.dir
	a := w.connector("jakarta-1")
	cmd.Env = append(a.Env(), "PATH="+filepath.Join(w.dir, "bin")+":/usr/bin:/bin")
	if served := metricsServed.FindStringSubmatch(a.Logs()); served != nil {
		cmd.Env = append(cmd.Env, "METRICS="+served[1])
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out) + fmt.Sprintf("(%v)\n", err)
	}
	return string(out)
}

// matches tells whether output is what a text shows: "…" stands for anything within
// a line, a line of it for any lines, and digits, like blanks, for as many others.
func matches(shown []string, output string) bool {
	var b strings.Builder
	b.WriteString("^")
	for _, line := range shown {
		line = strings.TrimRight(line, " ")
		if line == "…" {
			b.WriteString(`(?s:.*)`)
			continue
		}
		p := regexp.QuoteMeta(line)
		p = regexp.MustCompile(`[0-9]+`).ReplaceAllString(p, `[0-9]+`)
		p = regexp.MustCompile(` +`).ReplaceAllString(p, ` +`)
		b.WriteString(strings.ReplaceAll(p, "…", `.*`) + " *\n")
	}
	return regexp.MustCompile(b.String() + "$").MatchString(output)
}

// TestTranscripts runs what the texts mark as checked: commands and what they print.
func TestTranscripts(t *testing.T) {
	w := newWorld(t)
	ran := 0
	for _, d := range documents(t) {
		for _, f := range d.fences {
			if f.checked == "" {
				continue
			}
			ran++
			w.enter(f.checked)
			for _, step := range steps(f.lines) {
				out := w.shell(step.command)
				t.Logf("%s:\n$ %s\n%s", d.name, step.command, out)
				if !matches(step.output, out) {
					t.Errorf("%s: %s prints\n%s\nthe text shows\n%s", d.name, step.command, out, strings.Join(step.output, "\n"))
				}
			}
		}
	}
	if ran == 0 {
		t.Error("no transcript is marked as checked")
	}
}

type step struct {
	command string
	output  []string
}

func steps(lines []string) (all []step) {
	for _, line := range lines {
		if command, ok := strings.CutPrefix(line, "$ "); ok {
			all = append(all, step{command: command})
		} else if len(all) > 0 {
			all[len(all)-1].output = append(all[len(all)-1].output, line)
		}
	}
	return all
}

// TestMatches: another output is not what the text shows.
func TestMatches(t *testing.T) {
	shown := []string{"toko → b (12 ms)", "moved 1, 0 open here"}
	for output, want := range map[string]bool{
		"toko → b (9 ms)\nmoved 1, 0 open here\n":       true,
		"toko → a (9 ms)\nmoved 1, 0 open here\n":       false,
		"toko → b (9 ms)\n":                             false,
		"toko → b (9 ms)\nmoved 1, 0 open here\nmore\n": false,
	} {
		if got := matches(shown, output); got != want {
			t.Errorf("%q: %t", output, got)
		}
	}
	if !matches([]string{"a …", "…", "z"}, "a 1\nb\nc\nz\n") {
		t.Error("an ellipsis does not stand for what is left out")
	}
}
