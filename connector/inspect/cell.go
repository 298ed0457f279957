package inspect

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"cloudsession/shared/sessionlog"
)

// Cell is one value. A redacted one shows its class and size only.
type Cell struct {
	Value    sessionlog.Value
	Redacted bool
}

// String returns the value as people read it.
func (c Cell) String() string {
	switch v := c.Value.(type) {
	case nil:
		return "NULL"
	case string:
		if c.Redacted {
			return fmt.Sprintf("[text, %d bytes]", len(v))
		}
		return printable(v)
	case []byte:
		if c.Redacted {
			return fmt.Sprintf("[blob, %d bytes]", len(v))
		}
		return "x'" + hex.EncodeToString(v) + "'"
	default:
		if c.Redacted {
			return "[number]"
		}
		return fmt.Sprint(v)
	}
}

// printable quotes a text that would disturb a table or a terminal.
func printable(s string) string {
	odd := func(r rune) bool { return !unicode.IsPrint(r) }
	if s == "" || !utf8.ValidString(s) || strings.ContainsFunc(s, odd) || strings.TrimSpace(s) != s || s == "NULL" {
		return strconv.Quote(s)
	}
	return s
}

// GoString keeps %#v from showing what is redacted.
func (c Cell) GoString() string { return c.String() }

// Format keeps every verb from showing what is redacted.
func (c Cell) Format(f fmt.State, _ rune) { fmt.Fprint(f, c.String()) }

// MarshalJSON writes the value; a BLOB as {"blob": "<hex>"}, a redacted value as
// {"redacted": "<class>", "bytes": <size>}.
func (c Cell) MarshalJSON() ([]byte, error) {
	type redacted struct {
		Class string `json:"redacted"`
		Bytes int    `json:"bytes,omitempty"`
	}
	v := c.Value
	if c.Redacted {
		switch value := c.Value.(type) {
		case nil:
		case string:
			v = redacted{"text", len(value)}
		case []byte:
			v = redacted{"blob", len(value)}
		default:
			v = redacted{Class: "number"}
		}
		return json.Marshal(v)
	}
	switch value := v.(type) {
	case []byte:
		v = map[string]string{"blob": hex.EncodeToString(value)}
	case float64:
		if math.IsInf(value, 0) {
			v = fmt.Sprint(value) // JSON has no infinity
		}
	}
	return json.Marshal(v)
}
