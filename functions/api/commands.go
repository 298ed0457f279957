package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/oklog/ulid/v2"

	"cloudsession/shared/cloudstore"
	"cloudsession/shared/command"
)

func (h *Handler) syncSession(r *request) (response, error) {
	if err := r.takeSessionID(); err != nil {
		return response{}, err
	}
	if err := decodeBody(r, &struct{}{}); err != nil {
		return response{}, err
	}
	owner, err := h.liveOwner(r)
	if err != nil {
		return response{}, err
	}
	if owner == nil {
		// A session that is open is in the cloud or on its way there; one that is
		// not open is known only if the cloud has it.
		if _, err := h.status(r, noSession); err != nil {
			return response{}, err
		}
		return response{}, notOpen
	}
	return h.run(r, command.KindSync, struct{}{}, *owner, "synced to cloud")
}

// restoreOrder is the optional body of a restore, and the arguments of its command.
type restoreOrder struct {
	Connector *string `json:"connector,omitempty"`
}

func (h *Handler) restoreSession(r *request) (response, error) {
	if err := r.takeSessionID(); err != nil {
		return response{}, err
	}
	var order restoreOrder
	if err := decodeBody(r, &order); err != nil {
		return response{}, err
	}
	if order.Connector != nil && (*order.Connector == "" || len(*order.Connector) > maxConnectorID) {
		return response{}, badConnector
	}
	if _, err := h.status(r, notInCloud); err != nil {
		return response{}, err
	}
	first, err := h.restorer(r, order)
	if err != nil {
		return response{}, err
	}
	return h.run(r, command.KindRestore, order, first, "restored from cloud")
}

// run writes the command's row, knocks on the connector's queue, waits for the
// row and answers with what became of it. The row is the truth: the connector's
// heartbeat finds it even if the message never arrives.
func (h *Handler) run(r *request, kind string, args any, to cloudstore.Connector, success string) (response, error) {
	c, err := h.create(r, kind, args, to)
	if err != nil {
		return response{}, err
	}
	h.knock(r, c, to)
	began := time.Now()
	c = h.await(r, c)
	r.waited = &wait{took: time.Since(began), finished: finished(c)}
	switch c.State {
	case cloudstore.CommandDone:
		return reply(http.StatusOK, done{success, r.sessionID})
	case cloudstore.CommandFailed, cloudstore.CommandExpired:
		h.log.WarnContext(r.Context(), "command not carried out", "request_id", r.id, "command", c.ID,
			"state", c.State, "code", c.ErrorCode, "error", c.Error)
		return response{}, outcome(c)
	}
	res, err := reply(http.StatusAccepted, accepted{cloudstore.CommandQueued, r.sessionID, c.ID})
	res.header = http.Header{"Location": {"/cloud/commands/" + c.ID}, "Retry-After": {"2"}}
	return res, err
}

type accepted struct {
	Status    string `json:"status"`
	SessionID string `json:"sessionId"`
	CommandID string `json:"commandId"`
}

func (h *Handler) create(r *request, kind string, args any, to cloudstore.Connector) (cloudstore.Command, error) {
	raw, err := json.Marshal(args)
	if err != nil {
		return cloudstore.Command{}, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), storeTimeout)
	defer cancel()
	now := time.Now().UTC()
	c, created, err := h.commands.CreateCommand(ctx, cloudstore.Command{
		ID: ulid.Make().String(), SessionID: r.sessionID, Kind: kind, Args: raw,
		State: cloudstore.CommandQueued, ConnectorID: to.ID,
		RequestedBy: r.caller.Subject, RequestID: r.id,
		CreatedAt: now, Deadline: now.Add(CommandLifetime), MaxUnfinished: MaxUnfinished,
	})
	if errors.Is(err, cloudstore.ErrTooManyCommands) {
		return c, tooManyCommands
	}
	if err == nil {
		h.log.InfoContext(ctx, "command", "request_id", r.id, "command", c.ID, "kind", kind,
			"session", r.sessionID, "connector", to.ID, "created", created)
	}
	return c, err
}

// knock tells the connector about the command. An earlier request's command is
// announced again: if its message went through the queue drops this one.
func (h *Handler) knock(r *request, c cloudstore.Command, to cloudstore.Connector) {
	ctx, cancel := context.WithTimeout(r.Context(), sendTimeout)
	defer cancel()
	err := h.queue.Send(ctx, to.QueueURL, command.Message{
		V: command.Version, CommandID: c.ID, SessionID: c.SessionID, Kind: c.Kind, Attempt: c.Attempt,
	})
	if err != nil {
		h.log.WarnContext(r.Context(), "command not announced; the heartbeat will find it",
			"request_id", r.id, "command", c.ID, "connector", to.ID, "error", err)
	}
}

// outcome is the response to a command that failed or expired.
func outcome(c cloudstore.Command) *problem {
	if c.State == cloudstore.CommandExpired {
		return commandExpired
	}
	if p, ok := commandProblems[c.ErrorCode]; ok {
		if p == notInCloud && c.Kind == command.KindSync {
			return noSession
		}
		return p
	}
	return commandFailed
}

// commandState is the body of GET /cloud/commands/{commandId}.
type commandState struct {
	Status     string  `json:"status"`
	SessionID  string  `json:"sessionId"`
	CommandID  string  `json:"commandId"`
	Kind       string  `json:"kind"`
	CreatedAt  string  `json:"createdAt"`
	StartedAt  *string `json:"startedAt"`
	FinishedAt *string `json:"finishedAt"`
	Error      string  `json:"error,omitempty"`
	Code       string  `json:"code,omitempty"`
}

func (h *Handler) commandStatus(r *request) (response, error) {
	id, err := ulid.ParseStrict(r.param)
	if err != nil || id.String() != r.param {
		return response{}, badCommandID
	}
	ctx, cancel := context.WithTimeout(r.Context(), storeTimeout)
	defer cancel()
	c, err := h.commands.Command(ctx, r.param)
	if errors.Is(err, cloudstore.ErrNotFound) {
		return response{}, noCommand
	}
	if err != nil {
		return response{}, err
	}
	r.sessionID = c.SessionID
	if !r.caller.Sessions.Has(c.SessionID) {
		return response{}, noCommand // as if there were none: whether there is is not theirs to know
	}
	state := commandState{
		Status: c.State, SessionID: c.SessionID, CommandID: c.ID, Kind: c.Kind,
		CreatedAt: when(c.CreatedAt), StartedAt: whenOrNull(c.StartedAt), FinishedAt: whenOrNull(c.FinishedAt),
	}
	if c.State == cloudstore.CommandFailed || c.State == cloudstore.CommandExpired {
		p := outcome(c)
		state.Error, state.Code = p.text, p.code
	}
	return reply(http.StatusOK, state)
}
