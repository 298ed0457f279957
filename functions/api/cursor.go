package api

import (
	"encoding/base64"
	"errors"
	"strings"
)

// A page's cursor is the store's, which may be any text, made safe for a URL
// and marked with a version, so that one of another version is refused instead
// of misread.
const (
	cursorVersion = "1."
	maxCursor     = 4 << 10
)

var errCursor = errors.New("malformed cursor")

// cursorEncoding refuses non-canonical spellings: one cursor, one text.
var cursorEncoding = base64.RawURLEncoding.Strict()

func encodeCursor(s string) string {
	if s == "" {
		return ""
	}
	return cursorVersion + cursorEncoding.EncodeToString([]byte(s))
}

func decodeCursor(s string) (string, error) {
	body, ok := strings.CutPrefix(s, cursorVersion)
	if !ok || body == "" || len(s) > maxCursor || strings.ContainsAny(body, "\r\n") {
		return "", errCursor
	}
	b, err := cursorEncoding.DecodeString(body)
	if err != nil {
		return "", errCursor
	}
	return string(b), nil
}
