package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// keyed sends each text once for a key.
type keyed struct {
	Connector
	sent map[string]Sent
}

func (k *keyed) Send(_ context.Context, id string, r SendRequest) (Sent, error) {
	if s, ok := k.sent[r.Key]; ok {
		return s, nil
	}
	s := Sent{ID: id + " " + r.To + " " + r.Text, Timestamp: time.Unix(int64(len(k.sent)), 0).UTC()}
	k.sent[r.Key] = s
	return s, nil
}

// doubtful never says that a message was sent.
type doubtful struct{ *fake }

func (d doubtful) Send(_ context.Context, _ string, r SendRequest) (Sent, error) {
	if r.Key == "refused" {
		return Sent{}, errBusy
	}
	return Sent{}, fmt.Errorf("send: %w", &SendError{Outcome: r.Key, Err: errBusy})
}

// Whoever sends is told by a word, and not by a text alone, whether the message may be on its way.
func TestOutcomeOfASend(t *testing.T) {
	server := httptest.NewServer(NewServer(doubtful{&fake{}}).http.Handler)
	defer server.Close()
	for key, want := range map[string]string{
		"refused":      `{"error":"busy: try again"}`,
		OutcomePending: `{"error":"send: busy: try again","outcome":"pending"}`,
		OutcomeUnknown: `{"error":"send: busy: try again","outcome":"unknown"}`,
	} {
		resp, err := server.Client().Post(server.URL+"/v1/sessions/s/send", "application/json", strings.NewReader(`{"to":"+62811","text":"x","key":"`+key+`"}`))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err := errors.Join(err, resp.Body.Close()); err != nil {
			t.Fatal(err)
		}
		if got := strings.TrimSpace(string(body)); got != want || resp.StatusCode != http.StatusConflict {
			t.Errorf("%s: %d %s, want %s", key, resp.StatusCode, got, want)
		}
	}
}

// Any HTTP client can send through the socket, and repeat what it sends under a key.
func TestPostWithAKey(t *testing.T) {
	_, dir := served(t, &keyed{sent: map[string]Sent{}})
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", filepath.Join(dir, SocketName))
		},
	}}
	post := func(body string) (int, Sent) {
		t.Helper()
		resp, err := client.Post("http://connector/v1/sessions/toko%20%E2%98%95/send", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close() //nolint:errcheck // a test's response
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		var s Sent
		if resp.StatusCode == http.StatusOK {
			if err := json.Unmarshal(b, &s); err != nil {
				t.Fatal(err)
			}
		}
		return resp.StatusCode, s
	}
	const body = `{"to":"+62811","text":"once","key":"order 17"}`
	_, first := post(body)
	if status, second := post(body); status != http.StatusOK || second != first || first.ID != "toko ☕ +62811 once" {
		t.Errorf("first %+v, then %d %+v", first, status, second)
	}
	if _, other := post(strings.Replace(body, "17", "18", 1)); other == first {
		t.Error("another key got the first one's result")
	}
	if status, _ := post(`{"to":"+62811","text":"once","idempotency":"order 17"}`); status != http.StatusBadRequest {
		t.Errorf("a misspelt key: %d; a request that silently had none would be sent twice", status)
	}
}
