package api

import (
	"context"

	"cloudsession/shared/cloudstore"
	"cloudsession/shared/command"
)

// SessionStore is what the API reads and deletes; *cloudstore.Store is one.
//
// Errors: cloudstore.ErrNotFound only when the database has said that there is
// no such session. What cloudstore.IsUnavailable recognizes becomes a 503, any
// other error a 500.
type SessionStore interface {
	// ListSelected returns up to limit of the selected sessions after cursor, a
	// value it returned before as next, or the first ones for "". An empty next
	// means there are no more; any other is text that needs no escaping in a URL.
	// cloudstore.ErrBadCursor when cursor is none of its own.
	ListSelected(ctx context.Context, which *cloudstore.Selection, limit int, cursor string) (page []cloudstore.Session, next string, err error)
	// SessionStatus: ErrNotFound when the cloud holds no credentials of that name.
	SessionStatus(ctx context.Context, sessionID string) (cloudstore.Status, error)
	// DeleteSession removes the session's data: ErrNotFound when there is none.
	DeleteSession(ctx context.Context, sessionID string) error
}

// CommandStore holds commands and what is needed to address them;
// *cloudstore.Store is one. Errors are those of SessionStore.
type CommandStore interface {
	// Owner: ErrNotFound when the session was never owned.
	Owner(ctx context.Context, sessionID string) (cloudstore.Owner, error)
	// Connectors lists every connector known, with Live by the database's clock.
	Connectors(ctx context.Context) ([]cloudstore.Connector, error)
	// CreateCommand inserts c, or returns the unfinished command with the same
	// session, kind and arguments and created = false, but no sync that runs.
	// cloudstore.ErrTooManyCommands when c.RequestedBy has c.MaxUnfinished others.
	CreateCommand(ctx context.Context, c cloudstore.Command) (row cloudstore.Command, created bool, err error)
	// Command: ErrNotFound when there is no such row.
	Command(ctx context.Context, id string) (cloudstore.Command, error)
}

// Sender knocks on a connector's queue. An error says nothing about whether
// the message was sent. command.Queue is one.
type Sender interface {
	Send(ctx context.Context, url string, m command.Message) error
}
