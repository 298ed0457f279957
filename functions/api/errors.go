package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"cloudsession/shared/cloudstore"
)

// problem is an error response: its text is for the caller, so it never holds
// anything from inside.
type problem struct {
	status int
	code   string
	text   string
	header http.Header
}

// Error implements error, so that handlers return problems like other errors.
func (p *problem) Error() string { return fmt.Sprintf("%d %s", p.status, p.code) }

// with returns a copy of p with one more header.
func (p *problem) with(name, value string) *problem {
	c := *p
	c.header = p.header.Clone()
	if c.header == nil {
		c.header = http.Header{}
	}
	c.header.Set(name, value)
	return &c
}

// saying returns a copy of p with another sentence.
func (p *problem) saying(text string) *problem {
	c := *p
	c.text = text
	return &c
}

func (p *problem) response() response {
	body, err := json.Marshal(struct {
		Error string `json:"error"`
		Code  string `json:"code"`
	}{p.text, p.code})
	if err != nil { // two strings always encode
		panic(err)
	}
	return response{status: p.status, code: p.code, header: p.header, body: body}
}

func newProblem(status int, code, text string) *problem {
	p := &problem{status: status, code: code, text: text}
	if status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests {
		return p.with("Retry-After", "5")
	}
	return p
}

// The sentences of 404 and of no_credentials are the Node service's.
var (
	badPath          = newProblem(http.StatusBadRequest, "invalid_path", "The path is not valid percent-encoding")
	noRoute          = newProblem(http.StatusNotFound, "not_found", "No such route")
	methodNotAllowed = newProblem(http.StatusMethodNotAllowed, "method_not_allowed", "The route does not answer to this method")
	unauthorized     = newProblem(http.StatusUnauthorized, "unauthorized", "A valid bearer token is required")
	forbidden        = newProblem(http.StatusForbidden, "insufficient_scope", "The token's scope does not cover this route")
	notYours         = newProblem(http.StatusForbidden, "forbidden", "The token is not good for this session")

	badSessionID  = newProblem(http.StatusBadRequest, "invalid_session_id", "A session id is 1 to 255 characters of printable text")
	badCommandID  = newProblem(http.StatusBadRequest, "invalid_command_id", "A command id is 26 characters, as given in the Location of a 202")
	badLimit      = newProblem(http.StatusBadRequest, "invalid_limit", fmt.Sprintf("limit is a whole number from 1 to %d, given once", MaxLimit))
	badCursor     = newProblem(http.StatusBadRequest, "invalid_cursor", "cursor is the next_cursor of an earlier page, given once")
	badQuery      = newProblem(http.StatusBadRequest, "invalid_query", "The query string is malformed")
	badBody       = newProblem(http.StatusBadRequest, "invalid_body", "The body is not a JSON object of the form this route takes")
	badMedia      = newProblem(http.StatusUnsupportedMediaType, "unsupported_media_type", "A body is sent as application/json")
	bodyTooLarge  = newProblem(http.StatusRequestEntityTooLarge, "body_too_large", fmt.Sprintf("The body is larger than %d bytes", MaxBody))
	badConnector  = badBody.saying(`"connector" is a connector's id, or left out`)
	noCommand     = newProblem(http.StatusNotFound, "command_not_found", "Command not found")
	notInCloud    = newProblem(http.StatusNotFound, "session_not_found", "Session not found in cloud")
	noSession     = newProblem(http.StatusNotFound, "session_not_found", "Session not found")
	noCredentials = newProblem(http.StatusBadRequest, "no_credentials", "No credentials found for this session")

	notOpen          = newProblem(http.StatusConflict, "session_not_open", "Session is not open on any live connector: restore it first")
	noConnector      = newProblem(http.StatusConflict, "no_live_connector", "No live connector can take the session")
	connectorNotLive = newProblem(http.StatusConflict, "connector_not_live", "The connector asked for is not live")
	connectorLeaving = newProblem(http.StatusConflict, "connector_draining", "The connector asked for is draining and takes no sessions")
	noCapacity       = newProblem(http.StatusConflict, "no_capacity", "Every connector that could take the session is full")

	tooManyCommands = newProblem(http.StatusTooManyRequests, "too_many_commands", fmt.Sprintf("%d commands of this caller are unfinished: wait until some of them are done", MaxUnfinished))

	unavailable    = newProblem(http.StatusServiceUnavailable, "unavailable", "The database cannot be reached: try again")
	keysAway       = newProblem(http.StatusServiceUnavailable, "unavailable", "Tokens cannot be checked at the moment: try again")
	commandFailed  = newProblem(http.StatusServiceUnavailable, "command_failed", "The connector could not carry out the command: try again")
	commandExpired = newProblem(http.StatusServiceUnavailable, "command_expired", "No connector carried out the command in time: try again")
	internalError  = newProblem(http.StatusInternalServerError, "internal_error", "Something went wrong: the request id names it in the log")
)

// problemOf turns an error of the store into a response. A caller that can
// tell what a missing row means has done so before.
func problemOf(err error) *problem {
	if cloudstore.IsUnavailable(err) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return unavailable
	}
	return internalError
}

// commandProblems says what a command's error_code means to the caller. A
// code that is not here is a failure inside: commandFailed.
var commandProblems = map[string]*problem{
	"session_not_found":  notInCloud,
	"no_credentials":     noCredentials,
	"session_not_open":   notOpen,
	"connector_not_live": connectorNotLive,
	"connector_draining": connectorLeaving,
	"no_capacity":        noCapacity,
	"logged_out":         newProblem(http.StatusConflict, "logged_out", "WhatsApp has logged the session out: pair it again"),
	"backup_off":         newProblem(http.StatusConflict, "backup_off", "Backup is switched off for this session"),
	"owned_elsewhere":    newProblem(http.StatusConflict, "owned_elsewhere", "The session moved to another connector meanwhile: try again"),
	"contested":          newProblem(http.StatusConflict, "contested", "Another copy of this device is active: stop it, or pair the session again"),
	"banned":             newProblem(http.StatusConflict, "banned", "WhatsApp has banned the session for a while: it connects again by itself afterwards"),
	"refused":            newProblem(http.StatusConflict, "refused", "WhatsApp refuses the session's login: the connector's log says why"),
	"outdated":           newProblem(http.StatusConflict, "outdated", "WhatsApp accepts only newer clients: update the connectors"),
	"damaged":            newProblem(http.StatusConflict, "damaged", "The copy in the cloud does not verify: the connector's log says where"),
	"wrong_secret":       newProblem(http.StatusConflict, "wrong_secret", "The session is sealed with a secret that the connector does not have: its operator has to give it that one, too"),
	"unavailable":        unavailable,
}
