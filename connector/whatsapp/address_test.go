package whatsapp

import (
	"errors"
	"strings"
	"testing"
)

func TestParseRecipient(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"+62 812-3456-7890", "6281234567890@s.whatsapp.net"},
		{" +62 (812) 3456.7890 ", "6281234567890@s.whatsapp.net"},
		{"6281234567890", "6281234567890@s.whatsapp.net"},
		{"6281234567890@s.whatsapp.net", "6281234567890@s.whatsapp.net"},
		{"6281234567890@c.us", "6281234567890@s.whatsapp.net"},
		{"123456789012345@lid", "123456789012345@lid"},
		{"120363000000000001@g.us", "120363000000000001@g.us"},
		{"6281234567890-1600000000@g.us", "6281234567890-1600000000@g.us"},
	} {
		got, err := ParseRecipient(test.text)
		if err != nil || got.String() != test.want {
			t.Errorf("%q: %v, %v", test.text, got, err)
		}
	}
	for _, text := range []string{
		"", " ", "+", "@", "abc", "0812 3456 7890", "+0812345678", "12345", strings.Repeat("1", 16), "+62812345678x",
		"6281234567890:3@s.whatsapp.net", "6281234567890.0:1@s.whatsapp.net", "1@lid@lid", "x@lid", "@lid", "a-b@g.us", "-@g.us",
		"12-@g.us", "status@broadcast", "1234567@newsletter", "1234567@example.com", "+62812@s.whatsapp.net", "٦٢٨١٢٣٤٥٦٧٨",
	} {
		if got, err := ParseRecipient(text); !errors.Is(err, ErrBadAddress) {
			t.Errorf("%q: %v, %v", text, got, err)
		} else if len(text) > 6 && strings.Contains(err.Error(), text) {
			t.Errorf("the error repeats the address: %v", err)
		}
	}
}

// Whatever is understood is understood the same again, and is no address of a device.
func FuzzParseRecipient(f *testing.F) {
	for _, seed := range []string{"+62 812-3456-7890", "123456789012345@lid", "120363000000000001@g.us", "a@b", "0", "6281234567890-1@g.us"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		jid, err := ParseRecipient(text)
		if err != nil {
			if !errors.Is(err, ErrBadAddress) {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		again, err := ParseRecipient(jid.String())
		if err != nil || again != jid || jid.Device != 0 || jid.User == "" {
			t.Fatalf("%q: %v, then %v, %v", text, jid, again, err)
		}
	})
}
