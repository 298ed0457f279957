package capture

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"cloudsession/shared/sessionlog"
)

const (
	stateTable      = ownPrefix + "state"
	inFlightTable   = ownPrefix + "in_flight"
	generationTable = ownPrefix + "generation"
)

// stateSchema makes the tables of one row each that hold what a file knows
// about itself. Unsigned numbers are stored as the int64 with the same bits.
var stateSchema = []string{
	`CREATE TABLE ` + stateTable + ` (
		id          INTEGER PRIMARY KEY CHECK (id = 1),
		session_id  TEXT    NOT NULL DEFAULT '',
		epoch       INTEGER NOT NULL DEFAULT 0,
		salt        BLOB    NOT NULL DEFAULT (zeroblob(16)),
		acked_epoch INTEGER NOT NULL DEFAULT 0,
		acked_seq   INTEGER NOT NULL DEFAULT 0,
		acked_tag   BLOB    NOT NULL DEFAULT (zeroblob(32)),
		need_base   INTEGER NOT NULL DEFAULT 0,
		schema      TEXT    NOT NULL DEFAULT '', -- fingerprint of the captured tables as last installed or built
		replayed    INTEGER NOT NULL DEFAULT 0,  -- made by Create and not yet installed: the triggers note nothing
		boot_id     TEXT    NOT NULL DEFAULT '',
		inode       INTEGER NOT NULL DEFAULT 0
	)`,
	`CREATE TABLE ` + inFlightTable + ` (
		id          INTEGER PRIMARY KEY CHECK (id = 1),
		epoch       INTEGER NOT NULL,
		first_seq   INTEGER NOT NULL,
		tags        BLOB    NOT NULL, -- 32 bytes a part
		base        INTEGER NOT NULL,
		mark_number INTEGER NOT NULL,
		mark_schema TEXT    NOT NULL,
		mark_tables TEXT    NOT NULL -- separated by spaces
	)`,
	`CREATE TABLE ` + generationTable + ` (id INTEGER PRIMARY KEY CHECK (id = 1), n INTEGER NOT NULL)`,
	`INSERT INTO ` + stateTable + ` (id) VALUES (1)`,
	firstGeneration,
}

// firstGeneration makes the row without which triggers note nothing.
const firstGeneration = `INSERT INTO ` + generationTable + ` (id, n) VALUES (1, 1) ON CONFLICT DO NOTHING`

func (f *File) createState(ctx context.Context) error {
	missing, err := missingState(ctx, f.db)
	if err != nil || len(missing) == 0 {
		return err
	}
	return f.quietTx(ctx, func(tx *sql.Tx) error {
		missing, err := missingState(ctx, tx)
		if err != nil {
			return err
		}
		for _, statement := range missing {
			if _, err := tx.ExecContext(ctx, statement); err != nil {
				return err
			}
		}
		return nil
	})
}

// missingState returns the statements that make what the file has not yet.
func missingState(ctx context.Context, q querier) ([]string, error) {
	var exists, weighed bool
	err := q.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = ?1),
		EXISTS (SELECT 1 FROM pragma_table_info(?1) WHERE name = 'log_epochs')`, stateTable).Scan(&exists, &weighed)
	switch {
	case err != nil || weighed:
		return nil, err
	case exists:
		return logColumns, nil
	}
	return slices.Concat(stateSchema, logColumns), nil
}

// Begin notes that a term starts in this file. What was noted dirty stays so. A
// push of an earlier term is no longer in flight: a caller that resumes the file
// because that push stands in the log acknowledges it first.
func (f *File) Begin(ctx context.Context, b Begin) error {
	inode, err := Inode(f.path)
	if err != nil {
		return fmt.Errorf("begin term: %w", err)
	}
	err = f.quietTx(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "DELETE FROM "+inFlightTable); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `UPDATE `+stateTable+` SET session_id = ?, epoch = ?, salt = ?,
			acked_epoch = ?, acked_seq = ?, acked_tag = ?, need_base = max(need_base, ?), boot_id = ?, inode = ?`,
			b.SessionID, int64(b.Epoch), b.Salt[:], //nolint:gosec // G115: SQLite has no unsigned integers; the bits come back as they went
			int64(b.Acked.Epoch), int64(b.Acked.Seq), b.Acked.Tag[:], b.NeedBase, b.BootID, int64(inode)) //nolint:gosec // G115: SQLite has no unsigned integers; the bits come back as they went
		if err != nil || b.Log == (LogSize{}) {
			return err
		}
		_, err = tx.ExecContext(ctx, "UPDATE "+stateTable+" SET log_base = ?, log_deltas = ?, log_epochs = ?",
			b.Log.BaseBytes, b.Log.DeltaBytes, b.Log.Epochs)
		return err
	})
	if err != nil {
		return fmt.Errorf("begin term: %w", corrupt(err))
	}
	return nil
}

// SetInFlight notes a push before it is sent, so that the file knows what may
// stand in the log (P3). It replaces what was in flight.
func (f *File) SetInFlight(ctx context.Context, p InFlight) error {
	err := f.quietTx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO `+inFlightTable+`
			(id, epoch, first_seq, tags, bytes, base, mark_number, mark_schema, mark_tables) VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (id) DO UPDATE SET epoch = excluded.epoch, first_seq = excluded.first_seq, tags = excluded.tags,
			bytes = excluded.bytes, base = excluded.base, mark_number = excluded.mark_number, mark_schema = excluded.mark_schema, mark_tables = excluded.mark_tables`,
			int64(p.Epoch), int64(p.FirstSeq), joinTags(p.Tags), p.Bytes, p.Base, p.Mark.Number, p.Mark.Schema, strings.Join(p.Mark.Tables, " ")) //nolint:gosec // G115: SQLite has no unsigned integers; the bits come back as they went
		return err
	})
	if err != nil {
		return fmt.Errorf("note push in flight: %w", corrupt(err))
	}
	return nil
}

// Acknowledge notes that the push in flight is durable: the acknowledged cursor
// moves to its last part, the changes it carried are forgotten as far as the
// push saw them (C3), and after a base with the present schema deltas are
// allowed again. To acknowledge the same push once more changes nothing.
// ErrNotInFlight is returned for any other push.
func (f *File) Acknowledge(ctx context.Context, p InFlight) error {
	err := f.quietTx(ctx, func(tx *sql.Tx) error {
		current, err := readInFlight(ctx, tx)
		if err != nil {
			return err
		}
		if current == nil || !samePush(*current, p) {
			return refuseUnknown(ctx, tx, p)
		}
		return acknowledge(ctx, tx, *current)
	})
	if err != nil {
		return fmt.Errorf("acknowledge push: %w", corrupt(err))
	}
	return nil
}

func acknowledge(ctx context.Context, tx *sql.Tx, p InFlight) error {
	var schema string
	var size LogSize
	err := tx.QueryRowContext(ctx, "SELECT schema, log_base, log_deltas, log_epochs FROM "+stateTable).
		Scan(&schema, &size.BaseBytes, &size.DeltaBytes, &size.Epochs)
	if err != nil {
		return err
	}
	if err := forget(ctx, tx, p.Mark, schema); err != nil {
		return err
	}
	last := p.Last()
	size = size.With(p)
	_, err = tx.ExecContext(ctx, `UPDATE `+stateTable+` SET acked_epoch = ?, acked_seq = ?, acked_tag = ?,
		need_base = need_base AND NOT (? AND schema = ?), log_base = ?, log_deltas = ?, log_epochs = ?`,
		int64(last.Epoch), int64(last.Seq), last.Tag[:], //nolint:gosec // G115: SQLite has no unsigned integers; the bits come back as they went
		p.Base, p.Mark.Schema, size.BaseBytes, size.DeltaBytes, size.Epochs)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, "DELETE FROM "+inFlightTable)
	return err
}

// forget deletes the notes that the mark covers. An upgrade may have dropped a
// table while its push was in flight, and the notes with it; then the schema is
// no longer the mark's.
func forget(ctx context.Context, tx *sql.Tx, m Mark, schema string) error {
	names := m.Tables
	if schema != m.Schema {
		there, err := tableNames(ctx, tx)
		if err != nil {
			return err
		}
		gone := func(name string) bool { return !slices.Contains(there, dirtyTable(name)) }
		names = slices.DeleteFunc(slices.Clone(names), gone)
	}
	for _, name := range names {
		//nolint:gosec // the table's name is quoted
		_, err := tx.ExecContext(ctx, "DELETE FROM "+quote(dirtyTable(name))+" WHERE n <= ?", m.Number)
		if err != nil {
			return err
		}
	}
	return nil
}

// refuseUnknown returns nil if p has been acknowledged already.
func refuseUnknown(ctx context.Context, tx *sql.Tx, p InFlight) error {
	s, err := readState(ctx, tx)
	if err != nil {
		return err
	}
	if s.InFlight == nil && len(p.Tags) > 0 && s.Acked == p.Last() {
		return nil
	}
	return fmt.Errorf("%w: epoch %d, seq %d", ErrNotInFlight, p.Epoch, p.FirstSeq)
}

// samePush compares what identifies a push.
func samePush(a, b InFlight) bool {
	return a.Epoch == b.Epoch && a.FirstSeq == b.FirstSeq && a.Base == b.Base &&
		bytes.Equal(joinTags(a.Tags), joinTags(b.Tags))
}

// State reads what the file knows about its replication.
func (f *File) State(ctx context.Context) (State, error) {
	var s State
	err := f.readTx(ctx, func(tx *sql.Tx) (err error) {
		if s, err = readState(ctx, tx); err != nil {
			return err
		}
		s.Dirty, err = anyDirty(ctx, tx)
		return err
	})
	if err != nil {
		return State{}, fmt.Errorf("read session file state: %w", corrupt(err))
	}
	return s, nil
}

// readTx runs do in a read transaction. A deferred one takes no lock that a
// writer would wait for.
func (f *File) readTx(ctx context.Context, do func(*sql.Tx) error) error {
	return f.quietly(ctx, func(c *sql.Conn) error {
		return inTx(ctx, c, &sql.TxOptions{ReadOnly: true}, do)
	})
}

func readState(ctx context.Context, q querier) (State, error) {
	var s State
	var epoch, ackedEpoch, ackedSeq, inode int64
	var salt, tag []byte
	err := q.QueryRowContext(ctx, `SELECT session_id, epoch, salt, acked_epoch, acked_seq, acked_tag,
		need_base, boot_id, inode, log_base, log_deltas, log_epochs FROM `+stateTable).Scan(
		&s.SessionID, &epoch, &salt, &ackedEpoch, &ackedSeq, &tag,
		&s.NeedBase, &s.BootID, &inode, &s.Log.BaseBytes, &s.Log.DeltaBytes, &s.Log.Epochs)
	if err != nil {
		return State{}, err
	}
	if len(salt) != len(s.Salt) || len(tag) != len(s.Acked.Tag) {
		return State{}, fmt.Errorf("%w: salt of %d bytes, tag of %d", ErrCorrupt, len(salt), len(tag))
	}
	s.Epoch, s.Inode = uint64(epoch), uint64(inode) //nolint:gosec // G115: SQLite has no unsigned integers; the bits come back as they went
	copy(s.Salt[:], salt)
	s.Acked = sessionlog.Cursor{Epoch: uint64(ackedEpoch), Seq: uint64(ackedSeq)} //nolint:gosec // G115: SQLite has no unsigned integers; the bits come back as they went
	copy(s.Acked.Tag[:], tag)
	s.InFlight, err = readInFlight(ctx, q)
	return s, err
}

// readInFlight returns nil if nothing is in flight.
func readInFlight(ctx context.Context, q querier) (*InFlight, error) {
	var p InFlight
	var epoch, seq int64
	var tags []byte
	var tables string
	err := q.QueryRowContext(ctx, `SELECT epoch, first_seq, tags, bytes, base, mark_number, mark_schema, mark_tables
		FROM `+inFlightTable).Scan(&epoch, &seq, &tags, &p.Bytes, &p.Base, &p.Mark.Number, &p.Mark.Schema, &tables)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	p.Epoch, p.FirstSeq = uint64(epoch), uint64(seq) //nolint:gosec // G115: SQLite has no unsigned integers; the bits come back as they went
	p.Mark.Tables = strings.Fields(tables)
	if p.Tags, err = splitTags(tags); err != nil {
		return nil, err
	}
	return &p, nil
}

func joinTags(tags [][32]byte) []byte {
	joined := make([]byte, 0, len(tags)*32)
	for _, tag := range tags {
		joined = append(joined, tag[:]...)
	}
	return joined
}

func splitTags(joined []byte) ([][32]byte, error) {
	if len(joined)%32 != 0 {
		return nil, fmt.Errorf("%w: tags of %d bytes", ErrCorrupt, len(joined))
	}
	tags := make([][32]byte, len(joined)/32)
	for i := range tags {
		copy(tags[i][:], joined[i*32:])
	}
	return tags, nil
}

// noteSchema stores the fingerprint of what Install found, and whether a base
// is needed because of it. renewed tells that triggers were missing: then
// changes may have gone unseen, except in a file that Create has just made,
// whose triggers note changes from here on. A base in flight was read before
// them, so it isn't the one that is needed, whatever its schema.
func noteSchema(ctx context.Context, tx *sql.Tx, fingerprint string, renewed, replayed bool) (changed bool, err error) {
	var stored string
	if err := tx.QueryRowContext(ctx, "SELECT schema FROM "+stateTable).Scan(&stored); err != nil {
		return false, err
	}
	changed = stored != fingerprint || renewed && !replayed
	if !changed && !renewed && !replayed {
		return false, nil
	}
	if replayed {
		if _, err := tx.ExecContext(ctx, firstGeneration); err != nil {
			return false, err
		}
	}
	_, err = tx.ExecContext(ctx, "UPDATE "+stateTable+" SET schema = ?, replayed = 0, need_base = max(need_base, ?)",
		fingerprint, changed)
	if err == nil && changed {
		_, err = tx.ExecContext(ctx, "UPDATE "+inFlightTable+" SET mark_schema = ''")
	}
	return changed, err
}

// isReplayed reports whether the file was made by Create and not installed since.
func isReplayed(ctx context.Context, tx *sql.Tx) (replayed bool, err error) {
	err = tx.QueryRowContext(ctx, "SELECT replayed FROM "+stateTable).Scan(&replayed)
	return replayed, err
}
