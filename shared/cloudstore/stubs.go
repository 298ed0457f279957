package cloudstore

import (
	"context"
	"encoding/json"
	"errors"
	"time"
)

var errTodo = errors.New("not there yet")

func Open(Config) (*Store, error)                  { return nil, errTodo }
func (s *Store) Close() error                      { return errTodo }
func (s *Store) Ping(ctx context.Context) error    { return errTodo }
func (s *Store) Migrate(ctx context.Context) error { return errTodo }
func IsUnavailable(err error) bool                 { return false }
func ValidateSessionID(id string) error            { return errTodo }
func (s *Store) AppendSegments(ctx context.Context, segs []Segment) ([]Outcome, error) {
	return nil, errTodo
}
func (s *Store) AppendFirstBase(ctx context.Context, last Segment, creds Credentials) (Outcome, error) {
	return 0, errTodo
}
func (s *Store) PutCredentials(ctx context.Context, c Credentials) error { return errTodo }
func (s *Store) Credentials(ctx context.Context, sessionID string) (Credentials, error) {
	return Credentials{}, errTodo
}
func (s *Store) Touch(ctx context.Context, sessions []SessionEpoch) error  { return errTodo }
func (s *Store) CopySynced(ctx context.Context, sessionIDs []string) error { return errTodo }
func (s *Store) Segments(ctx context.Context, sessionID string, epoch, fromSeq, toSeq uint64) ([]Segment, error) {
	return nil, errTodo
}
func (s *Store) SegmentHeads(ctx context.Context, sessionID string, epoch uint64) ([]Segment, error) {
	return nil, errTodo
}
func (s *Store) Lineage(ctx context.Context, sessionID string, epoch uint64) ([]Epoch, error) {
	return nil, errTodo
}
func (s *Store) Epochs(ctx context.Context, sessionID string) ([]Epoch, error) { return nil, errTodo }
func (s *Store) Prune(ctx context.Context, sessionID string, epoch, beforeEpoch, beforeSeq uint64) (int64, error) {
	return 0, errTodo
}
func (s *Store) Take(ctx context.Context, r TakeRequest) (Taken, error) { return Taken{}, errTodo }

// Takeable lists sessions a sweep of this connector may try to take (O3).
func (s *Store) Takeable(ctx context.Context, connectorID string, limit int) ([]Owner, error) {
	return nil, errTodo
}

// Release gives the session back; wanted "" leaves it as it is.
func (s *Store) Release(ctx context.Context, sessionID string, epoch uint64, reserveFor string, reserve time.Duration, wanted string) error {
	return errTodo
}
func (s *Store) Owner(ctx context.Context, sessionID string) (Owner, error) { return Owner{}, errTodo }
func (s *Store) OwnersOf(ctx context.Context, connectorID string) ([]Owner, error) {
	return nil, errTodo
}
func (s *Store) SetState(ctx context.Context, sessionID string, epoch uint64, state, detail string) error {
	return errTodo
}
func (s *Store) SetWanted(ctx context.Context, sessionID, wanted string) error { return errTodo }
func (s *Store) SetBackup(ctx context.Context, sessionID, backup string) error { return errTodo }
func (s *Store) SetFailover(ctx context.Context, sessionID, failover string) error {
	return errTodo
}

// MarkDatabaseRestored ends every epoch so that each next start is safe.
func (s *Store) MarkDatabaseRestored(ctx context.Context) (int, error) { return 0, errTodo }
func (s *Store) RegisterConnector(ctx context.Context, c Connector, storedIncarnation string, lease time.Duration) error {
	return errTodo
}
func (s *Store) RenewLease(ctx context.Context, id, incarnation string, lease time.Duration, load Load) (LeaseGrant, error) {
	return LeaseGrant{}, errTodo
}
func (s *Store) BuryConnector(ctx context.Context, id, by, byIncarnation string, margin time.Duration) (bool, error) {
	return false, errTodo
}
func (s *Store) RetireConnector(ctx context.Context, id, incarnation string) error { return errTodo }
func (s *Store) Connectors(ctx context.Context) ([]Connector, error)               { return nil, errTodo }
func (s *Store) Connector(ctx context.Context, id string) (Connector, error) {
	return Connector{}, errTodo
}
func (s *Store) ListSessions(ctx context.Context, limit int, cursor string) (sessions []Session, next string, err error) {
	return nil, "", errTodo
}
func (s *Store) SessionStatus(ctx context.Context, sessionID string) (Status, error) {
	return Status{}, errTodo
}
func (s *Store) DeleteSession(ctx context.Context, sessionID string) error { return errTodo }
func (s *Store) CreateCommand(ctx context.Context, c Command) (_ Command, created bool, err error) {
	return Command{}, false, errTodo
}
func (s *Store) Command(ctx context.Context, id string) (Command, error) { return Command{}, errTodo }
func (s *Store) ClaimCommand(ctx context.Context, id, connectorID, incarnation string) (Command, bool, error) {
	return Command{}, false, errTodo
}

// RetargetCommand hands a claimed command on: queued again, for toConnector.
func (s *Store) RetargetCommand(ctx context.Context, id, incarnation, toConnector string) error {
	return errTodo
}
func (s *Store) FinishCommand(ctx context.Context, id, incarnation string, done bool, errorCode, errText string, result json.RawMessage) error {
	return errTodo
}
func (s *Store) PendingCommands(ctx context.Context, connectorID string) ([]Command, error) {
	return nil, errTodo
}
func (s *Store) ExpireCommands(ctx context.Context) (int64, error) { return 0, errTodo }
