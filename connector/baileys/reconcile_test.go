package baileys

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"go.mau.fi/whatsmeow/types"
)

const bobsNumber = "6281110000002"

// What stands under a number and under its LID is made one, so that whatsmeow,
// which moves the number's over the LID's, can't bring old state back.
func TestNumberAndLID(t *testing.T) {
	files := recordedFiles(t)
	// An old session and identity under Bob's number, which has a LID by now.
	files["session-"+bobsNumber+".0.json"] = files["session-6281110000003.0.json"]
	files["identity-key-"+bobsNumber+".0.json"] = files["identity-key-6281110000003.0.json"]
	// The group was addressed by numbers once: another key, and the same one further on.
	const bobsKey = "sender-key-120363000000000001@g.us--162811100000002_1--0.json"
	states, err := parseSenderKey(files[bobsKey].Data)
	must(t, err)
	old, same := states[0], states[0]
	old.ID++
	same.ChainKey.Iteration += 7
	data, err := encodeSenderKey([]nodeSenderState{old, same})
	must(t, err)
	files["sender-key-120363000000000001@g.us--"+bobsNumber+"--0.json"] = &fstest.MapFile{Data: data}

	folder, err := ReadFolder(files)
	must(t, err)
	db, container := newStore(t)
	report, err := Import(t.Context(), db, folder, Options{Exact: true})
	must(t, err)
	for table, rows := range dump(t, db) {
		for _, row := range rows {
			if table != "whatsmeow_lid_map" && strings.Contains(row, "'"+bobsNumber+":0'") {
				t.Errorf("%s keeps a row under the number", table)
			}
		}
	}
	if len(report.Lost) == 0 || report.Lost[len(report.Lost)-1].Cost == "" || report.Sessions != 4 || report.SenderKeys != 2 {
		t.Errorf("report: %+v", report)
	}
	device, err := container.GetFirstDevice(t.Context())
	must(t, err)
	row, err := device.SenderKeys.GetSenderKey(t.Context(), "120363000000000001@g.us", "162811100000002_1:0")
	must(t, err)
	record, err := senderKeyRow(row)
	must(t, err)
	byID := map[uint32]uint32{}
	for _, s := range record.SenderKeyStates {
		byID[s.KeyID] = s.SenderChainKey.Iteration
	}
	if len(byID) != 2 || byID[old.ID] != old.ChainKey.Iteration || byID[same.ID] != same.ChainKey.Iteration {
		t.Errorf("states: %v", byID)
	}

	// whatsmeow's own move changes nothing any more.
	before := dump(t, db)
	number, lid := types.NewJID(bobsNumber, types.DefaultUserServer), types.NewJID("162811100000002", types.HiddenUserServer)
	must(t, device.Sessions.MigratePNToLID(t.Context(), number, lid))
	if diff := cmp.Diff(before, dump(t, db)); diff != "" {
		t.Errorf("rows changed:\n%s", diff)
	}
}

// Mappings that contradict each other give rows that the table can hold.
func TestContradictingMappings(t *testing.T) {
	l := lidFiles{lids: map[string]string{"1": "101", "2": "101", "3": "103"}, pns: map[string]string{"101": "2", "103": "3", "104": "4", "105": "4"}}
	rows, left := l.pairs()
	seen := map[string]bool{}
	for _, r := range rows {
		if seen["lid"+r.lid] || seen["pn"+r.pn] {
			t.Errorf("twice: %+v", r)
		}
		seen["lid"+r.lid], seen["pn"+r.pn] = true, true
	}
	if !seen["lid101"] || !seen["pn2"] || seen["pn1"] || len(rows) != 3 || left != 2 {
		t.Errorf("rows %+v, %d left", rows, left)
	}
}
