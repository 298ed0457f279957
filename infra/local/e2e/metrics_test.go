package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"cloudsession/infra/local/rig"
)

// ask gets a path of a connector's metrics server.
func (s *scene) ask(c *rig.Connector, path string) (int, []byte) {
	s.t.Helper()
	url, err := c.MetricsURL()
	s.must(err)
	req, err := http.NewRequestWithContext(s.ctx, http.MethodGet, url+path, http.NoBody)
	s.must(err)
	client := &http.Client{Transport: &http.Transport{Proxy: nil, DisableKeepAlives: true}}
	resp, err := client.Do(req)
	s.must(err)
	body, err := io.ReadAll(resp.Body)
	s.must(errors.Join(err, resp.Body.Close()))
	return resp.StatusCode, body
}

// metrics scrapes a connector: "name" or "name{label=value,…}" without the
// namespace to the value; of a histogram the number of observations.
func (s *scene) metrics(c *rig.Connector) map[string]float64 {
	s.t.Helper()
	status, body := s.ask(c, "/metrics")
	if status != http.StatusOK {
		s.t.Fatalf("/metrics: %d %s", status, body)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(body))
	s.must(err)
	all := map[string]float64{}
	for name, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			key := strings.TrimPrefix(name, "cloudsession_")
			if len(labels) > 0 {
				key += "{" + strings.Join(labels, ",") + "}"
			}
			all[key] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return all
}

// shows waits until a connector's metrics have the values.
func (s *scene) shows(c *rig.Connector, want map[string]float64) {
	s.t.Helper()
	for {
		got, wrong := s.metrics(c), []string(nil)
		for key, value := range want {
			if have, there := got[key]; !there || have != value {
				wrong = append(wrong, fmt.Sprintf("%s is %v (there: %v), want %v", key, have, there, value))
			}
		}
		if len(wrong) == 0 {
			return
		}
		select {
		case <-s.ctx.Done():
			s.t.Fatalf("connector %s: %s", c.ID(), strings.Join(wrong, "\n"))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// moves waits until a connector's metrics all are more than nothing.
func (s *scene) moves(c *rig.Connector, names ...string) {
	s.t.Helper()
	for {
		got := s.metrics(c)
		still := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return got[name] > 0 })
		if len(still) == 0 {
			return
		}
		select {
		case <-s.ctx.Done():
			s.t.Fatalf("connector %s: %q never moved", c.ID(), still)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// done counts the commands that were carried out for the session. An order that is
// repeated, since the machine is slow, may be several.
func (s *scene) done(kind string) float64 {
	s.t.Helper()
	var n int
	s.must(s.database().QueryRowContext(s.ctx, "SELECT COUNT(*) FROM commands WHERE session_id = ? AND kind = ? AND state = 'done'", s.session, kind).Scan(&n))
	return float64(n)
}

// ready waits until a connector says whether it may be given sessions, and why. It
// is healthy all the while.
func (s *scene) ready(c *rig.Connector, want int, says string) {
	s.t.Helper()
	for {
		if status, body := s.ask(c, "/healthz"); status != http.StatusOK {
			s.t.Fatalf("/healthz: %d %s", status, body)
		}
		status, body := s.ask(c, "/readyz")
		if status == want && strings.Contains(string(body), says) {
			return
		}
		select {
		case <-s.ctx.Done():
			s.t.Fatalf("/readyz of connector %s: %d %s, want %d %s", c.ID(), status, body, want, says)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// rest is the pause between two looks at something.
func (s *scene) rest() {
	s.t.Helper()
	select {
	case <-s.ctx.Done():
		s.t.Fatal(s.ctx.Err())
	case <-time.After(50 * time.Millisecond):
	}
}

// A session's life in numbers: paired, talking, synced, handed over, lost with its
// machine and restored safely.
func TestMetricsTellWhatHappened(t *testing.T) {
	s := newScene(t)
	a := s.paired("a")
	s.talk(a)
	s.call(http.StatusOK, http.MethodPost, "/sync")
	s.waitAcknowledged()
	s.waitPushed(a)
	s.shows(a, map[string]float64{
		"epochs_taken_total{start=new}": 1, "epochs_taken_total{start=safe}": 0, "restore_duration_seconds{start=safe}": 0,
		"sessions{state=connected}": 1, "sessions_unprotected": 0, "sync_lag_seconds": 0, "sends_unfinished": 0, "sends_unfinished_age_seconds": 0,
		"messages_sent_total": 1, "messages_received_total": 1, "messages_refused_total": 0,
		"command_duration_seconds{kind=sync,outcome=done}": s.done("sync"), "command_duration_seconds{kind=sync,outcome=failed}": 0,
		"pushes_total{kind=base}": 1, "compactions_total": 0, "fenced_writes_total": 0, "tidb_up": 1,
	})
	s.moves(a,
		"pushes_total{kind=delta}", "pushed_bytes_total{kind=base}", "change_durable_seconds", "push_statement_rows",
		"acknowledgement_wait_seconds{by=cloud}", "tidb_statement_duration_seconds{statement=insert}",
		"tidb_statement_duration_seconds{statement=commit}", "lease_remaining_seconds", "process_resident_memory_bytes",
	)

	b := s.connector("b")
	s.restoreOn(http.StatusOK, b.ID())
	s.shows(a, map[string]float64{
		"handoffs_total": 1, "sessions{state=connected}": 0, "command_duration_seconds{kind=restore,outcome=handed_on}": 1,
	})
	restored := s.done("restore")
	s.shows(b, map[string]float64{
		"epochs_taken_total{start=exact}": restored, "restore_duration_seconds{start=exact}": restored, "sessions{state=connected}": 1,
		"command_duration_seconds{kind=restore,outcome=done}": restored, "handoffs_total": 0,
	})
	s.talk(b)
	s.waitPushed(b)
	s.must(a.Stop(stopTime))

	s.must(b.Kill9())
	s.must(os.RemoveAll(b.DataDir()))
	c := s.connector("c")
	s.must(c.WaitState(s.ctx, s.session, "restored safely")) // nobody asks for it, so it is loaded once
	s.shows(c, map[string]float64{
		"epochs_taken_total{start=safe}": 1, "restore_duration_seconds{start=safe}": 1, "restore_duration_seconds{start=exact}": 0,
		"sessions{state=restored safely}": 1,
	})
	s.talk(c)
	s.shows(c, map[string]float64{"sessions{state=connected}": 1, "messages_sent_total": 1, "messages_received_total": 1})
	s.nothingLost(c)
}

// What ends is counted by how: a clone of the device, another owner, the phone; and
// what the application takes, or doesn't.
func TestMetricsTellOfEndings(t *testing.T) {
	s := newScene(t)
	app := s.application()
	app.Answer(http.StatusServiceUnavailable)
	c := s.paired("c", app.Env()...)
	s.talk(c)
	s.waitPushed(c)
	s.shows(c, map[string]float64{"webhook_waiting": 1, "webhook_failing_chats": 1, "webhook_deliveries_total": 0})
	app.Answer(http.StatusOK)
	s.shows(c, map[string]float64{"webhook_waiting": 0, "webhook_failing_chats": 0, "webhook_deliveries_total": 1})
	if failed := s.metrics(c)["webhook_failures_total"]; failed < 1 {
		t.Errorf("%v deliveries failed", failed)
	}

	device := s.device()
	if n := world.WhatsApp.Faults().Cut(&device); n != 1 {
		t.Fatalf("%d sockets cut", n)
	}
	s.shows(c, map[string]float64{"reconnects_total": 1, "sessions{state=connected}": 1})
	if n := world.WhatsApp.Faults().Replace(&device); n != 1 {
		t.Fatalf("%d sockets replaced", n)
	}
	s.shows(c, map[string]float64{"sessions_replaced_total": 1, "sessions_lost_total{reason=taken}": 0, "epochs_taken_total{start=safe}": 1})
	s.must(c.WaitState(s.ctx, s.session, "restored safely"))
	// From its own file; or from the cloud, if this machine is so slow that the lease had run out.
	s.shows(c, map[string]float64{"restore_duration_seconds{start=safe}": s.metrics(c)["sessions_lost_total{reason=replaced}"]})
	s.talk(c)
	s.waitPushed(c)

	s.exec(s.database(), "UPDATE session_owners SET connector_id = 'elsewhere', epoch = epoch + 1 WHERE session_id = ?")
	s.shows(c, map[string]float64{"sessions_lost_total{reason=taken}": 1, "sessions{state=connected}": 0})

	other := newScene(t)
	other.must(c.Pair(other.ctx, other.session, other.owner))
	other.must(other.owner.Unlink(other.ctx, other.device()))
	s.shows(c, map[string]float64{"sessions_ended_total{state=logged_out}": 1, "sessions_ended_total{state=banned}": 0})
}

// TiDB is away: the connector may not be given sessions, and says why; a restart
// would not help, so it is healthy. Its metrics tell what waits.
func TestReadyWhileTheDatabaseIsCut(t *testing.T) {
	s := newScene(t)
	link, env := s.databaseLink()
	c := s.paired("c", env...)
	s.talk(c)
	s.waitPushed(c)
	s.ready(c, http.StatusOK, `"ok"`)
	link.cut()
	s.says(c) // committed here, in TiDB not
	s.ready(c, http.StatusServiceUnavailable, `"tidb"`)
	s.hears(c)
	for s.metrics(c)["sync_lag_seconds"] < 1 {
		s.rest()
	}
	s.shows(c, map[string]float64{"tidb_up": 0, "sessions_unprotected": 1, "sessions{state=connected}": 1})
	s.moves(c, "tidb_errors_total{kind=unavailable}", "push_retries_total", "acknowledgement_wait_seconds{by=disk}")
	s.ready(c, http.StatusServiceUnavailable, `"lease"`) // it has run out
	link.mend()
	s.ready(c, http.StatusOK, `"ok"`)
	s.shows(c, map[string]float64{"tidb_up": 1, "sync_lag_seconds": 0, "sessions_unprotected": 0})
	s.talk(c)
	s.nothingLost(c)
}

// A connector that drains, or is full, works and takes nothing.
func TestReadyWhileDraining(t *testing.T) {
	s := newScene(t)
	c := s.connector("c", "CAPACITY=1")
	s.ready(c, http.StatusOK, `"ok"`)
	s.must(c.Pair(s.ctx, s.session, s.owner))
	s.ready(c, http.StatusServiceUnavailable, `"capacity"`)
	empty := s.connector("empty")
	if out, err := empty.Command(s.ctx, "drain").CombinedOutput(); err != nil {
		t.Fatalf("drain: %v\n%s", err, out)
	}
	s.ready(empty, http.StatusServiceUnavailable, `"draining"`)
	s.shows(empty, map[string]float64{"draining": 1})
}
