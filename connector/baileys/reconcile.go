package baileys

import (
	"maps"
	"slices"
)

// whatsmeow keeps everything about an account whose LID it knows under the LID.
// When a message comes from the account's number, it moves what it has under the
// number there, over whatever there is (MigratePNToLID in its
// store/sqlstore/store.go). Baileys reads sessions under the LID as soon as it
// knows it, and leaves a file under the number lying; sender keys it keeps under
// the address on the wire. So what stands under both has to be made one before
// whatsmeow does it.

// lidDomain is the domain of a LID's address; a number's is 0.
const lidDomain = 1

// underLID returns the address under the LID of the same device.
func (i *importer) underLID(a address) (address, bool) {
	lid, ok := i.lidOf[a.user]
	return address{lid, lidDomain, a.device}, ok && a.domain == 0
}

// reconcile copies the folder's records, without those that are superseded.
func (i *importer) reconcile() {
	d := i.f.device
	pairs, _ := i.f.lids.pairs()
	i.lidOf = map[string]string{}
	for _, p := range pairs {
		i.lidOf[p.pn] = p.lid
	}
	if !d.lid.IsEmpty() {
		i.lidOf[d.jid.User] = d.lid.User
	}
	i.sessions, i.senderKeys = maps.Clone(i.f.sessions), maps.Clone(i.f.senderKeys)
	for a := range i.f.sessions {
		if lid, ok := i.underLID(a); ok && i.f.sessions[lid].openState() != nil {
			delete(i.sessions, a)
		}
	}
	for name, states := range i.f.senderKeys {
		lid, ok := i.underLID(name.sender)
		if !ok || name.sender.isDevice(d.jid) {
			continue // our own of both are good: nobody else moves them
		}
		under := senderKeyName{name.group, lid}
		if other, ok := i.f.senderKeys[under]; ok {
			i.senderKeys[under] = mergeSenderKeys(states, other)
			delete(i.senderKeys, name)
		}
	}
	i.report.lose("sessions under a number whose LID has one", len(i.f.sessions)-len(i.sessions), "none: Baileys doesn't use them either")
}

// mergeSenderKeys makes one record of two for the same sender. Of two states of one
// key the one that is further on has seen what the other has.
func mergeSenderKeys(older, newer []nodeSenderState) []nodeSenderState {
	var out []nodeSenderState
	for _, s := range slices.Concat(older, newer) {
		at := slices.IndexFunc(out, func(o nodeSenderState) bool { return o.ID == s.ID })
		switch {
		case at < 0:
			out = append(out, s)
		case s.ChainKey.Iteration > out[at].ChainKey.Iteration:
			out[at] = s
		}
	}
	return out
}

// underNumbers returns the number of each LID of the file.
func (e *exporter) underNumbers() (map[string]string, error) {
	numbers := map[string]string{}
	var p lidPair
	err := e.each(func() error {
		numbers[p.lid] = p.pn
		return nil
	}, []any{&p.lid, &p.pn}, `SELECT lid, pn FROM whatsmeow_lid_map`)
	return numbers, err
}

// copySenderKeys adds others' sender keys under their numbers as well: in a group
// that is addressed by numbers Baileys looks there. Import makes one of the two.
func (e *exporter) copySenderKeys(names []senderKeyName) error {
	numbers, err := e.underNumbers()
	if err != nil {
		return err
	}
	for _, name := range names {
		number := numbers[name.sender.user]
		if name.sender.domain != lidDomain || !isUser(number) || name.sender.isDevice(e.lid) {
			continue
		}
		other := senderKeyName{name.group, address{number, 0, name.sender.device}}
		file := fileName(kindSenderKey, other.node())
		if e.files[file] == nil {
			e.files[file] = e.files[fileName(kindSenderKey, name.node())]
		}
	}
	return nil
}
