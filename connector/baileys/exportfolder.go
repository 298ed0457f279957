package baileys

import (
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"go.mau.fi/whatsmeow/types"
)

// Export writes the one device in db as a Baileys auth folder, as it is at one
// moment. The device must not be used by anybody while and after: two programs
// with one Signal state lose each other's messages. The folder (0700, its files
// 0600) appears under its name only when it is complete; ErrNotEmpty if one is
// there that holds something. ErrNoDevice, ErrManyDevices as in Credentials, and
// ErrDamaged for a row that whatsmeow couldn't use either.
func Export(ctx context.Context, db *sql.DB, dir string) (Report, error) {
	return export(ctx, db, dir, time.Now())
}

func export(ctx context.Context, db *sql.DB, dir string, now time.Time) (Report, error) {
	if err := free(dir); err != nil {
		return Report{}, fmt.Errorf("export folder: %w", err)
	}
	e := exporter{ctx: ctx, now: now.UnixMilli(), files: map[string][]byte{}}
	err := inTx(ctx, db, &sql.TxOptions{ReadOnly: true}, func(tx *sql.Tx) error {
		e.tx = tx
		return e.run()
	})
	if err == nil {
		err = writeFolder(dir, e.files)
	}
	if err != nil {
		return Report{}, fmt.Errorf("export folder: %w", err)
	}
	return e.report, nil
}

// exporter is one export, in its transaction.
type exporter struct {
	ctx    context.Context
	tx     *sql.Tx
	now    int64 // milliseconds since 1970
	jid    types.JID
	lid    types.JID
	me     self
	report Report
	files  map[string][]byte
}

func (e *exporter) run() error {
	d, err := readDevice(e.ctx, e.tx)
	if err != nil {
		return err
	}
	e.jid, e.lid = d.jid, d.lid
	e.report.Identity = Identity{d.jid.String(), d.lid.String(), d.pushName, d.platform}
	e.report.Exact = true
	e.report.MaxPreKeyID = uint32(d.maxPreKey.Int64) //nolint:gosec // G115: the table's own check holds it under 2^24
	creds, err := d.creds()
	if err != nil {
		return err
	}
	e.me = selfOf(d.identity, d.registrationID) // creds has checked the key
	if e.files[credsFile], err = json.Marshal(creds); err != nil {
		return err
	}
	steps := []struct {
		what string
		do   func() error
	}{
		{"prekeys", e.preKeys},
		{"identities", e.identities},
		{"Signal records", e.records},
		{"app state", e.appState},
		{"LID mappings", e.lidMappings},
		{"privacy tokens", e.tokens},
		{"what has no counterpart", e.count},
	}
	for _, s := range steps {
		if err := s.do(); err != nil {
			return fmt.Errorf("read %s: %w", s.what, err)
		}
	}
	return nil
}

// put adds one key's file.
func (e *exporter) put(kind, id string, data []byte, err error) error {
	if err == nil {
		e.files[fileName(kind, id)] = data
	}
	return err
}

// each calls do for each row, with the columns in dest.
func (e *exporter) each(do func() error, dest []any, query string, args ...any) (err error) {
	rows, err := e.tx.QueryContext(e.ctx, query, args...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		if err := rows.Scan(dest...); err != nil {
			return err
		}
		if err := do(); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (e *exporter) preKeys() error {
	var id uint32
	var key []byte
	return e.each(func() error {
		if err := checkLength(fmt.Sprintf("prekey %d", id), key, 32); err != nil {
			return err
		}
		e.report.PreKeys++
		data, err := encodePreKey(key)
		return e.put(kindPreKey, strconv.FormatUint(uint64(id), 10), data, err)
	}, []any{&id, &key}, `SELECT key_id, key FROM whatsmeow_pre_keys WHERE jid = ?`, e.jid)
}

// theirs parses a Signal address. Rows under another one can't be Baileys'.
func (e *exporter) theirs(id string, odd *int) (address, bool) {
	a, ok := parseSignalAddress(id)
	if !ok {
		*odd++
	}
	return a, ok
}

const refetched = "none: made anew when needed"

func (e *exporter) identities() error {
	var id string
	var key []byte
	odd := 0
	err := e.each(func() error {
		a, ok := e.theirs(id, &odd)
		if !ok {
			return nil
		}
		e.report.Identities++
		data, err := encodeIdentity(key)
		return e.put(kindIdentity, a.node(), data, err)
	}, []any{&id, &key}, `SELECT their_id, identity FROM whatsmeow_identity_keys WHERE our_jid = ?`, e.jid)
	e.report.lose("identity keys of addresses unknown to Baileys", odd, refetched)
	return err
}

func (e *exporter) records() error {
	var chat, id string
	var row []byte
	var sessions, senderKeys skipped
	var names []senderKeyName
	odd, unread := 0, 0
	err := e.each(func() error {
		a, ok := e.theirs(id, &odd)
		if !ok {
			return nil
		}
		record, err := sessionRow(row)
		if err != nil {
			unread++ // whatsmeow can't use it either
			return nil
		}
		node, left, err := toNode(record, e.me, e.now)
		if err != nil {
			return err
		}
		sessions.add(left)
		e.report.Sessions++
		data, err := json.Marshal(node)
		return e.put(kindSession, a.node(), data, err)
	}, []any{&id, &row}, `SELECT their_id, session FROM whatsmeow_sessions WHERE our_jid = ?`, e.jid)
	if err != nil {
		return err
	}
	err = e.each(func() error {
		a, ok := e.theirs(id, &odd)
		if ok {
			var back senderKeyName
			back, ok = parseSenderKeyFile(escape(senderKeyName{chat, a}.node()))
			if back.group != chat {
				odd++
				ok = false
			}
		}
		if !ok {
			return nil
		}
		record, err := senderKeyRow(row)
		if err != nil {
			unread++
			return nil
		}
		states, left := senderKeyToNode(record)
		senderKeys.add(left)
		e.report.SenderKeys++
		names = append(names, senderKeyName{chat, a})
		data, err := encodeSenderKey(states)
		return e.put(kindSenderKey, senderKeyName{chat, a}.node(), data, err)
	}, []any{&chat, &id, &row}, `SELECT chat_id, sender_id, sender_key FROM whatsmeow_sender_keys WHERE our_jid = ?`, e.jid)
	if err != nil {
		return err
	}
	e.report.loseRecords(sessions, senderKeys)
	e.report.lose("records of addresses unknown to Baileys", odd, refetched)
	e.report.lose("records that can't be read", unread, "whatsmeow couldn't use them either: they are made anew")
	return e.copySenderKeys(names)
}

func (e *exporter) appState() error {
	var k appStateKey
	err := e.each(func() error {
		e.report.AppStateKeys++
		data, err := k.encode()
		return e.put(kindAppStateKey, base64.StdEncoding.EncodeToString(k.id), data, err)
	}, []any{&k.id, &k.data, &k.timestamp, &k.fingerprint},
		`SELECT key_id, key_data, timestamp, fingerprint FROM whatsmeow_app_state_sync_keys WHERE jid = ?`, e.jid)
	if err != nil {
		return err
	}
	versions := map[string]appStateVersion{}
	var name string
	var v appStateVersion
	err = e.each(func() error {
		versions[name] = appStateVersion{v.version, append([]byte{}, v.hash...), map[[32]byte][]byte{}}
		return checkLength("hash of "+name, v.hash, hashLength)
	}, []any{&name, &v.version, &v.hash}, `SELECT name, version, hash FROM whatsmeow_app_state_version WHERE jid = ?`, e.jid)
	if err != nil {
		return err
	}
	// The newest MAC of an index is the one that counts.
	var index, value []byte
	err = e.each(func() error {
		if len(index) != 32 {
			return badField("index MAC of "+name, "has %d bytes instead of 32", len(index))
		}
		versions[name].macs[[32]byte(index)] = append([]byte{}, value...)
		return nil
	}, []any{&name, &index, &value}, `SELECT name, index_mac, value_mac FROM whatsmeow_app_state_mutation_macs WHERE jid = ? ORDER BY version`, e.jid)
	for name, v := range versions {
		if err != nil {
			return err
		}
		e.report.AppStateVersions++
		var data []byte
		data, err = v.encode()
		err = e.put(kindAppStateVersion, name, data, err)
	}
	return err
}

func (e *exporter) lidMappings() error {
	var p lidPair
	odd := 0
	err := e.each(func() error {
		if !isUser(p.lid) || !isUser(p.pn) {
			odd++
			return nil
		}
		e.report.LIDMappings++
		data, err := json.Marshal(p.lid)
		if err := e.put(kindLIDMapping, p.pn, data, err); err != nil {
			return err
		}
		data, err = json.Marshal(p.pn)
		return e.put(kindLIDMapping, p.lid+reverseSuffix, data, err)
	}, []any{&p.lid, &p.pn}, `SELECT lid, pn FROM whatsmeow_lid_map`)
	e.report.lose("LID mappings of addresses unknown to Baileys", odd, refetched)
	return err
}

func (e *exporter) tokens() error {
	var jid types.JID
	var t token
	var jids []types.JID
	err := e.each(func() error {
		e.report.PrivacyTokens++
		jids = append(jids, jid)
		data, err := t.encode()
		return e.put(kindToken, jid.String(), data, err)
	}, []any{&jid, &t.token, &t.time, &t.sender},
		`SELECT their_jid, token, timestamp, sender_timestamp FROM whatsmeow_privacy_tokens WHERE our_jid = ? ORDER BY their_jid`, e.jid)
	if err != nil || len(jids) == 0 {
		return err
	}
	data, err := encodeTokenIndex(jids)
	return e.put(kindToken, tokenIndex, data, err)
}

// count reports the tables that Baileys has no place for.
func (e *exporter) count() error {
	for _, t := range []struct{ what, query, cost string }{
		{"sent messages kept for retries", `SELECT COUNT(*) FROM whatsmeow_retry_buffer WHERE our_jid = ?`, "a peer that asks for one of them again gets no answer"},
		{"message secrets", `SELECT COUNT(*) FROM whatsmeow_message_secrets WHERE our_jid = ?`, "reactions, votes and edits of those messages can't be read"},
		{"hashes of messages already decrypted", `SELECT COUNT(*) FROM whatsmeow_event_buffer WHERE our_jid = ?`, "a message that came in the last moment before and was not acknowledged is not shown again"},
		{"contacts", `SELECT COUNT(*) FROM whatsmeow_contacts WHERE our_jid = ?`, "names are learned again"},
		{"chat settings", `SELECT COUNT(*) FROM whatsmeow_chat_settings WHERE our_jid = ?`, "mute, pin and archive marks are read again from the app state"},
		{"salt for new contacts' tokens", `SELECT COUNT(*) FROM whatsmeow_nct_salt WHERE our_jid = ?`, "it is fetched again"},
	} {
		var n int
		if err := e.tx.QueryRowContext(e.ctx, t.query, e.jid).Scan(&n); err != nil {
			return err
		}
		e.report.lose(t.what, n, t.cost)
	}
	return nil
}
