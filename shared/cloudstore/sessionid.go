package cloudstore

import (
	"fmt"
	"unicode"
	"unicode/utf8"
)

// maxSessionID is in characters, as VARCHAR(255) counts them.
const maxSessionID = 255

// ValidateSessionID checks that id is 1–255 characters of printable text:
// valid UTF-8 without control characters, line separators, and the invisible
// formatting characters that reorder or hide text. The zero-width joiners stay:
// emoji and several scripts need them. Ids are compared byte by byte, so
// different spellings of one look are different sessions. The error wraps
// ErrBadSessionID and never quotes the id.
func ValidateSessionID(id string) error {
	switch {
	case id == "":
		return fmt.Errorf("%w: empty", ErrBadSessionID)
	case !utf8.ValidString(id):
		return fmt.Errorf("%w: not UTF-8", ErrBadSessionID)
	}
	if n := utf8.RuneCountInString(id); n > maxSessionID {
		return fmt.Errorf("%w: %d characters, at most %d", ErrBadSessionID, n, maxSessionID)
	}
	for _, r := range id {
		if !printable(r) {
			return fmt.Errorf("%w: character U+%04X is not printable", ErrBadSessionID, r)
		}
	}
	return nil
}

func printable(r rune) bool {
	const zeroWidthNonJoiner, zeroWidthJoiner = '\u200c', '\u200d'
	if r == zeroWidthNonJoiner || r == zeroWidthJoiner {
		return true
	}
	if unicode.In(r, unicode.Cc, unicode.Cf, unicode.Cs, unicode.Co, unicode.Zl, unicode.Zp) {
		return false
	}
	return !unicode.Is(unicode.Noncharacter_Code_Point, r)
}

// validateNames checks ids of connectors and processes: our own, so short
// printable text.
func validateNames(names ...string) error {
	for _, name := range names {
		if ValidateSessionID(name) != nil {
			return fmt.Errorf("%w: empty or unprintable connector id or incarnation", ErrBadInput)
		}
	}
	return nil
}
