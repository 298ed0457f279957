package cloudstore

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// States of a command.
const (
	CommandQueued  = "queued"
	CommandRunning = "running"
	CommandDone    = "done"
	CommandFailed  = "failed"
	CommandExpired = "expired"
)

// Kinds of command.
const (
	CommandSync    = "sync"
	CommandRestore = "restore"
	// CommandRekey has a session sealed anew under the current secret. The API
	// does not make such commands.
	CommandRekey = "rekey"
)

// Command is a row of commands.
type Command struct {
	ID          string // ULID
	SessionID   string
	Kind        string // CommandSync, CommandRestore or CommandRekey
	Args        json.RawMessage
	State       string
	Attempt     int
	ConnectorID string // the target while queued ("" for none), the claimer from then on
	Incarnation string // of the claimer
	RequestedBy string
	RequestID   string
	ErrorCode   string
	Error       string
	Result      json.RawMessage
	CreatedAt   time.Time
	Deadline    time.Time
	StartedAt   *time.Time
	FinishedAt  *time.Time

	// MaxUnfinished, for CreateCommand only: how many unfinished commands
	// RequestedBy may have, this one included; 0: any number.
	MaxUnfinished int
}

// ErrTooManyCommands means that the requester has MaxUnfinished already.
var ErrTooManyCommands = errors.New("too many unfinished commands")

const (
	selectCommand = `SELECT command_id, session_id, kind, args, state, attempt, connector_id, incarnation, requested_by, request_id,
		error_code, error, result, created_at, deadline, started_at, finished_at FROM commands WHERE command_id = ?`
	lockCommand = `SELECT command_id, session_id, kind, args, state, attempt, connector_id, incarnation, requested_by, request_id,
		error_code, error, result, created_at, deadline, started_at, finished_at FROM commands WHERE command_id = ? FOR UPDATE`
	lockSameCommand = `SELECT command_id, session_id, kind, args, state, attempt, connector_id, incarnation, requested_by, request_id,
		error_code, error, result, created_at, deadline, started_at, finished_at FROM commands WHERE sameness = ? FOR UPDATE`
	// Unfinished commands are few and by_state finds them, so that requested_by
	// needs no index.
	countUnfinished = `SELECT COUNT(*) FROM commands WHERE state IN ('queued', 'running') AND deadline > NOW(6) AND requested_by = ?`
	lockOverdue     = `SELECT deadline <= NOW(6) FROM commands WHERE command_id = ? FOR UPDATE`
	insertCommand   = `INSERT INTO commands (command_id, session_id, kind, args, state, connector_id, requested_by, request_id, sameness, deadline)
		VALUES (?, ?, ?, ?, 'queued', ?, ?, ?, ?, NOW(6) + INTERVAL ? MICROSECOND)`
	// Whoever asks for the same from now on gets another.
	standAside    = `UPDATE commands SET sameness = NULL WHERE command_id = ?`
	expireCommand = `UPDATE commands SET state = 'expired', sameness = NULL, finished_at = NOW(6)
		WHERE command_id = ? AND state IN ('queued', 'running')`
	expireCommands = `UPDATE commands SET state = 'expired', sameness = NULL, finished_at = NOW(6)
		WHERE state IN ('queued', 'running') AND deadline <= NOW(6)`
	// Those of sessions it owns or that are addressed to it, and restore
	// commands that nobody else will see to. Where the claimer of a running one
	// is gone, or the one that asks, it counts as queued.
	selectPending = `SELECT c.command_id, c.session_id, c.kind, c.args, c.state, c.attempt, c.connector_id, c.incarnation, c.requested_by, c.request_id,
		c.error_code, c.error, c.result, c.created_at, c.deadline, c.started_at, c.finished_at
		FROM commands c
		LEFT JOIN session_owners o ON o.session_id = c.session_id
		LEFT JOIN connectors oc ON oc.connector_id = o.connector_id
		LEFT JOIN connectors t ON t.connector_id = c.connector_id
		WHERE c.state IN ('queued', 'running') AND c.deadline > NOW(6)
			AND (c.state = 'queued' OR c.connector_id = ? OR t.connector_id IS NULL OR t.dead OR t.incarnation <> c.incarnation)
			AND (o.connector_id = ? OR c.connector_id = ?
				OR c.kind = 'restore' AND (t.connector_id IS NULL OR t.dead) AND (oc.connector_id IS NULL OR oc.dead))
		ORDER BY c.command_id LIMIT ?`
)

// pendingPage bounds what one look for work returns.
const pendingPage = 200

// CreateCommand queues a command. ID, SessionID, Kind and Deadline are
// required; Args nil is {}; ConnectorID is the one it is meant for, or "". The
// deadline counts as so long from now: TiDB's clock decides when it is over. An
// unfinished command of the same session, kind and arguments is returned
// instead, with created false: a request that is repeated does no harm. A sync
// that runs is not, since it may leave out what this one is to save. Else
// ErrTooManyCommands when MaxUnfinished are there; calls at once may go beyond
// that by as many as they are.
func (s *Store) CreateCommand(ctx context.Context, c Command) (_ Command, created bool, err error) {
	if err := checkCommand(&c); err != nil {
		return Command{}, false, fmt.Errorf("create command: %w", err)
	}
	var stored Command
	full, err := s.fullOfCommands(ctx, c)
	if err != nil {
		return Command{}, false, fmt.Errorf("create command: %w", err)
	}
	run := func() error {
		return s.withTransaction(ctx, func(tx *sql.Tx) error {
			stored, created, err = createCommand(ctx, tx, c, full)
			return err
		})
	}
	err = run()
	if _, unknown := errors.AsType[*commitError](err); unknown {
		err = run() // finds its own row, if that was committed
		created = stored.ID == c.ID
	}
	if err != nil {
		return Command{}, false, fmt.Errorf("create command: %w", err)
	}
	return stored, created, nil
}

// fullOfCommands counts outside of the transaction: locks on all of a requester's
// commands would cost more than a limit that is passed by a few.
func (s *Store) fullOfCommands(ctx context.Context, c Command) (bool, error) {
	if c.MaxUnfinished <= 0 {
		return false, nil
	}
	var n int
	err := s.retry(ctx, func() (err error) {
		n, err = one(ctx, s.db, scanInt, countUnfinished, cut(c.RequestedBy, maxName))
		return err
	})
	return n >= c.MaxUnfinished, err
}

func createCommand(ctx context.Context, tx *sql.Tx, c Command, full bool) (_ Command, created bool, err error) {
	key := sameness(c)
	same, err := one(ctx, tx, scanCommand, lockSameCommand, key)
	switch {
	case err == nil:
		if joined, err := join(ctx, tx, c, same); err != nil || joined {
			return same, false, err
		}
	case !errors.Is(err, ErrNotFound):
		return Command{}, false, err
	}
	if full {
		return Command{}, false, ErrTooManyCommands
	}
	_, err = execOn(ctx, tx, insertCommand, c.ID, c.SessionID, c.Kind, string(c.Args), nullable(c.ConnectorID),
		cut(c.RequestedBy, maxName), cut(c.RequestID, maxName), key, time.Until(c.Deadline).Microseconds())
	if isDuplicate(err) {
		// Somebody else's twin, or our own id.
		if own, err := one(ctx, tx, scanCommand, lockCommand, c.ID); err == nil {
			return own, false, nil
		}
		return Command{}, false, errStartOver
	}
	if err != nil {
		return Command{}, false, err
	}
	stored, err := one(ctx, tx, scanCommand, lockCommand, c.ID)
	return stored, true, err
}

// join reports whether the command of that sameness, which is locked, does what c
// asks for; else it stands aside. A sync that runs may have read the session before
// the change that c is to save (P8). A restore or a rekey that runs has yet to end
// in the state that another would bring about.
func join(ctx context.Context, tx *sql.Tx, c, same Command) (bool, error) {
	overdue, err := one(ctx, tx, scanBool, lockOverdue, same.ID)
	switch {
	case err != nil:
		return false, err
	case overdue:
		_, err = execOn(ctx, tx, expireCommand, same.ID)
	case same.Kind == CommandSync && same.State == CommandRunning && same.ID != c.ID:
		_, err = execOn(ctx, tx, standAside, same.ID)
	default:
		return true, nil
	}
	return false, err
}

// Command returns a command, or ErrNotFound.
func (s *Store) Command(ctx context.Context, id string) (c Command, err error) {
	err = s.retry(ctx, func() (err error) {
		c, err = one(ctx, s.db, scanCommand, selectCommand, id)
		return err
	})
	if err != nil {
		return Command{}, fmt.Errorf("read command: %w", err)
	}
	return c, nil
}

// PendingCommands returns what this connector should claim, unless it is at it:
// commands of sessions it owns, addressed to it or running under it, and restore
// commands for which there is no live connector, neither an owner nor the one
// addressed. Oldest first.
// known is how many the caller is at: they don't count against how many it gets.
func (s *Store) PendingCommands(ctx context.Context, connectorID string, known int) (commands []Command, err error) {
	err = s.retry(ctx, func() (err error) {
		commands, err = collect(ctx, s.db, scanCommand, selectPending, connectorID, connectorID, connectorID, pendingPage+known)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look for commands: %w", err)
	}
	return commands, nil
}

// ExpireCommands marks unfinished commands past their deadline as expired and
// returns how many there were.
func (s *Store) ExpireCommands(ctx context.Context) (int64, error) {
	n, err := s.exec(ctx, expireCommands)
	if err != nil {
		return 0, fmt.Errorf("expire commands: %w", err)
	}
	return n, nil
}

// maxName is the limit of columns that hold names.
const maxName = 255

func checkCommand(c *Command) error {
	if err := ValidateSessionID(c.SessionID); err != nil {
		return err
	}
	if len(c.Args) == 0 {
		c.Args = json.RawMessage(`{}`)
	}
	switch {
	case len(c.ID) != 26:
		return fmt.Errorf("%w: command id of %d bytes, want a ULID", ErrBadInput, len(c.ID))
	case c.Kind != CommandSync && c.Kind != CommandRestore && c.Kind != CommandRekey:
		return fmt.Errorf("%w: command kind %q", ErrBadInput, c.Kind)
	case !json.Valid(c.Args):
		return fmt.Errorf("%w: arguments are not JSON", ErrBadInput)
	case c.Deadline.IsZero():
		return fmt.Errorf("%w: command without deadline", ErrBadInput)
	}
	return nil
}

// sameness is the same for commands that ask for the same.
func sameness(c Command) []byte {
	h := sha256.New()
	for _, part := range []string{c.SessionID, c.Kind, string(c.Args)} {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	return h.Sum(nil)
}

func scanCommand(row scanner) (c Command, err error) {
	var args, result []byte
	var connector, incarnation sql.NullString
	var started, finished sql.NullTime
	err = row.Scan(&c.ID, &c.SessionID, &c.Kind, &args, &c.State, &c.Attempt, &connector, &incarnation, &c.RequestedBy, &c.RequestID,
		&c.ErrorCode, &c.Error, &result, &c.CreatedAt, &c.Deadline, &started, &finished)
	c.Args, c.Result = args, result
	c.ConnectorID, c.Incarnation = connector.String, incarnation.String
	if started.Valid {
		c.StartedAt = &started.Time
	}
	if finished.Valid {
		c.FinishedAt = &finished.Time
	}
	return c, err
}
