package webhook

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cloudsession/connector/inbox"
)

// The pauses between attempts grow to five minutes and stay there, for as long as it takes.
func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const failures = 20
		r := newReceiver(t, func(_ Message, attempt int) int {
			if attempt <= failures {
				return http.StatusInternalServerError
			}
			return http.StatusOK
		})
		in := newBox(t)
		put(t, in, "a", 1)
		q := dispatcher(t, "http://receiver/", r, io.Discard).Start(Source{SessionID: sessionID, Box: in, Once: true})
		<-q.Done()
		all := r.all()
		if len(all) != failures+1 {
			t.Fatalf("%d attempts, want %d", len(all), failures+1)
		}
		for i := 1; i < len(all); i++ {
			got, full := all[i].at.Sub(all[i-1].at), min(time.Second<<(i-1), longPause)
			if got < full/2 || got > full+time.Second {
				t.Errorf("pause %d is %s, want %s to %s", i, got, full/2, full)
			}
			if all[i].attempt != i+1 || all[i].Key != all[0].Key {
				t.Errorf("attempt %d calls itself %d, key %s", i+1, all[i].attempt, all[i].Key)
			}
		}
	})
}

// A receiver that never answers is left after ten seconds.
func TestNoAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		attempts, stopped := 0, false
		silent := roundTrip(func(req *http.Request) (*http.Response, error) {
			attempts++
			began := time.Now()
			<-req.Context().Done()
			if took := time.Since(began); took != answerTime && !stopped {
				t.Errorf("left after %s, want %s", took, answerTime)
			}
			return nil, req.Context().Err()
		})
		in := newBox(t)
		put(t, in, "a", 1)
		q := dispatcher(t, "http://receiver/", silent, io.Discard).Start(Source{SessionID: sessionID, Box: in})
		time.Sleep(time.Minute)
		synctest.Wait()
		stopped = true
		q.Stop(0)
		if attempts < 3 {
			t.Errorf("%d attempts in a minute", attempts)
		}
		if n := undelivered(t, in); n != 1 {
			t.Errorf("%d messages undelivered, want 1", n)
		}
	})
}

// roundTrip is a function as a transport.
type roundTrip func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

func TestRetryAfterIsHonoured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var answers []time.Duration
		busy := roundTrip(func(*http.Request) (*http.Response, error) {
			answers = append(answers, time.Since(start))
			resp := &http.Response{StatusCode: http.StatusServiceUnavailable, Header: http.Header{}, Body: http.NoBody}
			switch len(answers) {
			case 1:
				resp.Header.Set("Retry-After", "90")
			case 2:
				resp.Header.Set("Retry-After", time.Now().Add(2*time.Minute).UTC().Format(http.TimeFormat))
			default:
				resp.StatusCode = http.StatusOK
			}
			return resp, nil
		})
		in := newBox(t)
		put(t, in, "a", 1)
		q := dispatcher(t, "http://receiver/", busy, io.Discard).Start(Source{SessionID: sessionID, Box: in, Once: true})
		<-q.Done()
		if len(answers) != 3 || answers[1]-answers[0] != 90*time.Second || answers[2]-answers[1] < 119*time.Second || answers[2]-answers[1] > 121*time.Second {
			t.Errorf("attempts at %v", answers)
		}
	})
}

func TestRetryAfterValues(t *testing.T) {
	now := time.Date(2026, 1, 22, 10, 30, 45, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "x": 0, "-5": 0, "5": 5 * time.Second, "999999": maxRetryAfter, "1.5": 0,
		now.Add(time.Minute).Format(http.TimeFormat):  time.Minute,
		now.Add(-time.Minute).Format(http.TimeFormat): 0,
	} {
		if got := retryAfter(value, now); got != want {
			t.Errorf("%q: %s, want %s", value, got, want)
		}
	}
}

// An outage of the receiver is said, and then said again less and less often.
func TestReminders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lockedBuffer
		down := roundTrip(func(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") })
		in := newBox(t)
		for n := range 5 {
			put(t, in, "chat"+strconv.Itoa(n), 1)
		}
		d := dispatcher(t, "http://receiver/", down, &log)
		q := d.Start(Source{SessionID: sessionID, Box: in})
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if c := d.Counters(); c.Failing != 5 {
			t.Errorf("%d chats are failing, want 5", c.Failing)
		}
		q.Stop(0)
		if c := d.Counters(); c.Failing != 0 {
			t.Errorf("%d chats are failing after the end", c.Failing)
		}
		lines := 0
		for _, b := range []byte(log.String()) {
			if b == '\n' {
				lines++
			}
		}
		if lines < 5 || lines > 32 {
			t.Errorf("%d lines in a day:\n%s", lines, log.String())
		}
	})
}

// A message that is never taken is kept however old it gets. If its record goes, there being too many, that is said, and
// the next one comes.
func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lockedBuffer
		r := newReceiver(t, func(m Message, _ int) int {
			if m.ID == "a-1" {
				return http.StatusBadRequest
			}
			return http.StatusOK
		})
		in, db := newBoxFile(t)
		put(t, in, "a", 1)
		later := roundTrip(func(req *http.Request) (*http.Response, error) {
			resp, err := r.RoundTrip(req)
			if err == nil && resp.StatusCode != http.StatusOK {
				resp.Header.Set("Retry-After", "3600")
			}
			return resp, err
		})
		d := dispatcher(t, "http://receiver/", later, &log)
		q := d.Start(Source{SessionID: sessionID, Box: in})
		time.Sleep(inbox.Retention)
		put(t, in, "a", 2)
		time.Sleep(time.Hour)
		if ids := r.ids(); len(ids) != 0 {
			t.Errorf("taken: %v", ids)
		}
		if n, err := in.Prune(t.Context()); err != nil || n != 0 {
			t.Fatalf("%d messages are not kept, %v", n, err)
		}
		if _, err := db.ExecContext(t.Context(), `DELETE FROM inbox_messages WHERE id = 'a-1'`); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour)
		q.Stop(0)
		if ids := r.ids(); !slices.Equal(ids, []string{"a-2"}) {
			t.Errorf("taken: %v, want the second message", ids)
		}
		if c := d.Counters(); c.Expired != 1 || c.Failing != 0 || !strings.Contains(log.String(), "not kept any longer") {
			t.Errorf("counters %+v, log:\n%s", c, log.String())
		}
	})
}
