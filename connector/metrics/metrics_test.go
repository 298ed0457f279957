package metrics

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"

	"cloudsession/connector/manager"
	"cloudsession/connector/replicate"
	"cloudsession/connector/webhook"
	"cloudsession/infra/local/tidbtest"
	"cloudsession/shared/cloudstore"
	"cloudsession/shared/command"
)

type family = dto.MetricFamily

type fixedLease struct {
	left     time.Duration
	answered bool
}

func (l fixedLease) Remaining() time.Duration { return l.left }
func (l fixedLease) Answered() bool           { return l.answered }

// watched returns metrics that show a connector with two sessions.
func watched() *Metrics {
	m := New("v1.2.3")
	m.Watch(Sources{
		Overview: func() manager.Overview {
			return manager.Overview{
				States:      map[string]int{"connected": 1, "disconnected": 1},
				Unprotected: 1, OpenSends: 3, OldestSend: 7 * time.Second,
				Load: cloudstore.Load{Capacity: 10, Sessions: 2, Draining: true, SyncLag: 1500 * time.Millisecond},
			}
		},
		Lease:     fixedLease{4 * time.Second, true},
		Heartbeat: func() time.Duration { return 2 * time.Second },
		Webhook: func() webhook.Counters {
			return webhook.Counters{Delivered: 7, Failed: 6, Expired: 5, Failing: 4, Waiting: 8}
		},
	})
	return m
}

// families are the connector's own metrics, by name.
func families(t *testing.T, m *Metrics) map[string]*family {
	t.Helper()
	list, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	own := map[string]*family{}
	for _, f := range list {
		if strings.HasPrefix(f.GetName(), namespace+"_") {
			own[f.GetName()] = f
		}
	}
	return own
}

// values flattens families: "name" or "name{label=value}" to the value, a
// histogram's number of observations.
func values(t *testing.T, m *Metrics) map[string]float64 {
	t.Helper()
	all := map[string]float64{}
	for name, f := range families(t, m) {
		for _, one := range f.GetMetric() {
			var labels []string
			for _, l := range one.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			key := strings.TrimPrefix(name, namespace+"_")
			if len(labels) > 0 {
				key += "{" + strings.Join(labels, ",") + "}"
			}
			all[key] = one.GetCounter().GetValue() + one.GetGauge().GetValue() + float64(one.GetHistogram().GetSampleCount())
		}
	}
	return all
}

// changed is what differs between two looks.
func changed(before, after map[string]float64) map[string]float64 {
	diff := map[string]float64{}
	for key, v := range after {
		if v != before[key] {
			diff[key] = v - before[key]
		}
	}
	return diff
}

func TestObservations(t *testing.T) {
	m := watched()
	before := values(t, m)
	m.Replication.Pushed(replicate.Pushed{Base: true, Compaction: true, Bytes: 1000, Waited: time.Second})
	m.Replication.Pushed(replicate.Pushed{Bytes: 10})
	m.Replication.Wrote(replicate.Statement{Rows: 3, Bytes: 1010})
	m.Replication.Resent()
	m.Replication.Fenced()
	m.Sessions.Taken(replicate.StartOwnFile)
	m.Sessions.Loaded(replicate.StartSafe, time.Second)
	m.Sessions.HandedOver()
	m.Sessions.Lost(manager.LossTaken)
	m.Sessions.Replaced()
	m.Sessions.Ended("logged_out")
	m.Sessions.Acknowledged(manager.ByDisk, 2*time.Second)
	m.Sessions.Command("sync", "", time.Second)
	m.Sessions.Command("restore", manager.CodeHandedOn, time.Second)
	m.Sessions.Command("restore", "owned_elsewhere", time.Second)
	m.Sessions.Command("a later version's", "", time.Second)
	m.Traffic.Received()
	m.Traffic.Sent()
	m.Traffic.Refused()
	m.Traffic.Repeated()
	m.Traffic.Undecryptable(false)
	m.Traffic.Undecryptable(true)
	m.Traffic.RetryAsked()
	m.Traffic.RetryAnswered()
	m.Traffic.Reconnecting()
	want := map[string]float64{
		"pushes_total{kind=base}": 1, "pushes_total{kind=delta}": 1, "pushed_bytes_total{kind=base}": 1000, "pushed_bytes_total{kind=delta}": 10,
		"change_durable_seconds": 2, "compactions_total": 1, "push_statement_rows": 1, "push_statement_bytes": 1,
		"push_retries_total": 1, "fenced_writes_total": 1,
		"epochs_taken_total{start=own-file}": 1, "restore_duration_seconds{start=safe}": 1, "handoffs_total": 1,
		"sessions_lost_total{reason=taken}": 1, "sessions_replaced_total": 1, "sessions_ended_total{state=logged_out}": 1,
		"acknowledgement_wait_seconds{by=disk}":                 1,
		"command_duration_seconds{kind=sync,outcome=done}":      1,
		"command_duration_seconds{kind=restore,outcome=failed}": 1, "command_duration_seconds{kind=restore,outcome=handed_on}": 1,
		"command_duration_seconds{kind=other,outcome=done}": 1, "command_errors_total{code=owned_elsewhere}": 1,
		"messages_received_total": 1, "messages_sent_total": 1, "messages_refused_total": 1, "message_send_retries_total": 1,
		"messages_undecryptable_total{cause=undecryptable}": 1, "messages_undecryptable_total{cause=unavailable}": 1,
		"retries_asked_total": 1, "retries_answered_total": 1, "reconnects_total": 1,
	}
	if diff := cmp.Diff(want, changed(before, values(t, m))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestState(t *testing.T) {
	m := New("v1.2.3")
	if _, shown := families(t, m)["cloudsession_sync_lag_seconds"]; shown {
		t.Error("a connector that hasn't started shows a lag")
	}
	got := values(t, watched())
	for key, want := range map[string]float64{
		"sessions{state=connected}": 1, "sessions{state=disconnected}": 1, "sessions{state=connecting}": 0, "session_capacity": 10,
		"sessions_unprotected": 1, "sends_unfinished": 3, "sends_unfinished_age_seconds": 7, "sync_lag_seconds": 1.5, "draining": 1,
		"lease_remaining_seconds": 4, "tidb_up": 1, "heartbeat_age_seconds": 2,
		"webhook_deliveries_total": 7, "webhook_failures_total": 6, "webhook_expired_total": 5, "webhook_failing_chats": 4, "webhook_waiting": 8,
	} {
		if v, ok := got[key]; !ok || v != want {
			t.Errorf("%s is %v (there: %v), want %v", key, v, ok, want)
		}
	}
}

func TestHandler(t *testing.T) {
	server := httptest.NewServer(watched().Handler())
	defer server.Close()
	resp, err := server.Client().Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		t.Fatal(err)
	}
	server.Client().CloseIdleConnections()
	for _, want := range []string{
		`cloudsession_build_info{goversion="go`, `version="v1.2.3"} 1`, "process_resident_memory_bytes ", "go_goroutines ",
		`cloudsession_epochs_taken_total{start="new"} 0`,
	} {
		if !strings.Contains(string(body), want) {
			t.Errorf("no %q in\n%s", want, body)
		}
	}
	if resp.StatusCode != http.StatusOK {
		t.Errorf("status %d", resp.StatusCode)
	}
}

// brokenQueue fails with what the test says.
type brokenQueue struct {
	command.Queue
	err error
}

func (q *brokenQueue) Create(context.Context, string) (string, error)      { return "", q.err }
func (q *brokenQueue) Send(context.Context, string, command.Message) error { return q.err }
func (q *brokenQueue) Delete(context.Context, string, string) error        { return q.err }
func (q *brokenQueue) Receive(context.Context, string, time.Duration) ([]command.Delivery, error) {
	return nil, q.err
}

func TestQueueErrors(t *testing.T) {
	m := watched()
	broken := &brokenQueue{}
	q := m.Queue(broken)
	call := func(err error) {
		broken.err = err
		ctx := t.Context()
		_, created := q.Create(ctx, "")
		_, received := q.Receive(ctx, "", 0)
		for _, got := range []error{created, received, q.Send(ctx, "", command.Message{}), q.Delete(ctx, "", "")} {
			if !errors.Is(got, err) {
				t.Errorf("got %v, want %v", got, err)
			}
		}
	}
	before := values(t, m)
	call(nil)
	call(fmt.Errorf("stop: %w", context.Canceled))
	call(command.ErrReceiptExpired)
	if diff := changed(before, values(t, m)); len(diff) > 0 {
		t.Errorf("counted as errors: %v", diff)
	}
	call(command.ErrNoQueue)
	if diff := changed(before, values(t, m)); len(diff) != 4 {
		t.Errorf("of each operation one error: %v", diff)
	}
}

func TestStatements(t *testing.T) {
	m := watched()
	cfg := tidbtest.Start(t)
	cfg.Watcher = m
	cfg.Timeout = 2 * time.Minute // a statement that is tried again counts twice
	store, err := cloudstore.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close() //nolint:errcheck // nothing was left to write
	if err := store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := values(t, m)
	c := cloudstore.Connector{ID: "c", Incarnation: "01ARZ3NDEKTSV4RRFFQ69G5FAV", Capacity: 1}
	if err := store.RegisterConnector(t.Context(), c, "", time.Minute); err != nil {
		t.Fatal(err)
	}
	// A statement with much data is prepared first, and counts once.
	data := make([]byte, 100<<10)
	if _, err := store.AppendSegments(t.Context(), []cloudstore.Segment{{
		SessionID: "s", Epoch: 1, Seq: 1, Kind: cloudstore.KindDelta, Part: 1, Parts: 1, Data: data, Tag: [32]byte{1},
	}}); err != nil {
		t.Fatal(err)
	}
	diff := changed(before, values(t, m))
	for _, statement := range []string{"insert", "begin", "commit", "select"} {
		if diff["tidb_statement_duration_seconds{statement="+statement+"}"] == 0 {
			t.Errorf("no %s among %v", statement, diff)
		}
	}
	for key := range diff {
		if strings.HasPrefix(key, "tidb_errors_total") {
			t.Errorf("%s is counted", key)
		}
	}
	cfg.Port = 1
	away, err := cloudstore.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer away.Close() //nolint:errcheck // there is nothing to close
	before = values(t, m)
	if err := away.Ping(t.Context()); err == nil {
		t.Fatal("somebody answers on port 1")
	}
	if diff := changed(before, values(t, m)); diff["tidb_errors_total{kind=unavailable}"] == 0 || diff["tidb_errors_total{kind=other}"] != 0 {
		t.Errorf("a database that is away is counted as %v", diff)
	}
}

func TestVerb(t *testing.T) {
	for query, want := range map[string]string{
		"SELECT 1": "select", "select\n1": "select", " \n\tINSERT INTO x": "insert", "(SELECT 1) UNION (SELECT 2)": "select",
		"UPDATE x": "update", "DELETE FROM x": "delete", "SET x = 1": other, "": other, "CREATE TABLE x": other,
	} {
		if got := verb(query); got != want {
			t.Errorf("%q is %q, want %q", query, got, want)
		}
	}
}
