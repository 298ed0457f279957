package cloudstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"slices"
	"strings"

	"github.com/go-sql-driver/mysql"
)

// Error numbers of MySQL and TiDB (TiDB's pkg/errno, and the page "Error Codes
// and Troubleshooting" of its documentation).
const (
	errUnknownColumn   = 1054
	errDuplicate       = 1062
	errUnknown         = 1105 // TiDB's wrapper for errors of its storage layer
	errLockWaitTimeout = 1205
	errDeadlock        = 1213
)

// retryable are answers after which a statement or transaction was rolled back
// and the same one may succeed at once.
var retryable = []uint16{
	errLockWaitTimeout,
	errDeadlock,
	8002, // cannot retry the transaction because of SELECT FOR UPDATE
	8022, // commit failed and was rolled back; may be retried
	8027, // schema information out of date
	8028, // schema changed during the transaction
	9007, // write conflict
}

// unavailable are answers of a server that is up but can't serve now.
var unavailable = []uint16{
	1040, // too many connections
	1053, // server shutdown in progress
	errUnknown,
	1317, // interrupted
	8229, // locks may have expired
	8249, // resource group's quota used up …
	8252, // … or throttled
	8501, // outcome of a commit undetermined
	9001, // placement driver timed out
	9002, // storage timed out
	9003, // storage busy
	9004, // resolving locks timed out
	9005, // region unavailable
	9009, // stale command
	9012, // columnar storage timed out
}

// IsUnavailable reports whether err means that the database can't be reached or
// can't serve now, so that the same call may succeed later. A write that ended
// so may or may not have happened; every write of this package may be repeated.
func IsUnavailable(err error) bool {
	if server, ok := errors.AsType[*mysql.MySQLError](err); ok {
		return slices.Contains(unavailable, server.Number) || slices.Contains(retryable, server.Number)
	}
	switch {
	case err == nil, errors.Is(err, context.Canceled):
		return false
	case errors.Is(err, context.DeadlineExceeded),
		errors.Is(err, driver.ErrBadConn), errors.Is(err, mysql.ErrInvalidConn),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, sql.ErrConnDone), errors.Is(err, net.ErrClosed):
		return true
	}
	_, network := errors.AsType[net.Error](err)
	return network
}

// IsConflict reports whether err is the answer to a statement that lost against
// another: this package starts over or reads what stands there, so it is counted
// rather than reported.
func IsConflict(err error) bool { return isRetryable(err) || isDuplicate(err) }

// isRetryable reports whether err says that nothing was changed and that the
// same may be tried again at once.
func isRetryable(err error) bool {
	server, ok := errors.AsType[*mysql.MySQLError](err)
	return ok && (slices.Contains(retryable, server.Number) || isLockContention(server))
}

// isLockContention recognises an answer that has no number of its own: many
// wanted one row's lock, and this one always came too late.
func isLockContention(err *mysql.MySQLError) bool {
	return err.Number == errUnknown && strings.Contains(err.Message, "pessimistic lock retry limit reached")
}

// isUnknownColumn reports whether the tables are older than this program.
func isUnknownColumn(err error) bool {
	server, ok := errors.AsType[*mysql.MySQLError](err)
	return ok && server.Number == errUnknownColumn
}

// isDuplicate reports whether err says that a row with this key exists.
func isDuplicate(err error) bool {
	server, ok := errors.AsType[*mysql.MySQLError](err)
	return ok && server.Number == errDuplicate
}
