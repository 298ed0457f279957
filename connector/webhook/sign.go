package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The headers of a delivery.
const (
	HeaderID        = "webhook-id"
	HeaderTimestamp = "webhook-timestamp" // of the attempt, seconds since 1970
	HeaderSignature = "webhook-signature" // one or more of "v1,<base64>", separated by spaces
	HeaderAttempt   = "webhook-attempt"
)

// Tolerance is how far the timestamp of an attempt may be from the receiver's clock.
const Tolerance = 5 * time.Minute

const (
	minSecret    = 32 // characters
	minSecretKey = 24 // bytes, of a secret in base64 (Standard Webhooks)
	secretPrefix = "whsec_"
	signatureV1  = "v1,"
)

// Errors of ParseSecret and Verify.
var (
	ErrSecret    = errors.New("webhook secret can't be used")
	ErrHeader    = errors.New("webhook header is missing or malformed")
	ErrSignature = errors.New("webhook signature doesn't match")
	ErrStale     = errors.New("webhook timestamp is too far from now")
)

// Secret is a signing secret. It doesn't show when it is printed.
type Secret struct{ key []byte }

// ParseSecret reads a secret: 32 characters or more, of which those that follow "whsec_" are the key in base64. The
// bytes of a secret without that prefix are the key themselves. The error never holds the secret.
func ParseSecret(s string) (Secret, error) {
	encoded, ok := strings.CutPrefix(s, secretPrefix)
	switch {
	case len(s) < minSecret:
		return Secret{}, fmt.Errorf("%w: it is under %d characters (make one with: echo %s$(openssl rand -base64 32))", ErrSecret, minSecret, secretPrefix)
	case !ok:
		return Secret{key: []byte(s)}, nil
	}
	key, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return Secret{}, fmt.Errorf("%w: what follows %s isn't base64", ErrSecret, secretPrefix)
	}
	if len(key) < minSecretKey {
		return Secret{}, fmt.Errorf("%w: its key is under %d bytes", ErrSecret, minSecretKey)
	}
	return Secret{key: key}, nil
}

// Format implements fmt.Formatter: it hides the secret, whatever the verb.
func (Secret) Format(f fmt.State, _ rune) { fmt.Fprint(f, "(secret)") }

// sign returns one entry of the signature header.
func (s Secret) sign(id, timestamp string, body []byte) string {
	return signatureV1 + base64.StdEncoding.EncodeToString(s.mac(id, timestamp, body))
}

// mac is the HMAC-SHA256 over "<id>.<timestamp>.<body>". Neither id nor timestamp holds a dot.
func (s Secret) mac(id, timestamp string, body []byte) []byte {
	h := hmac.New(sha256.New, s.key)
	h.Write([]byte(id + "." + timestamp + "."))
	h.Write(body)
	return h.Sum(nil)
}

// Verify checks a delivery as a receiver has to: that body, exactly as it came, was signed with the secret by whoever
// sent header, and not long before or after now. It returns ErrSecret, ErrHeader, ErrStale or ErrSignature. A receiver
// that handles each message once then looks whether it has seen the webhook-id before.
func Verify(secret string, header http.Header, body []byte, now time.Time) error {
	s, err := ParseSecret(secret)
	if err != nil {
		return err
	}
	id, timestamp := header.Get(HeaderID), header.Get(HeaderTimestamp)
	if id == "" || strings.Contains(id, ".") {
		return fmt.Errorf("%w: %s", ErrHeader, HeaderID)
	}
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil || strconv.FormatInt(seconds, 10) != timestamp {
		return fmt.Errorf("%w: %s", ErrHeader, HeaderTimestamp)
	}
	if header.Get(HeaderSignature) == "" {
		return fmt.Errorf("%w: %s", ErrHeader, HeaderSignature)
	}
	if d := now.Unix() - seconds; d > int64(Tolerance/time.Second) || d < -int64(Tolerance/time.Second) {
		return ErrStale
	}
	want := s.mac(id, timestamp, body)
	for entry := range strings.FieldsSeq(header.Get(HeaderSignature)) {
		encoded, ok := strings.CutPrefix(entry, signatureV1)
		if !ok {
			continue
		}
		got, err := base64.StdEncoding.DecodeString(encoded)
		if err == nil && hmac.Equal(got, want) {
			return nil
		}
	}
	return ErrSignature
}
