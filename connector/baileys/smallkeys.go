package baileys

import (
	"bytes"
	"encoding/json"
	"strconv"

	"go.mau.fi/whatsmeow/types"
	"go.mau.fi/whatsmeow/util/keys"
)

// nodePair is a key pair as prekeys are stored.
type nodePair struct {
	Private eitherWays `json:"private"`
	Public  eitherWays `json:"public"`
}

// parsePreKey returns the private key of a prekey file.
func parsePreKey(data []byte) ([]byte, error) {
	var p nodePair
	if err := decode(data, &p); err != nil {
		return nil, err
	}
	if err := checkLength("private", p.Private, 32); err != nil {
		return nil, err
	}
	if !bytes.Equal(p.Public, keys.NewKeyPairFromPrivateKey([32]byte(p.Private)).Pub[:]) {
		return nil, badField("public", "is not the public key of private")
	}
	return p.Private, nil
}

func encodePreKey(private []byte) ([]byte, error) { return json.Marshal(pair(private)) }

// parseIdentity returns an identity key without its type.
func parseIdentity(data []byte) ([]byte, error) {
	var key bytesIn
	if err := decode(data, &key); err != nil {
		return nil, err
	}
	if err := checkPublic("data", key); err != nil {
		return nil, err
	}
	return key[1:], nil
}

func encodeIdentity(key []byte) ([]byte, error) {
	return json.Marshal(append(buffer{keyType}, key...))
}

// parseUser returns the account that a file of the LID map names.
func parseUser(data []byte) (string, error) {
	var user string
	if err := decode(data, &user); err != nil {
		return "", err
	}
	if !isUser(user) {
		return "", badField("", "is not the user part of an address")
	}
	return user, nil
}

func isUser(text string) bool {
	_, ok := parseNodeAddress(text + ".0")
	return ok
}

// token is a row of whatsmeow_privacy_tokens.
type token struct {
	token  []byte
	time   int64 // seconds since 1970
	sender *int64
}

// nodeToken is a tctoken file.
type nodeToken struct {
	Token           eitherWays      `json:"token"`
	Timestamp       json.RawMessage `json:"timestamp,omitempty"` // a number in a string
	SenderTimestamp *int64          `json:"senderTimestamp,omitempty"`
}

// parseToken returns nil for a token that was used up: only the time of our own
// is left in the file.
func parseToken(data []byte) (*token, error) {
	var n nodeToken
	if err := decode(data, &n); err != nil {
		return nil, err
	}
	if len(n.Token) == 0 || len(n.Timestamp) == 0 {
		return nil, nil
	}
	text := string(n.Timestamp)
	if s, err := strconv.Unquote(text); err == nil {
		text = s
	}
	t, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return nil, badField("timestamp", "is not a number")
	}
	return &token{n.Token, t, n.SenderTimestamp}, nil
}

func (t token) encode() ([]byte, error) {
	n := nodeToken{Token: t.token, SenderTimestamp: t.sender}
	n.Timestamp = json.RawMessage(strconv.Quote(strconv.FormatInt(t.time, 10)))
	return json.Marshal(n)
}

// tokenIndex is the id of the file that lists the accounts with a token. It is
// made anew from the tokens.
const tokenIndex = "__index"

func encodeTokenIndex(jids []types.JID) ([]byte, error) {
	list := make([]string, len(jids))
	for i, jid := range jids {
		list[i] = jid.String()
	}
	text, err := json.Marshal(list)
	if err != nil {
		return nil, err
	}
	return json.Marshal(nodeToken{Token: text})
}
