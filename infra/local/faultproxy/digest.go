package faultproxy

import (
	"regexp"
	"strings"
)

// What differs from one run of a statement to the next: quoted values as the
// client writes them (strings, _binary'…' and dates, with \ before a special
// character), and numbers.
var (
	quoted = regexp.MustCompile(`(?s)(_binary ?)?'(?:[^'\\]|\\.|'')*'`)
	number = regexp.MustCompile(`\b[0-9]+(\.[0-9]+)?\b`)
	rows   = regexp.MustCompile(`(\([?, ]+\))(, ?\([?, ]+\))+`)
	space  = regexp.MustCompile(`\s+`)
)

// Digest is the statement's text without its values, on one line: the same for
// each run of one statement of a program. Many rows of values count as one.
func (s Statement) Digest() string {
	text := quoted.ReplaceAllString(s.Text, "?")
	text = number.ReplaceAllString(text, "?")
	text = space.ReplaceAllString(text, " ")
	return strings.TrimSpace(rows.ReplaceAllString(text, "$1"))
}
