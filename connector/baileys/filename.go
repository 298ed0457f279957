package baileys

import (
	"regexp"
	"strconv"
	"strings"

	"go.mau.fi/whatsmeow/types"
)

// credsFile holds the credentials; every other file is one key, see fileName.
const credsFile = "creds.json"

// The kinds of keys, as Baileys names them (SignalDataTypeMap in its Types/Auth).
const (
	kindPreKey          = "pre-key"
	kindSession         = "session"
	kindSenderKey       = "sender-key"
	kindSenderKeyMemory = "sender-key-memory"
	kindAppStateKey     = "app-state-sync-key"
	kindAppStateVersion = "app-state-sync-version"
	kindLIDMapping      = "lid-mapping"
	kindDeviceList      = "device-list"
	kindToken           = "tctoken"
	kindIdentity        = "identity-key"
)

// kinds has the longer of two names with a common start first.
var kinds = []string{
	kindSenderKeyMemory, kindSenderKey, kindAppStateKey, kindAppStateVersion,
	kindPreKey, kindSession, kindLIDMapping, kindDeviceList, kindToken, kindIdentity,
}

// fileName is the name of the file that holds a key (fixFileName in Baileys'
// use-multi-file-auth-state).
func fileName(kind, id string) string {
	return kind + "-" + escape(id) + ".json"
}

func escape(id string) string {
	return strings.ReplaceAll(strings.ReplaceAll(id, "/", "__"), ":", "-")
}

// splitName takes a file's name apart. The id is still escaped. It reports false
// for a name that isn't Baileys'.
func splitName(name string) (kind, escaped string, ok bool) {
	base, ok := strings.CutSuffix(name, ".json")
	if !ok {
		return "", "", false
	}
	for _, kind := range kinds {
		if id, ok := strings.CutPrefix(base, kind+"-"); ok && id != "" {
			return kind, id, true
		}
	}
	return "", "", false
}

// address is a Signal address: an account, its kind and a device. Baileys writes
// it `user[_domain].device`, whatsmeow `user[_domain]:device`.
type address struct {
	user   string
	domain int // 0 phone number, 1 LID, 128 hosted, 129 hosted LID
	device int
}

var (
	nodeAddress      = regexp.MustCompile(`^([0-9A-Za-z]+)(?:_([0-9]{1,3}))?\.([0-9]{1,5})$`)
	whatsmeowAddress = regexp.MustCompile(`^([0-9A-Za-z]+)(?:_([0-9]{1,3}))?:([0-9]{1,5})$`)
	senderKeyFile    = regexp.MustCompile(`^(.+)--([0-9A-Za-z]+)(?:_([0-9]{1,3}))?--([0-9]{1,5})$`)
)

// addressOf makes an address of the last three groups of a match.
func addressOf(match []string) (address, bool) {
	if match == nil {
		return address{}, false
	}
	match = match[len(match)-3:]
	a := address{user: match[0]}
	for i, n := range []*int{&a.domain, &a.device} {
		text := match[i+1]
		if text == "" {
			continue
		}
		value, err := strconv.Atoi(text)
		// One name for one address, else two files could mean the same.
		if err != nil || strconv.Itoa(value) != text || i == 0 && (value == 0 || value > 255) || value > 65535 {
			return address{}, false
		}
		*n = value
	}
	return a, true
}

func (a address) account() string {
	if a.domain == 0 {
		return a.user
	}
	return a.user + "_" + strconv.Itoa(a.domain)
}

// signal is the address as whatsmeow stores it.
func (a address) signal() string { return a.account() + ":" + strconv.Itoa(a.device) }

// node is the address as Baileys names sessions and identities.
func (a address) node() string { return a.account() + "." + strconv.Itoa(a.device) }

// isDevice reports whether a is the Signal address of jid.
func (a address) isDevice(jid types.JID) bool {
	return !jid.IsEmpty() && a.signal() == jid.SignalAddress().String()
}

func parseNodeAddress(text string) (address, bool) {
	return addressOf(nodeAddress.FindStringSubmatch(text))
}

func parseSignalAddress(text string) (address, bool) {
	return addressOf(whatsmeowAddress.FindStringSubmatch(text))
}

// senderKeyName names a sender key: whose it is, and in which group.
type senderKeyName struct {
	group  string
	sender address
}

// node is the name as Baileys makes it (SenderKeyName.serialize).
func (n senderKeyName) node() string {
	return n.group + "::" + n.sender.account() + "::" + strconv.Itoa(n.sender.device)
}

// parseSenderKeyFile reads the escaped name. A group's JID holds no colon.
func parseSenderKeyFile(escaped string) (senderKeyName, bool) {
	match := senderKeyFile.FindStringSubmatch(escaped)
	sender, ok := addressOf(match)
	if !ok || strings.Contains(match[1], "__") {
		return senderKeyName{}, false
	}
	return senderKeyName{match[1], sender}, true
}

// parseTokenFile reads the escaped JID of a privacy token.
func parseTokenFile(escaped string) (types.JID, bool) {
	jid, err := types.ParseJID(strings.ReplaceAll(escaped, "-", ":"))
	if err != nil || jid.User == "" || jid.Server == "" {
		return types.JID{}, false
	}
	return jid, true
}
