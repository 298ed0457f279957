package health

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func ask(t *testing.T, checks []Check) (int, Report) {
	t.Helper()
	w := httptest.NewRecorder()
	Handler(func() []Check { return checks }).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	var r Report
	if err := json.Unmarshal(w.Body.Bytes(), &r); err != nil {
		t.Fatalf("%s: %v", w.Body, err)
	}
	if got := w.Header().Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control %q: an old answer could be taken for this one", got)
	}
	return w.Code, r
}

func TestHandlerNamesWhatFails(t *testing.T) {
	if status, r := ask(t, []Check{{Name: "a"}, {Name: "b"}}); status != http.StatusOK || r.Status != "ok" || len(r.Failing) != 0 {
		t.Errorf("all is well: %d %+v", status, r)
	}
	status, r := ask(t, []Check{{Name: "a"}, {"b", "it is broken"}, {"c", "it is late"}})
	want := Report{Status: "failing", Failing: map[string]string{"b": "it is broken", "c": "it is late"}}
	if diff := cmp.Diff(want, r); diff != "" || status != http.StatusServiceUnavailable {
		t.Errorf("status %d (-want +got):\n%s", status, diff)
	}
}

func TestPulse(t *testing.T) {
	var now time.Duration
	p := NewPulse(func() time.Duration { return now }, 10*time.Second)
	if now = 10*time.Second - 1; !p.Alive() || p.Age() != now {
		t.Errorf("alive %v at the age of %v", p.Alive(), p.Age())
	}
	if now++; p.Alive() {
		t.Error("alive although a beat is overdue")
	}
	p.Beat(time.Second)
	if !p.Alive() || p.Age() != 0 {
		t.Error("not alive after a beat")
	}
	if now += time.Second; p.Alive() {
		t.Error("alive for longer than the last beat was good for")
	}
}
