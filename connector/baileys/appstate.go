package baileys

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"go.mau.fi/whatsmeow/proto/waE2E"
	"google.golang.org/protobuf/proto"
)

// hashLength is the length of an app state's LTHash.
const hashLength = 128

// appStateVersion is one collection of the app state: a row of
// whatsmeow_app_state_version and its mutation MACs.
type appStateVersion struct {
	version uint64
	hash    []byte
	macs    map[[32]byte][]byte // value MAC by index MAC
}

// nodeVersion is Baileys' LTHashState.
type nodeVersion struct {
	Version       *uint64                 `json:"version"`
	Hash          eitherWays              `json:"hash"`
	IndexValueMap map[string]nodeValueMAC `json:"indexValueMap"`
}

type nodeValueMAC struct {
	ValueMAC eitherWays `json:"valueMac"`
}

func parseVersion(data []byte) (appStateVersion, error) {
	var n nodeVersion
	if err := decode(data, &n); err != nil {
		return appStateVersion{}, err
	}
	if n.Version == nil || *n.Version >= 1<<53 {
		return appStateVersion{}, badField("version", "is missing or out of range")
	}
	if err := checkLength("hash", n.Hash, hashLength); err != nil {
		return appStateVersion{}, err
	}
	v := appStateVersion{*n.Version, n.Hash, make(map[[32]byte][]byte, len(n.IndexValueMap))}
	for index, value := range n.IndexValueMap {
		mac, err := base64.StdEncoding.DecodeString(index)
		if err != nil || len(mac) != 32 || len(value.ValueMAC) != 32 {
			return appStateVersion{}, badField("indexValueMap", "holds something else than MACs of 32 bytes")
		}
		v.macs[[32]byte(mac)] = value.ValueMAC
	}
	return v, nil
}

func (v appStateVersion) encode() ([]byte, error) {
	n := nodeVersion{&v.version, v.hash, make(map[string]nodeValueMAC, len(v.macs))}
	for index, value := range v.macs {
		n.IndexValueMap[base64.StdEncoding.EncodeToString(index[:])] = nodeValueMAC{value}
	}
	return json.Marshal(n)
}

// sortedMACs returns the index MACs in a fixed order.
func (v appStateVersion) sortedMACs() [][32]byte {
	list := make([][32]byte, 0, len(v.macs))
	for index := range v.macs {
		list = append(list, index)
	}
	slices.SortFunc(list, func(a, b [32]byte) int { return slices.Compare(a[:], b[:]) })
	return list
}

func parseAppStateKey(id, data []byte) (*appStateKey, error) {
	var a appStateIn
	if err := decode(data, &a); err != nil {
		return nil, err
	}
	key, err := a.key(id)
	if err != nil {
		return nil, badField("", "lacks keyData or timestamp")
	}
	return key, nil
}

// nodeAppStateKey is written as protobufjs writes AppStateSyncKeyData.
type nodeAppStateKey struct {
	KeyData     []byte           `json:"keyData"`
	Fingerprint *nodeFingerprint `json:"fingerprint,omitempty"`
	Timestamp   string           `json:"timestamp"` // 64 bits, so a string
}

type nodeFingerprint struct {
	RawID         *uint32  `json:"rawId,omitempty"`
	CurrentIndex  *uint32  `json:"currentIndex,omitempty"`
	DeviceIndexes []uint32 `json:"deviceIndexes,omitempty"`
}

func (k appStateKey) encode() ([]byte, error) {
	var f waE2E.AppStateSyncKeyFingerprint
	if err := proto.Unmarshal(k.fingerprint, &f); err != nil {
		return nil, fmt.Errorf("decode fingerprint: %w", err)
	}
	return json.Marshal(nodeAppStateKey{
		k.data, &nodeFingerprint{f.RawID, f.CurrentIndex, f.DeviceIndexes}, strconv.FormatInt(k.timestamp, 10),
	})
}
