package webhook

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// The example of the Standard Webhooks libraries: every one of them makes this signature.
const (
	vectorSecret    = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	vectorID        = "msg_p5jXN8AQM9LWM0D4loKWxJek"
	vectorTime      = "1614265330"
	vectorBody      = `{"test": 2432232314}`
	vectorSignature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
)

// plainSecret is one whose bytes are the key. Its signature was made with
// printf '%s' 'msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{"test": 2432232314}' | openssl dgst -sha256 -hmac KEY -binary | base64
const (
	plainSecret    = "0123456789abcdef0123456789abcdef"
	plainSignature = "v1,hK4CWvngkaAwjY1pABLuUbOIkEJjW9tAapq1no4ojG0="
)

func TestSignatureVectors(t *testing.T) {
	for secret, want := range map[string]string{vectorSecret: vectorSignature, plainSecret: plainSignature} {
		s, err := ParseSecret(secret)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.sign(vectorID, vectorTime, []byte(vectorBody)); got != want {
			t.Errorf("%s: %s, want %s", secret, got, want)
		}
	}
}

func TestParseSecret(t *testing.T) {
	for _, bad := range []string{
		"", "hunter2", strings.Repeat("x", 31), "whsec_", "whsec_not base64 at all, whatever it is",
		"whsec_" + "AAAAAAAAAAAAAAAAAAAAAAAAAAAA", // 21 bytes, 34 characters
	} {
		_, err := ParseSecret(bad)
		if !errors.Is(err, ErrSecret) || bad != "" && strings.Contains(err.Error(), strings.TrimPrefix(bad, "whsec_")+"x") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	s, err := ParseSecret(plainSecret)
	if err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		if out := fmt.Sprintf(format, s); strings.Contains(out, "0123") || strings.Contains(out, "30313233") || strings.Contains(out, "48 49 50") {
			t.Errorf("%s prints the secret: %s", format, out)
		}
	}
}

func vectorHeader() http.Header {
	h := http.Header{}
	h.Set(HeaderID, vectorID)
	h.Set(HeaderTimestamp, vectorTime)
	h.Set(HeaderSignature, vectorSignature)
	return h
}

func TestVerify(t *testing.T) {
	sent := time.Unix(1614265330, 0)
	for _, test := range []struct {
		name   string
		change func(h http.Header, body *string, now *time.Time)
		want   error
	}{
		{"as sent", func(http.Header, *string, *time.Time) {}, nil},
		{"another body", func(_ http.Header, b *string, _ *time.Time) { *b += " " }, ErrSignature},
		{"another id", func(h http.Header, _ *string, _ *time.Time) { h.Set(HeaderID, "msg_x") }, ErrSignature},
		{"no id", func(h http.Header, _ *string, _ *time.Time) { h.Del(HeaderID) }, ErrHeader},
		{"a dot moved from id to body", func(h http.Header, b *string, _ *time.Time) {
			h.Set(HeaderID, vectorID+"."+vectorTime)
			*b = strings.TrimPrefix(*b, "{")
		}, ErrHeader},
		{"no timestamp", func(h http.Header, _ *string, _ *time.Time) { h.Del(HeaderTimestamp) }, ErrHeader},
		{"a timestamp that reads the same", func(h http.Header, _ *string, _ *time.Time) { h.Set(HeaderTimestamp, "+"+vectorTime) }, ErrHeader},
		{"no signature", func(h http.Header, _ *string, _ *time.Time) { h.Del(HeaderSignature) }, ErrHeader},
		{"an empty signature", func(h http.Header, _ *string, _ *time.Time) { h.Set(HeaderSignature, "v1,") }, ErrSignature},
		{"half a signature", func(h http.Header, _ *string, _ *time.Time) { h.Set(HeaderSignature, vectorSignature[:20]) }, ErrSignature},
		{"another version", func(h http.Header, _ *string, _ *time.Time) { h.Set(HeaderSignature, "v2"+vectorSignature[2:]) }, ErrSignature},
		{"one of several", func(h http.Header, _ *string, _ *time.Time) {
			h.Set(HeaderSignature, "v1a,AAAA v1,AAAA "+vectorSignature+" v1,BBBB")
		}, nil},
		{"late", func(_ http.Header, _ *string, now *time.Time) { *now = now.Add(Tolerance + time.Second) }, ErrStale},
		{"early", func(_ http.Header, _ *string, now *time.Time) { *now = now.Add(-Tolerance - time.Second) }, ErrStale},
		{"almost late", func(_ http.Header, _ *string, now *time.Time) { *now = now.Add(Tolerance) }, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			h, body, now := vectorHeader(), vectorBody, sent
			test.change(h, &body, &now)
			if err := Verify(vectorSecret, h, []byte(body), now); !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
	if err := Verify(plainSecret, vectorHeader(), []byte(vectorBody), sent); !errors.Is(err, ErrSignature) {
		t.Errorf("with another secret: %v", err)
	}
}

// Whatever comes in, only what was signed passes.
func FuzzVerify(f *testing.F) {
	f.Add(vectorID, vectorTime, vectorSignature, []byte(vectorBody))
	f.Add(vectorID+".1", "614265330", "v1,"+vectorSignature, []byte(""))
	f.Add("", "-1", "v1, v1,=", []byte("{}"))
	f.Fuzz(func(t *testing.T, id, timestamp, signature string, body []byte) {
		h := http.Header{HeaderID: nil}
		h.Set(HeaderID, id)
		h.Set(HeaderTimestamp, timestamp)
		h.Set(HeaderSignature, signature)
		err := Verify(vectorSecret, h, body, time.Unix(1614265330, 0))
		s, parseErr := ParseSecret(vectorSecret)
		if parseErr != nil {
			t.Fatal(parseErr)
		}
		signed := strings.Contains(signature, s.sign(id, timestamp, body))
		if err == nil && !signed {
			t.Errorf("%q %q %q %q passes", id, timestamp, signature, body)
		}
	})
}

func TestParseURL(t *testing.T) {
	for _, good := range []string{
		"https://example.com/hook?token=x", "http://localhost:8080/x", "http://127.0.0.1/x", "http://127.8.0.1", "http://[::1]:80/x",
	} {
		if _, err := ParseURL(good, false); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", "example.com", "https://", "https:///x", "ftp://example.com", "http://example.com/s3cret", "http://10.0.0.1",
		"https://me:s3cret@example.com", "https://example.com/#s3cret", "https://exa mple.com/s3cret", "http://localhost.example.com",
		"https://:443/", "http://127.0.0.1.example.com/",
	} {
		if _, err := ParseURL(bad, false); !errors.Is(err, ErrURL) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", bad, err)
		}
	}
	if _, err := ParseURL("http://10.0.0.1/x", true); err != nil {
		t.Errorf("plain HTTP where it is allowed: %v", err)
	}
}
