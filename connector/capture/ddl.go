package capture

import (
	"fmt"
	"strings"
)

// allowedDDL returns ErrSchema unless text is one CREATE TABLE or CREATE INDEX
// of a captured table. A push is authentic when it gets here; this keeps a
// mistake of the writer from doing more than a reader expects.
func allowedDDL(text string) error {
	s := scanner{rest: text}
	word := func() string { return strings.ToUpper(s.token()) }
	refuse := func(what string) error { return fmt.Errorf("%w: base has a statement that %s", ErrSchema, what) }
	if word() != "CREATE" {
		return refuse("creates nothing")
	}
	kind := word()
	if kind == "UNIQUE" {
		kind = word()
	}
	name := s.token()
	if kind == "INDEX" {
		if strings.ToUpper(s.token()) != "ON" {
			return refuse("makes an index of nothing")
		}
		name = s.token()
	} else if kind != "TABLE" {
		return refuse("makes neither a table nor an index")
	}
	if !captured(unquote(name)) {
		return refuse("makes a table that isn't captured")
	}
	if s.token() != "(" {
		return refuse("doesn't list columns")
	}
	for t := s.token(); t != ""; t = s.token() {
		if t == ";" {
			return refuse("is followed by another one")
		}
	}
	return nil
}

// scanner splits SQL into words, quoted names or strings, and single characters.
// Comments and white space are skipped.
type scanner struct{ rest string }

// token returns the next token, empty at the end.
func (s *scanner) token() string {
	s.skip()
	if s.rest == "" {
		return ""
	}
	n := 1
	switch c := s.rest[0]; {
	case c == '\'' || c == '"' || c == '`':
		n = quotedLen(s.rest, c)
	case c == '[':
		n = quotedLen(s.rest, ']')
	case wordByte(c):
		for n < len(s.rest) && wordByte(s.rest[n]) {
			n++
		}
	}
	t := s.rest[:n]
	s.rest = s.rest[n:]
	return t
}

// skip passes over white space and comments.
func (s *scanner) skip() {
	for {
		s.rest = strings.TrimLeft(s.rest, " \t\r\n\f")
		end := ""
		switch {
		case strings.HasPrefix(s.rest, "--"):
			end = "\n"
		case strings.HasPrefix(s.rest, "/*"):
			end = "*/"
		default:
			return
		}
		_, after, _ := strings.Cut(s.rest[2:], end)
		s.rest = after
	}
}

// quotedLen is the length of the quoted text that s begins with. A doubled
// quote stands for itself.
func quotedLen(s string, end byte) int {
	for i := 1; i < len(s); i++ {
		if s[i] != end {
			continue
		}
		if end != ']' && i+1 < len(s) && s[i+1] == end {
			i++
			continue
		}
		return i + 1
	}
	return len(s)
}

func wordByte(c byte) bool {
	return c == '_' || c == '$' || c >= 0x80 ||
		c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// unquote gives the name that a token stands for.
func unquote(token string) string {
	if len(token) < 2 || wordByte(token[0]) {
		return token
	}
	quoteMark := token[len(token)-1:]
	return strings.ReplaceAll(token[1:len(token)-1], quoteMark+quoteMark, quoteMark)
}
