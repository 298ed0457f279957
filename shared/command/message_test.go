package command

import (
	"errors"
	"strings"
	"testing"
)

const id = "01K5AZ3V7H8Q2W4E6R8T0Y1N3M"

func TestMessageRoundTrip(t *testing.T) {
	for _, m := range []Message{
		{V: 1, CommandID: id, SessionID: "personal", Kind: KindSync},
		{V: 1, CommandID: id, SessionID: "toko ☕ \"<&>\"", Kind: KindRestore, Attempt: 7},
		{V: 1, CommandID: id, SessionID: strings.Repeat("☕", 255), Kind: KindSync},
	} {
		body, err := m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Decode(body); err != nil || got != m {
			t.Errorf("decoded %+v, %v, want %+v", got, err, m)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	const good = `{"v":1,"commandId":"` + id + `","sessionId":"personal","kind":"sync","attempt":0}`
	if _, err := Decode([]byte(good)); err != nil {
		t.Fatal(err)
	}
	change := func(old, with string) string { return strings.Replace(good, old, with, 1) }
	for name, body := range map[string]string{
		"empty":              "",
		"not JSON":           "hello",
		"null":               "null",
		"an array":           "[" + good + "]",
		"cut short":          good[:len(good)-1],
		"two objects":        good + good,
		"something behind":   good + "x",
		"other version":      change(`"v":1`, `"v":2`),
		"no version":         change(`"v":1,`, ``),
		"unknown field":      change(`"v":1`, `"v":1,"secret":"x"`),
		"unknown kind":       change("sync", "drop"),
		"no command":         change(id, ""),
		"command not a ULID": change(id, strings.Repeat("U", 26)),
		"ULID too great":     change(id, "8"+id[1:]),
		"no session":         change("personal", ""),
		"session too long":   change("personal", strings.Repeat("☕", 256)),
		"not UTF-8":          change("personal", "\xff"),
		"negative attempt":   change(`"attempt":0`, `"attempt":-1`),
		"fraction":           change(`"attempt":0`, `"attempt":0.5`),
		"number for text":    change(`"personal"`, `5`),
		"too large":          good + strings.Repeat(" ", MaxMessageSize),
	} {
		_, err := Decode([]byte(body))
		if !errors.Is(err, ErrBadMessage) {
			t.Errorf("%s: %v, want ErrBadMessage", name, err)
		}
		if err != nil && strings.Contains(err.Error(), "personal") {
			t.Errorf("%s: the error quotes the body: %v", name, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"v":1,"commandId":"` + id + `","sessionId":"personal","kind":"sync","attempt":0}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		m, err := Decode(body)
		if err != nil {
			return
		}
		again, err := m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Decode(again); err != nil || got != m {
			t.Errorf("%q decoded to %+v, encoded and decoded again to %+v, %v", body, m, got, err)
		}
	})
}

func TestQueueName(t *testing.T) {
	for _, c := range []struct{ id, want string }{
		{"vm-1", "cloudsession-vm-1.fifo"},
		{"vm_1", "cloudsession-vm_1.fifo"},
		{"host.example", "cloudsession-host-example-60d45afcbe29.fifo"},
		{"host-example", "cloudsession-host-example.fifo"},
		{strings.Repeat("x", 62), "cloudsession-" + strings.Repeat("x", 62) + ".fifo"},
	} {
		if got := QueueName("cloudsession", c.id); got != c.want {
			t.Errorf("QueueName(%q) = %q, want %q", c.id, got, c.want)
		}
	}
	a, b := QueueName("p", strings.Repeat("☕", 100)), QueueName("p", strings.Repeat("☕", 99)+"é")
	if len(a) != 80 || len(b) > 80 || a == b {
		t.Errorf("long names: %q, %q", a, b)
	}
}
