package baileys

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"go.mau.fi/whatsmeow/types"
)

// maxFile is far more than any file of a folder holds.
const maxFile = 64 << 20

// Folder is a Baileys auth folder (useMultiFileAuthState), read completely and
// found sound.
type Folder struct {
	device          device
	myAppStateKeyID []byte
	nextPreKeyID    uint32 // ids below were given out
	firstUnuploaded uint32 // ids below were uploaded

	preKeys      map[uint32][]byte // private keys
	sessions     map[address]nodeRecord
	identities   map[address][]byte
	senderKeys   map[senderKeyName][]nodeSenderState
	appStateKeys map[string]*appStateKey // by their binary id
	versions     map[string]appStateVersion
	lids         lidFiles
	tokens       map[types.JID]token

	emptyTokens int
	dropped     map[string]int // files by kind that have no counterpart
	foreign     []string
}

// ReadFolder reads a folder, e.g. os.DirFS(path). Baileys writes its files in
// place and takes a damaged one for none, so each file that is Baileys' has to be
// sound: anything else is a *FolderError with every problem found, of the kinds
// ErrNoCredentials, ErrUnpaired, ErrDamaged and ErrMismatch. Files that aren't
// Baileys' are listed (Foreign) and otherwise ignored. ErrInUse tells that the folder
// was written to meanwhile; any other error, that it couldn't be read.
func ReadFolder(folder fs.FS) (*Folder, error) {
	entries, err := fs.ReadDir(folder, ".")
	if err != nil {
		return nil, fmt.Errorf("read folder: %w", err)
	}
	f := &Folder{
		preKeys: map[uint32][]byte{}, sessions: map[address]nodeRecord{}, identities: map[address][]byte{},
		senderKeys: map[senderKeyName][]nodeSenderState{}, appStateKeys: map[string]*appStateKey{},
		versions: map[string]appStateVersion{}, tokens: map[types.JID]token{}, dropped: map[string]int{},
		lids: lidFiles{map[string]string{}, map[string]string{}},
	}
	var p problems
	if err := f.readAll(folder, entries, &p); err != nil {
		return nil, fmt.Errorf("read folder: %w", err)
	}
	after, err := fs.ReadDir(folder, ".")
	if err != nil {
		return nil, fmt.Errorf("read folder: %w", err)
	}
	if same, err := unchanged(entries, after); err != nil || !same {
		return nil, fmt.Errorf("read folder: %w", errors.Join(ErrInUse, err))
	}
	if len(p.list) == 0 {
		f.match(&p)
	}
	if err := p.err(); err != nil {
		return nil, err
	}
	return f, nil
}

// readAll reads every file. It returns an error for what can't be read at all.
func (f *Folder) readAll(folder fs.FS, entries []fs.DirEntry, p *problems) error {
	hasCreds := false
	for _, e := range entries {
		kind, id, known := splitName(e.Name())
		if !e.Type().IsRegular() || !known && e.Name() != credsFile {
			f.foreign = append(f.foreign, e.Name())
			continue
		}
		data, err := readFile(folder, e.Name())
		if err != nil {
			return err
		}
		if e.Name() == credsFile {
			hasCreds = true
			f.readCreds(data, p)
			continue
		}
		p.addError(e.Name(), f.readKey(kind, id, data))
	}
	if !hasCreds {
		p.add(ErrNoCredentials, credsFile, "", "is missing: this is no folder of Baileys' multi-file auth state")
	}
	return nil
}

// unchanged reports whether two listings have the same files, sizes and times.
func unchanged(before, after []fs.DirEntry) (bool, error) {
	if len(before) != len(after) {
		return false, nil
	}
	for i := range before {
		a, err := before[i].Info()
		if err != nil {
			return false, err
		}
		b, err := after[i].Info()
		if err != nil {
			return false, err
		}
		if a.Name() != b.Name() || a.Size() != b.Size() || !a.ModTime().Equal(b.ModTime()) {
			return false, nil
		}
	}
	return true, nil
}

func readFile(folder fs.FS, name string) (data []byte, err error) {
	file, err := folder.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	data, err = io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("%s is larger than %d bytes", name, maxFile)
	}
	return data, nil
}

// readKey reads one key's file.
func (f *Folder) readKey(kind, id string, data []byte) error {
	switch kind {
	case kindPreKey:
		return f.readPreKey(id, data)
	case kindSession:
		return readInto(f.sessions, parseNodeAddress, parseRecord, id, data)
	case kindIdentity:
		return readInto(f.identities, parseNodeAddress, parseIdentity, id, data)
	case kindSenderKey:
		return readInto(f.senderKeys, parseSenderKeyFile, parseSenderKey, id, data)
	case kindAppStateVersion:
		return readInto(f.versions, parseCollection, parseVersion, id, data)
	case kindAppStateKey:
		return f.readAppStateKey(id, data)
	case kindLIDMapping:
		user, err := parseUser(data)
		if err == nil && !f.lids.add(id, user) {
			err = badName()
		}
		return err
	case kindToken:
		return f.readToken(id, data)
	}
	f.dropped[kind]++
	var anything any
	return decode(data, &anything)
}

func badName() error { return badField("", "has a name that Baileys wouldn't give it") }

// readInto reads one key into the map of its kind.
func readInto[K comparable, V any](into map[K]V, name func(string) (K, bool), value func([]byte) (V, error), id string, data []byte) error {
	key, ok := name(id)
	if !ok {
		return badName()
	}
	v, err := value(data)
	if err == nil {
		into[key] = v
	}
	return err
}

// parseCollection checks the name of a collection of the app state.
func parseCollection(id string) (string, bool) {
	return id, strings.Trim(id, "abcdefghijklmnopqrstuvwxyz_") == ""
}

func (f *Folder) readPreKey(id string, data []byte) error {
	n, err := strconv.ParseUint(id, 10, 24)
	if err != nil || strconv.FormatUint(n, 10) != id {
		return badName()
	}
	private, err := parsePreKey(data)
	f.preKeys[uint32(n)] = private
	return err
}

func (f *Folder) readAppStateKey(escaped string, data []byte) error {
	id, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(escaped, "__", "/"))
	if err != nil || len(id) == 0 {
		return badName()
	}
	key, err := parseAppStateKey(id, data)
	f.appStateKeys[string(id)] = key
	return err
}

func (f *Folder) readToken(escaped string, data []byte) error {
	t, err := parseToken(data)
	if err != nil || escaped == tokenIndex {
		return err
	}
	jid, ok := parseTokenFile(escaped)
	switch {
	case !ok:
		return badName()
	case t == nil:
		f.emptyTokens++
	case t.time >= f.tokens[jid.ToNonAD()].time: // whatsmeow keeps one for all devices
		f.tokens[jid.ToNonAD()] = *t
	}
	return nil
}

// Identity says whose session the folder holds.
func (f *Folder) Identity() Identity {
	return Identity{f.device.jid.String(), f.device.lid.String(), f.device.pushName, f.device.platform}
}

// Foreign lists what else lies in the folder, sorted by name.
func (f *Folder) Foreign() []string { return slices.Clone(f.foreign) }

// MaxPreKeyID is the highest prekey id that was ever given out: a safe start goes
// on above it.
func (f *Folder) MaxPreKeyID() uint32 {
	highest := max(f.nextPreKeyID, 1) - 1
	for id := range f.preKeys {
		highest = max(highest, id)
	}
	return highest
}

// Problems says what an exact import refuses and a safe one doesn't need: keys
// that creds.json counts on and that aren't there.
func (f *Folder) Problems() []Problem {
	var p problems
	f.incomplete(&p)
	return p.list
}

func (f *Folder) incomplete(p *problems) {
	if id := f.myAppStateKeyID; len(id) > 0 && f.appStateKeys[string(id)] == nil {
		p.add(ErrIncomplete, fileName(kindAppStateKey, base64.StdEncoding.EncodeToString(id)), "", "is missing, and creds.json names it as the newest")
	}
	for id := max(f.firstUnuploaded, 1); id < f.nextPreKeyID; id++ {
		if f.preKeys[id] == nil {
			p.add(ErrIncomplete, fileName(kindPreKey, strconv.FormatUint(uint64(id), 10)), "", "is missing, and nobody can have used it up")
			break
		}
	}
	if len(f.preKeys) == 0 && f.nextPreKeyID > 1 {
		p.add(ErrIncomplete, fileName(kindPreKey, "*"), "", "are all missing, and creds.json counts %d", f.nextPreKeyID-1)
	}
}
