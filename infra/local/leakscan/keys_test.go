package leakscan

import (
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	_ "modernc.org/sqlite"
)

// keyColumns hold a session's long-term keys, and what else lets somebody act for
// it, in whatsmeow's tables.
var keyColumns = map[string]string{
	"whatsmeow_device":              "noise_key, identity_key, signed_pre_key, adv_key",
	"whatsmeow_pre_keys":            "key",
	"whatsmeow_app_state_sync_keys": "key_data",
	"whatsmeow_message_secrets":     "key",
	"whatsmeow_privacy_tokens":      "token",
}

// recordColumns hold libsignal's records, JSON with the ratchets' keys.
var recordColumns = map[string]string{"whatsmeow_sessions": "session", "whatsmeow_sender_keys": "sender_key"}

// recordKeys are the private fields of those records.
var recordKeys = []string{"RootKey", "SenderRatchetKeyPrivate", "Key", "Seed", "CipherKey", "MacKey", "ChainKey", "SigningKeyPrivate", "Iv"}

// addKeys makes the scanner look for every key in the session files below dir, and
// returns how many of each table it read.
func addKeys(ctx context.Context, s *Scanner, dir string) (count map[string]int, err error) {
	count = map[string]int{}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a disk that was lost, or a file that was set aside just now
		}
		if err != nil || d.IsDir() || filepath.Ext(path) != ".db" {
			return err
		}
		db, err := sql.Open("sqlite", "file:"+path+"?mode=ro&_pragma=busy_timeout(10000)")
		if err != nil {
			return err
		}
		defer db.Close() //nolint:errcheck // it was only read from
		for table, columns := range keyColumns {
			err = values(ctx, db, table, columns, func(value []byte) {
				s.Add("a key of "+table, value)
				count[table]++
			})
			if err != nil {
				return err
			}
		}
		for table, column := range recordColumns {
			err = values(ctx, db, table, column, func(value []byte) {
				var record any
				if err := json.Unmarshal(value, &record); err != nil {
					panic("a record of " + table + " is not JSON any more")
				}
				count[table] += addRecord(s, "a key of "+table, "", record)
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return count, err
}

// values calls each for every value of some columns of a table that is long enough
// to be a secret.
func values(ctx context.Context, db *sql.DB, table, columns string, each func([]byte)) error {
	rows, err := db.QueryContext(ctx, "SELECT "+columns+" FROM "+table)
	if err != nil {
		return fmt.Errorf("read %s: %w", table, err)
	}
	defer rows.Close() //nolint:errcheck // Err says what matters
	for rows.Next() {
		found := make([]sql.RawBytes, strings.Count(columns, ",")+1)
		pointers := make([]any, len(found))
		for i := range found {
			pointers[i] = &found[i]
		}
		if err := rows.Scan(pointers...); err != nil {
			return fmt.Errorf("read %s: %w", table, err)
		}
		for _, v := range found {
			if len(v) >= window {
				each(slices.Clone(v))
			}
		}
	}
	return rows.Err()
}

// addRecord walks a record and adds what its private fields hold.
func addRecord(s *Scanner, name, field string, value any) (n int) {
	switch v := value.(type) {
	case map[string]any:
		for field, inner := range v {
			n += addRecord(s, name, field, inner)
		}
	case []any:
		for _, inner := range v {
			n += addRecord(s, name, field, inner)
		}
	case string:
		key, err := base64.StdEncoding.DecodeString(v)
		if err == nil && len(key) >= 16 && slices.Contains(recordKeys, field) {
			s.Add(name, key)
			n++
		}
	}
	return n
}
