package baileys

import (
	"database/sql"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	group "go.mau.fi/libsignal/groups/state/record"
	"go.mau.fi/libsignal/state/record"
	"go.mau.fi/whatsmeow/types"
	"go.mau.fi/whatsmeow/types/events"

	"cloudsession/connector/watest"
)

// seed is CLOUDSESSION_SEED, or a new one; the test says which.
func seed(t *testing.T) *rand.Rand {
	t.Helper()
	n := uint64(time.Now().UnixNano())
	if text := os.Getenv("CLOUDSESSION_SEED"); text != "" {
		var err error
		n, err = strconv.ParseUint(text, 10, 64)
		must(t, err)
	}
	t.Logf("CLOUDSESSION_SEED=%d", n)
	return rand.New(rand.NewPCG(n, 0))
}

// world is a client that moves, and who it talks to: another client, a phone with
// no client, and a group of all.
type world struct {
	t                 *testing.T
	rand              *rand.Rand
	s                 *watest.Service
	addr              string
	alice, bob, carol *watest.Phone
	a, b              *client
	group             types.JID
	said              int
}

func newWorld(t *testing.T, mode types.AddressingMode) *world {
	t.Helper()
	w := &world{t: t, rand: seed(t)}
	w.s, w.addr = newService(t)
	w.alice, w.bob, w.carol = newPhone(t, w.s, "6281111111111", "Alice"), newPhone(t, w.s, "6282222222222", "Bob"), newPhone(t, w.s, "6283333333333", "Carol")
	w.a, w.b = pairClient(t, w.s, w.addr, w.alice), pairClient(t, w.s, w.addr, w.bob)
	group, err := w.carol.CreateGroupAddressed(testContext(t), mode, w.alice.PN(), w.bob.LID())
	must(t, err)
	w.group = group
	await[*events.JoinedGroup](w.a, "notification of the group", nil)
	w.talkInGroup() // whatever the seed, a move has sender keys to carry
	return w
}

func (w *world) text() string {
	w.said++
	return fmt.Sprintf("text %d", w.said)
}

// talk says something random n times, each time until it has arrived.
func (w *world) talk(n int) {
	w.t.Helper()
	for range n {
		text := w.text()
		switch w.rand.IntN(6) {
		case 0:
			w.a.send(w.bob.LID(), text)
			w.b.awaitText(text)
			waitText(w.t, w.bob, text)
		case 1:
			w.a.send(w.group, text)
			w.b.awaitText(text)
			waitText(w.t, w.carol, text)
		case 2:
			w.a.send(w.carol.PN(), text)
			waitText(w.t, w.carol, text)
		default:
			w.toA(text)
			w.a.awaitText(text)
		}
		w.settle(w.a, w.b)
	}
}

// settle waits until the clients have handled all that was sent to them. These are
// plain whatsmeow clients: one that encrypts while it decrypts may use a message
// key twice, which is not what is looked at here.
func (w *world) settle(clients ...*client) {
	w.t.Helper()
	must(w.t, w.s.Wait(testContext(w.t), func() bool {
		for _, c := range clients {
			if w.s.Device(*c.Store.ID).Queued > 0 {
				return false
			}
		}
		return true
	}))
}

// talkInGroup has a say something in the group, and hear something.
func (w *world) talkInGroup() {
	w.t.Helper()
	for _, from := range []*client{w.a, w.b} {
		text := w.text()
		from.send(w.group, text)
		waitText(w.t, w.carol, text)
		if from == w.b {
			w.a.awaitText(text)
		}
		w.settle(w.a, w.b)
	}
}

// toA sends something that a is to receive.
func (w *world) toA(text string) {
	w.t.Helper()
	switch w.rand.IntN(4) {
	case 0:
		w.b.send(w.alice.LID(), text)
	case 1:
		w.b.send(w.group, text)
	case 2:
		_, err := w.carol.SendText(testContext(w.t), w.alice.PN(), text)
		must(w.t, err)
	default:
		_, err := w.carol.SendText(testContext(w.t), w.group, text)
		must(w.t, err)
	}
}

// move takes a's session out into a folder and back into a new file, while
// messages for it wait.
func (w *world) move() {
	w.t.Helper()
	w.a.close()
	old := openFile(w.t, w.a.file)
	defer func() { must(w.t, old.Close()) }()
	dir := filepath.Join(w.t.TempDir(), "auth")
	out, err := Export(testContext(w.t), old, dir)
	must(w.t, err)
	folder, err := ReadFolder(os.DirFS(dir))
	must(w.t, err)
	path := filepath.Join(w.t.TempDir(), "session.db")
	fresh := openFile(w.t, path)
	in, err := Import(testContext(w.t), fresh, folder, Options{Exact: true})
	must(w.t, err)
	if in.Sessions != out.Sessions || in.SenderKeys != out.SenderKeys || in.PreKeys != out.PreKeys || in.Sessions == 0 || in.SenderKeys == 0 {
		w.t.Errorf("exported %+v, imported %+v", out, in)
	}
	compareRows(w.t, dump(w.t, old), dump(w.t, fresh))
	compareRecords(w.t, old, fresh)

	again := filepath.Join(w.t.TempDir(), "auth")
	_, err = Export(testContext(w.t), fresh, again)
	must(w.t, err)
	if diff := cmp.Diff(folderValues(w.t, dir), folderValues(w.t, again)); diff != "" {
		w.t.Errorf("folder after a round (-first +second):\n%s", diff)
	}
	must(w.t, fresh.Close())
	var waiting []string
	for range 1 + w.rand.IntN(5) {
		waiting = append(waiting, w.text())
		w.toA(waiting[len(waiting)-1])
		w.settle(w.b)
	}
	w.a = openClient(w.t, w.s, w.addr, path)
	w.a.connect()
	for _, text := range waiting {
		w.a.awaitText(text)
	}
}

// A session that is moved again and again talks on in its Signal sessions: nothing
// is lost, nothing has to be asked for again.
func TestMoveUnderTraffic(t *testing.T) {
	for _, mode := range []types.AddressingMode{types.AddressingModeLID, types.AddressingModePN} {
		t.Run(string(mode), func(t *testing.T) {
			w := newWorld(t, mode)
			w.talk(8)
			for range 4 {
				w.move()
				w.talk(w.rand.IntN(10))
			}
			expectSound(t, w.s)
		})
	}
}

// compareRows compares the tables that Baileys has places for.
func compareRows(t *testing.T, before, after map[string][]string) {
	t.Helper()
	for _, table := range []string{
		"whatsmeow_device", "whatsmeow_identity_keys", "whatsmeow_pre_keys", "whatsmeow_app_state_sync_keys",
		"whatsmeow_app_state_version", "whatsmeow_lid_map", "whatsmeow_privacy_tokens",
	} {
		if diff := cmp.Diff(before[table], after[table]); diff != "" {
			t.Errorf("%s (-before +after):\n%s", table, diff)
		}
	}
	for _, table := range slices.Sorted(maps.Keys(before)) {
		if len(after[table]) == 0 && !slices.Contains(lostTables, table) {
			t.Errorf("%s is empty after", table)
		}
	}
}

var lostTables = []string{
	"whatsmeow_retry_buffer", "whatsmeow_message_secrets", "whatsmeow_event_buffer",
	"whatsmeow_contacts", "whatsmeow_chat_settings", "whatsmeow_nct_salt",
}

// compareRecords compares sessions and sender keys as FORMAT.md says they come back.
func compareRecords(t *testing.T, before, after *sql.DB) {
	t.Helper()
	for _, query := range []string{
		`SELECT session FROM whatsmeow_sessions ORDER BY their_id`,
		`SELECT sender_key FROM whatsmeow_sender_keys ORDER BY chat_id, sender_id`,
	} {
		first, second := column(t, before, query), column(t, after, query)
		if len(first) != len(second) {
			t.Errorf("%d records before, %d after", len(first), len(second))
			continue
		}
		for i := range first {
			if diff := cmp.Diff(carried(t, first[i]), carried(t, second[i])); diff != "" {
				t.Errorf("record (-before +after):\n%s", diff)
			}
		}
	}
}

// carried is what of a record has to come back.
func carried(t *testing.T, row string) any {
	t.Helper()
	if r, err := senderKeyRow([]byte(row)); err == nil && r.SenderKeyStates != nil {
		seen := map[uint32]bool{}
		r.SenderKeyStates = slices.DeleteFunc(r.SenderKeyStates, func(s *group.SenderKeyStateStructure) bool {
			again := seen[s.KeyID]
			seen[s.KeyID] = true
			if s.SigningKeyPrivate == nil {
				s.SigningKeyPrivate = noKey[:]
			}
			return again
		})
		return r
	}
	r, err := sessionRow([]byte(row))
	must(t, err)
	seen := map[string]bool{string(r.SessionState.SenderBaseKey): true}
	r.PreviousStates = slices.DeleteFunc(r.PreviousStates, func(s *record.StateStructure) bool {
		again := seen[string(s.SenderBaseKey)]
		seen[string(s.SenderBaseKey)] = true
		return again
	})
	for _, s := range append(r.PreviousStates, r.SessionState) {
		if s.PreviousCounter == neverSent {
			s.PreviousCounter = 0
		}
		// The peer's signed prekey is kept while the session is pending, its key isn't.
		if c := s.ReceiverChains[0]; s.PendingPreKey != nil {
			c.ChainKey.Key = noKey[:]
		} else if isNoKey(c.ChainKey.Key) && c.ChainKey.Index == 0 {
			s.ReceiverChains = s.ReceiverChains[1:]
		}
		for _, c := range s.ReceiverChains {
			c.MessageKeys = nil
		}
	}
	return r
}
