package cloudstore

import (
	"context"
	"fmt"
)

const (
	selectRowsAfter = `SELECT id, session_id, session_data, epoch FROM whatsapp_sessions WHERE id > ? ORDER BY id LIMIT ?`
	selectRow       = `SELECT id, session_id, session_data, epoch FROM whatsapp_sessions WHERE session_id = ?`
	countRows       = `SELECT COUNT(*) FROM whatsapp_sessions`
	// Sealing a row again is no change of the session: its times stay.
	resealRow = `UPDATE whatsapp_sessions SET session_data = ?, updated_at = updated_at
		WHERE id = ? AND epoch = ? AND session_data = ?`
	// Whatever can be opened: terminators hold nothing.
	selectHeaders = `SELECT DISTINCT SUBSTRING(data, 1, ?) FROM session_segments WHERE session_id = ? AND kind IN ('base', 'delta')`
)

// Row is one row of whatsapp_sessions as it stands, whoever wrote it.
type Row struct {
	ID        int64
	SessionID string
	Data      []byte
	Epoch     uint64 // 0: no connector has taken the session yet
}

// rowsPage is small: a row may hold a large blob.
const rowsPage = 50

// CountRows counts the rows of whatsapp_sessions.
func (s *Store) CountRows(ctx context.Context) (n int, err error) {
	err = s.retry(ctx, func() (err error) {
		n, err = one(ctx, s.db, scanAs[int], countRows)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("count sessions: %w", err)
	}
	return n, nil
}

// Rows visits every row of whatsapp_sessions, by id. It stops at visit's first
// error and returns it.
func (s *Store) Rows(ctx context.Context, visit func(Row) error) error {
	for after := int64(0); ; {
		var rows []Row
		err := s.retry(ctx, func() (err error) {
			rows, err = collect(ctx, s.db, scanRow, selectRowsAfter, after, rowsPage)
			return err
		})
		if err != nil {
			return fmt.Errorf("read sessions: %w", err)
		}
		for _, row := range rows {
			if err := visit(row); err != nil {
				return err
			}
			after = row.ID
		}
		if len(rows) < rowsPage {
			return nil
		}
	}
}

// Row reads one session's row. ErrNotFound when there is none.
func (s *Store) Row(ctx context.Context, sessionID string) (r Row, err error) {
	if err := ValidateSessionID(sessionID); err != nil {
		return r, err
	}
	err = s.retry(ctx, func() (err error) {
		r, err = one(ctx, s.db, scanRow, selectRow, sessionID)
		return err
	})
	if err == nil && r.SessionID != sessionID {
		err = ErrNotFound
	}
	if err != nil {
		return Row{}, fmt.Errorf("read credentials: %w", err)
	}
	return r, nil
}

func scanRow(row scanner) (r Row, err error) {
	err = row.Scan(&r.ID, &r.SessionID, &r.Data, &r.Epoch)
	return r, err
}

// Reseal replaces the credentials of a row by another sealing of the same, unless
// a connector has taken the session since r was read, or somebody has written the
// row: ErrFenced. A repetition after a lost answer finds the row changed by itself
// and succeeds.
func (s *Store) Reseal(ctx context.Context, r Row, data []byte) error {
	changed, err := s.exec(ctx, resealRow, data, r.ID, r.Epoch, r.Data)
	if err == nil && changed == 1 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("seal credentials again: %w", err)
	}
	now, err := s.Credentials(ctx, r.SessionID)
	if err != nil {
		return fmt.Errorf("seal credentials again: %w", err)
	}
	if string(now.Data) != string(data) {
		return fmt.Errorf("seal credentials again: %w: the session was taken or written meanwhile", ErrFenced)
	}
	return nil
}

// SegmentHeaders returns the different beginnings, of size bytes, that the
// segments of a session have whose data can be opened, restore points and all.
func (s *Store) SegmentHeaders(ctx context.Context, sessionID string, size int) (headers [][]byte, err error) {
	if err := ValidateSessionID(sessionID); err != nil {
		return nil, err
	}
	err = s.retry(ctx, func() (err error) {
		headers, err = collect(ctx, s.db, scanAs[[]byte], selectHeaders, size, sessionID)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read headers of segments: %w", err)
	}
	return headers, nil
}
