package baileys

import (
	"context"
	"database/sql"
	"fmt"
	"maps"

	"go.mau.fi/whatsmeow/util/keys"
)

// Options says how to import a folder.
type Options struct {
	// Exact carries the Signal state over: for a folder whose Node process was
	// stopped cleanly, and which nobody uses any more. Otherwise sessions and our
	// own sender keys stay behind, since stale ones lose messages without a word,
	// and the session has to be started safely.
	Exact bool
}

// The statements follow whatsmeow's own (store/sqlstore/store.go).
const (
	insertPreKey  = `INSERT INTO whatsmeow_pre_keys (jid, key_id, key, uploaded) VALUES (?, ?, ?, ?)`
	insertSession = `INSERT INTO whatsmeow_sessions (our_jid, their_id, session) VALUES (?, ?, ?)`
	insertSender  = `INSERT INTO whatsmeow_sender_keys (our_jid, chat_id, sender_id, sender_key) VALUES (?, ?, ?, ?)`
	insertVersion = `INSERT INTO whatsmeow_app_state_version (jid, name, version, hash) VALUES (?, ?, ?, ?)`
	insertMAC     = `INSERT INTO whatsmeow_app_state_mutation_macs (jid, name, version, index_mac, value_mac) VALUES (?, ?, ?, ?, ?)`
	insertToken   = `INSERT INTO whatsmeow_privacy_tokens (our_jid, their_jid, token, timestamp, sender_timestamp) VALUES (?, ?, ?, ?, ?)`
)

// Import puts a folder into an empty session file whose tables exist (whatsmeow's
// Container.Upgrade), in one transaction. It returns ErrDeviceExists rather than
// touch a file that has a device, and a *FolderError of kind ErrIncomplete if an
// exact import lacks files.
func Import(ctx context.Context, db *sql.DB, f *Folder, o Options) (Report, error) {
	i := importer{ctx: ctx, f: f, exact: o.Exact, report: Report{
		Identity: f.Identity(), Exact: o.Exact, MaxPreKeyID: f.MaxPreKeyID(), Foreign: f.Foreign(),
	}}
	if o.Exact {
		var p problems
		f.incomplete(&p)
		if err := p.err(); err != nil {
			return Report{}, fmt.Errorf("import folder: %w", err)
		}
	}
	err := inTx(ctx, db, nil, func(tx *sql.Tx) error {
		i.tx, i.jid = tx, f.device.jid.String()
		return i.run()
	})
	if err != nil {
		return Report{}, fmt.Errorf("import folder: %w", err)
	}
	return i.report, nil
}

// importer is one import, in its transaction.
type importer struct {
	ctx    context.Context
	tx     *sql.Tx
	f      *Folder
	exact  bool
	jid    string
	report Report

	lidOf      map[string]string // LIDs by number
	sessions   map[address]nodeRecord
	senderKeys map[senderKeyName][]nodeSenderState
}

func (i *importer) exec(stmt string, args ...any) error {
	_, err := i.tx.ExecContext(i.ctx, stmt, args...)
	return err
}

func (i *importer) run() error {
	if err := insertCredentials(i.ctx, i.tx, i.f.device); err != nil {
		return err
	}
	i.reconcile()
	steps := []struct {
		what string
		do   func() error
	}{
		{"prekeys", i.preKeys},
		{"identities", i.identities},
		{"Signal records", i.records},
		{"app state", i.appState},
		{"LID mappings", i.lidMappings},
		{"privacy tokens", i.tokens},
	}
	for _, s := range steps {
		if err := s.do(); err != nil {
			return fmt.Errorf("insert %s: %w", s.what, err)
		}
	}
	i.report.lose("used privacy tokens", i.f.emptyTokens, "ours is sent again")
	i.report.lose("groups' lists of who has our sender key", i.f.dropped[kindSenderKeyMemory], "none: whatsmeow sends it with each message")
	i.report.lose("device lists", i.f.dropped[kindDeviceList], "none: they are fetched")
	return nil
}

func (i *importer) preKeys() error {
	for id, key := range i.f.preKeys {
		if err := i.exec(insertPreKey, i.jid, id, key, id < i.f.firstUnuploaded); err != nil {
			return err
		}
	}
	i.report.PreKeys = len(i.f.preKeys)
	return nil
}

// identities inserts the peers' identity keys. Baileys writes one only when a peer
// begins a session, so those that the sessions know are added: a session that is
// open decides.
func (i *importer) identities() error {
	all := maps.Clone(i.f.identities)
	if i.exact {
		for a, r := range i.sessions {
			if s := r.openState(); s != nil {
				all[a] = s.IndexInfo.RemoteIdentityKey[1:]
			}
		}
	}
	account := i.f.device.lid.ToNonAD()
	for a, key := range all {
		if a.isDevice(account) {
			continue // inserted with the device
		}
		if lid, ok := i.underLID(a); ok && (all[lid] != nil || lid.isDevice(account)) {
			continue // whatsmeow would move it over that one
		}
		if err := i.exec(insertIdentity, i.jid, a.signal(), key); err != nil {
			return err
		}
		i.report.Identities++
	}
	return nil
}

// records inserts sessions and sender keys.
func (i *importer) records() error {
	var sessions, senderKeys skipped
	me := selfOf(i.f.device.identity, i.f.device.registrationID)
	for a, r := range i.sessions {
		if !i.exact {
			break
		}
		row, left, err := r.toGo(me)
		if err != nil {
			return err
		}
		sessions.add(left)
		if row == nil {
			continue
		}
		if err := i.exec(insertSession, i.jid, a.signal(), row); err != nil {
			return err
		}
		i.report.Sessions++
	}
	for name, states := range i.senderKeys {
		if !i.exact && (name.sender.isDevice(i.f.device.jid) || name.sender.isDevice(i.f.device.lid)) {
			continue
		}
		row, left, err := senderKeyToGo(states)
		if err != nil {
			return err
		}
		senderKeys.add(left)
		if row == nil {
			continue
		}
		if err := i.exec(insertSender, i.jid, name.group, name.sender.signal(), row); err != nil {
			return err
		}
		i.report.SenderKeys++
	}
	i.report.loseRecords(sessions, senderKeys)
	return nil
}

func publicOf(private []byte) []byte {
	return keys.NewKeyPairFromPrivateKey([32]byte(private)).Pub[:]
}

func (i *importer) appState() error {
	for _, k := range i.f.appStateKeys {
		if err := i.exec(insertAppStateKey, i.jid, k.id, k.data, k.timestamp, k.fingerprint); err != nil {
			return err
		}
	}
	for name, v := range i.f.versions {
		if err := i.exec(insertVersion, i.jid, name, v.version, v.hash); err != nil {
			return err
		}
		for _, index := range v.sortedMACs() {
			if err := i.exec(insertMAC, i.jid, name, v.version, index[:], v.macs[index]); err != nil {
				return err
			}
		}
	}
	i.report.AppStateKeys, i.report.AppStateVersions = len(i.f.appStateKeys), len(i.f.versions)
	return nil
}

func (i *importer) lidMappings() error {
	rows, left := i.f.lids.pairs()
	d := i.f.device
	for _, r := range rows {
		if r.lid == d.lid.User || r.pn == d.jid.User {
			continue // inserted with the device
		}
		if err := i.exec(insertLID, r.lid, r.pn); err != nil {
			return err
		}
		i.report.LIDMappings++
	}
	i.report.lose("LID mappings that contradict others", left, "none: they are fetched")
	return nil
}

func (i *importer) tokens() error {
	for jid, t := range i.f.tokens {
		if err := i.exec(insertToken, i.jid, jid.String(), t.token, t.time, t.sender); err != nil {
			return err
		}
	}
	i.report.PrivacyTokens = len(i.f.tokens)
	return nil
}
