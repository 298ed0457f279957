// Package leakscan looks for secrets where they must not be: in logs, rows, queue
// messages, answers and metrics. Its test runs the whole system, collects all of
// that, and scans it for every key, secret, token and text that was in use.
package leakscan

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// window is how many bytes lead to a form of a secret; shorter secrets can't be
// looked for, since they would be found everywhere.
const window = 8

// Scanner finds known secrets in whatever form they are usually written. The zero
// value is ready for use. It is not safe for concurrent use.
type Scanner struct {
	forms map[[window]byte][]form
	known map[string]bool
}

type form struct {
	secret, encoding string
	bytes            string
}

// Add makes the scanner look for a secret: as it is, as hex, as base64 (standard
// and URL, at any place of a longer text), as Go prints and quotes bytes, and
// percent-encoded. name says what it is in what Scan returns. One shorter than 8
// bytes is an error of the caller, which panics.
func (s *Scanner) Add(name string, secret []byte) {
	if len(secret) < window {
		panic("leakscan: " + name + " is too short to be looked for")
	}
	if s.forms == nil {
		s.forms, s.known = map[[window]byte][]form{}, map[string]bool{}
	}
	for encoding, text := range encodings(secret) {
		if len(text) < window || s.known[text] {
			continue
		}
		s.known[text] = true
		start := [window]byte([]byte(text[:window]))
		s.forms[start] = append(s.forms[start], form{name, encoding, text})
	}
}

// Count is the number of forms that are looked for.
func (s *Scanner) Count() int { return len(s.known) }

func encodings(secret []byte) map[string]string {
	lower := hex.EncodeToString(secret)
	numbers := strings.Trim(fmt.Sprintf("%d", secret), "[]")
	quoted := strconv.Quote(string(secret))
	forms := map[string]string{
		"as it is": string(secret),
		"in hex":   lower, "in capital hex": strings.ToUpper(lower),
		"as numbers": numbers, "as a JSON array": strings.ReplaceAll(numbers, " ", ","), "as a Go array": strings.ReplaceAll(numbers, " ", ", "),
		"quoted": quoted[1 : len(quoted)-1], "percent-encoded": url.QueryEscape(string(secret)), "in a path": url.PathEscape(string(secret)),
	}
	for shift := range 3 {
		forms[fmt.Sprintf("in base64, shifted by %d", shift)] = aligned(base64.RawStdEncoding, secret, shift)
		forms[fmt.Sprintf("in URL base64, shifted by %d", shift)] = aligned(base64.RawURLEncoding, secret, shift)
	}
	return forms
}

// aligned is what base64 makes of the secret when shift bytes stand before it and
// others may follow: without the characters that also depend on its neighbours.
func aligned(e *base64.Encoding, secret []byte, shift int) string {
	text := e.EncodeToString(append(make([]byte, shift), secret...))
	first := (shift*8 + 5) / 6
	last := (shift + len(secret)) * 8 / 6
	return text[first:last]
}

// Scan names the secrets that data holds, each with the form it was found in,
// never the secret itself.
func (s *Scanner) Scan(data []byte) (found []string) {
	for i := 0; i+window <= len(data); i++ {
		for _, f := range s.forms[[window]byte(data[i:i+window])] {
			if rest := data[i:]; len(rest) >= len(f.bytes) && string(rest[:len(f.bytes)]) == f.bytes {
				found = append(found, f.secret+", "+f.encoding)
			}
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}
