package replicate

import (
	"math"
	"slices"

	"cloudsession/shared/cloudstore"
	"cloudsession/shared/envelope"
	"cloudsession/shared/sessionlog"
)

// maxPreKeyID returns the highest prekey id that a push names, be it of a row written or deleted: both
// show that the id was in use (whatsmeow_pre_keys.key_id, see whatsmeow's store/sqlstore/upgrades).
func maxPreKeyID(p sessionlog.Push) uint32 {
	column := slices.Repeat([]int{-1}, len(p.Tables))
	for i, t := range p.Tables {
		if t.Name == "whatsmeow_pre_keys" {
			column[i] = slices.Index(t.Key, "key_id")
		}
	}
	highest := uint32(0)
	for _, r := range p.Records {
		if c := column[r.Table]; c >= 0 {
			if id, ok := r.Key[c].(int64); ok && id > 0 && id <= math.MaxUint32 {
				highest = max(highest, uint32(id))
			}
		}
	}
	return highest
}

// strayPreKeyID returns the highest prekey id in rows that the log doesn't count: those behind the end
// that a take gave an epoch, and those of pushes that never became whole. They show ids that were in
// use. A row that can't be read there is nobody's fault and is passed over: the margin that the safe
// start adds is for it.
func (r *restorer) strayPreKeyID(lineage []fetchedEpoch) uint32 {
	highest := uint32(0)
	var last [32]byte // tag of the last row that counts
	for _, e := range lineage {
		before := last
		for i, row := range e.rows {
			if row.Seq <= e.limit && row.Kind.IsData() {
				last = row.Tag
			}
			if !row.Kind.IsData() || row.Part != 1 {
				continue
			}
			if row.Seq <= e.limit && wholePush(e.rows[i:]) && row.Seq+uint64(row.Parts)-1 <= e.limit {
				continue // counted
			}
			highest = max(highest, r.strayPush(e.rows, i, before))
		}
	}
	return highest
}

// strayPush reads what there is of the push that begins at rows[i]; before is the tag of the row that
// the epoch chains to.
func (r *restorer) strayPush(rows []cloudstore.Segment, i int, before [32]byte) uint32 {
	var prev [32]byte
	switch {
	case rows[i].Kind == cloudstore.KindBase: // chains to nothing
	case rows[i].Seq == 1:
		prev = before
	case i == 0 || rows[i-1].Seq+1 != rows[i].Seq || !rows[i-1].Kind.IsData():
		return 0 // the row it chains to never came
	default:
		prev = rows[i-1].Tag
	}
	var bodies [][]byte
	for k, row := range rows[i:] {
		if row.Kind != rows[i].Kind || row.Seq != rows[i].Seq+uint64(k) || int(row.Part) != k+1 {
			break
		}
		if !r.mayOpen(row.Data) {
			break
		}
		opened, err := r.keys.Open(envelope.Position{
			SessionID: r.sessionID, Epoch: row.Epoch, Seq: row.Seq, Part: row.Part, Parts: row.Parts, PrevTag: prev,
		}, row.Data)
		if err != nil {
			break
		}
		bodies = append(bodies, opened.Plaintext)
		prev = row.Tag
	}
	return maxPreKeyID(sessionlog.Salvage(bodies, rows[i].Kind == cloudstore.KindBase))
}

// mayOpen reports whether a row that the log doesn't count may be opened: each salt costs the
// derivation of a key, and whoever can write to the table may put any number of rows there.
func (r *restorer) mayOpen(data []byte) bool {
	salt, err := envelope.SaltOf(data)
	if err != nil {
		return false
	}
	if slices.Contains(r.salts, salt) {
		return true
	}
	if len(r.salts) >= sessionlog.MaxSalts {
		return false
	}
	r.salts = append(r.salts, salt)
	return true
}
