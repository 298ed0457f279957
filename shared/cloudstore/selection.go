package cloudstore

import (
	"fmt"
	"slices"
	"strings"
)

// MaxPatterns is how many patterns a Selection holds at most.
const MaxPatterns = 100

// Selection is a set of session ids, some by name and some by how they begin. A
// nil *Selection holds all of them, the zero value none.
type Selection struct {
	ids, prefixes []string
}

// ParseSelection makes a Selection of patterns: session ids, or the beginning of
// ids and a "*", which stands for anything, also nothing; "*" alone is all ids.
// A "*" elsewhere stands for itself. An id that ends in "*" can therefore be
// named only together with those that begin like it. Errors wrap ErrBadInput or
// ErrBadSessionID.
func ParseSelection(patterns []string) (*Selection, error) {
	if len(patterns) > MaxPatterns {
		return nil, fmt.Errorf("select sessions: %w: %d patterns, at most %d", ErrBadInput, len(patterns), MaxPatterns)
	}
	s := new(Selection)
	for _, p := range patterns {
		prefix, open := strings.CutSuffix(p, "*")
		if !open || prefix != "" {
			if err := ValidateSessionID(prefix); err != nil {
				return nil, fmt.Errorf("select sessions: %w", err)
			}
		}
		if open {
			s.prefixes = append(s.prefixes, prefix)
		} else {
			s.ids = append(s.ids, p)
		}
	}
	return s, nil
}

// Has reports whether the id is in s, byte by byte.
func (s *Selection) Has(id string) bool {
	return s == nil || slices.Contains(s.ids, id) ||
		slices.ContainsFunc(s.prefixes, func(prefix string) bool { return strings.HasPrefix(id, prefix) })
}

// The column may have another collation, which takes several ids for one.
const (
	idIs     = `w.session_id COLLATE utf8mb4_0900_bin = ?`
	idBegins = `w.session_id COLLATE utf8mb4_0900_bin LIKE ? ESCAPE '!'`
)

var likeEscaper = strings.NewReplacer("!", "!!", "%", "!%", "_", "!_")

// condition is Has in SQL, for table w, and its arguments.
func (s *Selection) condition() (where string, args []any) {
	if s == nil {
		return "TRUE", nil
	}
	var any []string
	for _, id := range s.ids {
		any, args = append(any, idIs), append(args, id)
	}
	for _, prefix := range s.prefixes {
		any, args = append(any, idBegins), append(args, likeEscaper.Replace(prefix)+"%")
	}
	if len(any) == 0 {
		return "FALSE", nil
	}
	return strings.Join(any, " OR "), args
}
