package baileys

import (
	"maps"
	"slices"
	"strings"
)

// lidFiles are the two kinds of lid-mapping files, by the user in their names.
type lidFiles struct {
	lids map[string]string // lid-mapping-<number>
	pns  map[string]string // lid-mapping-<lid>_reverse
}

const reverseSuffix = "_reverse"

// add notes a file. It reports false for a name that is no account's.
func (l *lidFiles) add(id, user string) bool {
	if lid, ok := strings.CutSuffix(id, reverseSuffix); ok {
		l.pns[lid] = user
		return isUser(lid)
	}
	l.lids[id] = user
	return isUser(id)
}

type lidPair struct{ lid, pn string }

// pairs makes the rows of whatsmeow_lid_map, in which each number and each LID
// stands once. Where files contradict each other, a pair that both agree on goes
// first; left counts the rest.
func (l *lidFiles) pairs() (rows []lidPair, left int) {
	usedLID, usedPN := map[string]bool{}, map[string]bool{}
	take := func(p lidPair) bool {
		if usedLID[p.lid] || usedPN[p.pn] {
			return false
		}
		usedLID[p.lid], usedPN[p.pn] = true, true
		rows = append(rows, p)
		return true
	}
	var second []lidPair
	for _, pn := range slices.Sorted(maps.Keys(l.lids)) {
		p := lidPair{l.lids[pn], pn}
		if l.pns[p.lid] == pn {
			take(p)
		} else {
			second = append(second, p)
		}
	}
	for _, lid := range slices.Sorted(maps.Keys(l.pns)) {
		if p := (lidPair{lid, l.pns[lid]}); l.lids[p.pn] != lid {
			second = append(second, p)
		}
	}
	for _, p := range second {
		if !take(p) {
			left++
		}
	}
	return rows, left
}
