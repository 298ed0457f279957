package whatsapp

import (
	"errors"
	"fmt"
	"strings"

	"go.mau.fi/whatsmeow/types"
)

// ErrBadAddress is returned for a recipient that can't be one. The text says what is wrong without repeating it.
var ErrBadAddress = errors.New("recipient is not an address")

// The shortest and the longest international number (E.164), country code included.
const (
	minNumber = 7
	maxNumber = 15
)

// ParseRecipient understands a phone number with its country code (+62 812-3456-7890), and the JIDs of a phone number
// (62812…@s.whatsapp.net), of a LID (…@lid) and of a group (…@g.us).
func ParseRecipient(text string) (types.JID, error) {
	text = strings.TrimSpace(text)
	user, server, isJID := strings.Cut(text, "@")
	if !isJID {
		return parseNumber(text)
	}
	if strings.ContainsAny(user, ":.") {
		return types.EmptyJID, bad("it names one device; messages go to all devices of a person")
	}
	switch server {
	case types.DefaultUserServer, types.LegacyUserServer:
		return numberJID(user)
	case types.HiddenUserServer:
		if !isDigits(user) || len(user) > 20 {
			return types.EmptyJID, bad("a LID is digits before @lid")
		}
		return types.NewJID(user, types.HiddenUserServer), nil
	case types.GroupServer:
		return groupJID(user)
	case types.BroadcastServer, types.NewsletterServer:
		return types.EmptyJID, bad("status, broadcast lists and channels can't be sent to")
	default:
		return types.EmptyJID, bad("after the @ there has to be s.whatsapp.net, lid or g.us")
	}
}

func parseNumber(text string) (types.JID, error) {
	if text == "" {
		return types.EmptyJID, bad("it is empty")
	}
	digits := strings.Map(func(r rune) rune {
		if strings.ContainsRune(" -().\u00a0", r) {
			return -1
		}
		return r
	}, strings.TrimPrefix(text, "+"))
	return numberJID(digits)
}

func numberJID(digits string) (types.JID, error) {
	switch {
	case !isDigits(digits):
		return types.EmptyJID, bad("a phone number is digits only, with its country code, like +62 812 3456 7890")
	case digits[0] == '0':
		return types.EmptyJID, bad("the number needs its country code in front, like +62 in place of the leading 0")
	case len(digits) < minNumber || len(digits) > maxNumber:
		return types.EmptyJID, bad(fmt.Sprintf("a phone number with its country code has %d to %d digits", minNumber, maxNumber))
	}
	return types.NewJID(digits, types.DefaultUserServer), nil
}

// groupJID accepts both forms of a group's id: one number, or creator and time with a hyphen between.
func groupJID(user string) (types.JID, error) {
	first, second, old := strings.Cut(user, "-")
	if !isDigits(first) || old && !isDigits(second) || len(user) > 40 {
		return types.EmptyJID, bad("a group's id is digits before @g.us")
	}
	return types.NewJID(user, types.GroupServer), nil
}

func isDigits(s string) bool {
	for _, r := range s {
		if r < '0' || r > '9' {
			return false
		}
	}
	return s != ""
}

func bad(why string) error { return fmt.Errorf("%w: %s", ErrBadAddress, why) }
