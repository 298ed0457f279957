package cloudstore

import (
	"context"
	"fmt"
	"time"
)

// The ways to start a term (DESIGN.md of the project, section 7).
const (
	StartExact   = "exact"
	StartOwnFile = "own-file"
	StartSafe    = "safe"
	StartNew     = "new"
)

// Epoch is a row of session_epochs: one term of ownership. ParentEpoch and
// ParentSeq name the last data row of the lineage before it, 0 and 0 when
// there is none.
type Epoch struct {
	SessionID              string
	Epoch                  uint64
	ParentEpoch, ParentSeq uint64
	ConnectorID            string
	Incarnation            string // of the process that took it
	Nonce                  [16]byte
	Start                  string // StartExact, StartOwnFile, StartSafe or StartNew
	Reason                 string
	StartedAt              time.Time // TiDB's clock
}

const (
	selectEpochs = `SELECT session_id, epoch, parent_epoch, parent_seq, connector_id, incarnation, nonce, start, reason, started_at
		FROM session_epochs WHERE session_id = ? AND epoch <= ? ORDER BY epoch DESC LIMIT ?`
	lockEpoch = `SELECT session_id, epoch, parent_epoch, parent_seq, connector_id, incarnation, nonce, start, reason, started_at
		FROM session_epochs WHERE session_id = ? AND epoch = ? FOR UPDATE`
	insertEpoch = `INSERT INTO session_epochs (session_id, epoch, parent_epoch, parent_seq, connector_id, incarnation, nonce, start, reason)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`
	forgetParent = `UPDATE session_epochs SET parent_epoch = 0, parent_seq = 0 WHERE session_id = ? AND epoch = ?`
)

// ForgetParent makes a term of which only the credentials are kept one that has no
// log before it: what comes after it must not take the log from before for the newest
// state, also when everything is kept again. Its owner calls it when nothing more is
// to be read of that log, and before anything changes. Calling it again is harmless,
// and so is calling it after the term: later ones name their parents themselves.
func (s *Store) ForgetParent(ctx context.Context, sessionID string, epoch uint64) error {
	if _, err := s.exec(ctx, forgetParent, sessionID, epoch); err != nil {
		return fmt.Errorf("forget parent of epoch %d: %w", epoch, err)
	}
	return nil
}

// Lineage returns the rows of epoch and its ancestors that have data, newest
// first: each row's ParentEpoch is the next row's Epoch, and the last has none.
// ErrNotFound when there is no such epoch, or an ancestor's row is missing.
func (s *Store) Lineage(ctx context.Context, sessionID string, epoch uint64) ([]Epoch, error) {
	all, err := s.epochsUpTo(ctx, sessionID, epoch)
	if err != nil {
		return nil, err
	}
	var line []Epoch
	for _, e := range all {
		if e.Epoch != epoch {
			continue
		}
		line = append(line, e)
		if e.ParentEpoch == 0 {
			return line, nil
		}
		epoch = e.ParentEpoch
	}
	return nil, fmt.Errorf("read lineage: epoch %d: %w", epoch, ErrNotFound)
}

// Epochs returns all terms a session ever had, newest first.
func (s *Store) Epochs(ctx context.Context, sessionID string) ([]Epoch, error) {
	return s.epochsUpTo(ctx, sessionID, ^uint64(0))
}

func (s *Store) epochsUpTo(ctx context.Context, sessionID string, upTo uint64) ([]Epoch, error) {
	if err := ValidateSessionID(sessionID); err != nil {
		return nil, err
	}
	const page = 512
	var all []Epoch
	for {
		var rows []Epoch
		err := s.retry(ctx, func() (err error) {
			rows, err = collect(ctx, s.db, scanEpoch, selectEpochs, sessionID, upTo, page)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("read epochs: %w", err)
		}
		all = append(all, rows...)
		if len(rows) < page {
			return all, nil
		}
		upTo = rows[len(rows)-1].Epoch - 1
	}
}

func scanEpoch(row scanner) (e Epoch, err error) {
	var nonce []byte
	err = row.Scan(&e.SessionID, &e.Epoch, &e.ParentEpoch, &e.ParentSeq, &e.ConnectorID, &e.Incarnation, &nonce, &e.Start, &e.Reason, &e.StartedAt)
	copy(e.Nonce[:], nonce)
	return e, err
}
