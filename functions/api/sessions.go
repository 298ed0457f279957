package api

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"

	"cloudsession/shared/cloudstore"
)

// takeSessionID checks the path parameter, and whether the caller may know of
// that session: before anything is looked up, so that the answer tells nothing.
func (r *request) takeSessionID() error {
	if cloudstore.ValidateSessionID(r.param) != nil {
		return badSessionID
	}
	r.sessionID = r.param
	if !r.caller.Sessions.Has(r.sessionID) {
		return notYours.with("WWW-Authenticate", challenge+`, error="insufficient_scope"`)
	}
	return nil
}

// listedSession has the fields of the specification, in its order.
type listedSession struct {
	SessionID    string  `json:"session_id"`
	LastSyncedAt *string `json:"last_synced_at"`
	CreatedAt    string  `json:"created_at"`
	UpdatedAt    string  `json:"updated_at"`
}

type sessionList struct {
	Sessions   []listedSession `json:"sessions"`
	NextCursor string          `json:"next_cursor,omitempty"`
}

func (h *Handler) listSessions(r *request) (response, error) {
	limit, cursor, err := pageOf(r.URL.RawQuery)
	if err != nil {
		return response{}, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), storeTimeout)
	defer cancel()
	page, next, err := h.sessions.ListSelected(ctx, r.caller.Sessions, limit, cursor)
	if errors.Is(err, cloudstore.ErrBadCursor) {
		return response{}, badCursor
	}
	if err != nil {
		return response{}, err
	}
	list := sessionList{Sessions: make([]listedSession, 0, len(page)), NextCursor: next}
	for _, s := range page {
		list.Sessions = append(list.Sessions, listedSession{
			s.SessionID, whenOrNull(s.LastSyncedAt), when(s.CreatedAt), when(s.UpdatedAt),
		})
	}
	return reply(http.StatusOK, list)
}

// pageOf reads ?limit=&cursor=. Other parameters are ignored, a repeated one is refused.
func pageOf(rawQuery string) (limit int, cursor string, err error) {
	q, err := url.ParseQuery(rawQuery)
	if err != nil {
		return 0, "", badQuery
	}
	limit = DefaultLimit
	if v, ok := q["limit"]; ok {
		limit, err = strconv.Atoi(v[0])
		if err != nil || len(v) > 1 || limit < 1 || limit > MaxLimit || strconv.Itoa(limit) != v[0] {
			return 0, "", badLimit
		}
	}
	if v, ok := q["cursor"]; ok {
		cursor = v[0]
		if cursor == "" || len(cursor) > maxCursor || len(v) > 1 {
			return 0, "", badCursor
		}
	}
	return limit, cursor, nil
}

// sessionState has the four fields of the specification first. What follows is
// left out for a session no connector has ever held.
type sessionState struct {
	SessionID  string  `json:"sessionId"`
	LastSynced *string `json:"lastSynced"`
	CreatedAt  string  `json:"createdAt"`
	UpdatedAt  string  `json:"updatedAt"`
	State      string  `json:"state,omitempty"`
	Detail     string  `json:"stateDetail,omitempty"`
	Connector  string  `json:"connector,omitempty"`
	Live       *bool   `json:"live,omitempty"`
	Start      string  `json:"start,omitempty"`
	Backup     string  `json:"backup,omitempty"`
}

func (h *Handler) sessionStatus(r *request) (response, error) {
	if err := r.takeSessionID(); err != nil {
		return response{}, err
	}
	s, err := h.status(r, notInCloud)
	if err != nil {
		return response{}, err
	}
	state := sessionState{
		SessionID: s.SessionID, LastSynced: whenOrNull(s.LastSyncedAt),
		CreatedAt: when(s.CreatedAt), UpdatedAt: when(s.UpdatedAt),
		State: s.State, Detail: detailOf(s), Connector: s.ConnectorID, Start: s.Start, Backup: s.Backup,
	}
	if s.ConnectorID != "" {
		state.Live = &s.Live
	}
	return reply(http.StatusOK, state)
}

// detailOf is what the connector says of a session that has ended or can't be
// opened: why, and what to do next. Those sentences are written for the caller;
// what is said of other states is for operators.
func detailOf(s cloudstore.Status) string {
	switch s.State {
	case "logged_out", "banned", "outdated", "refused", "replaced", "contested", "failed":
		return s.StateDetail
	default:
		return ""
	}
}

// status reads a session's state; missing is what a clean "no such row" becomes.
func (h *Handler) status(r *request, missing *problem) (cloudstore.Status, error) {
	ctx, cancel := context.WithTimeout(r.Context(), storeTimeout)
	defer cancel()
	s, err := h.sessions.SessionStatus(ctx, r.sessionID)
	if errors.Is(err, cloudstore.ErrNotFound) {
		return s, missing
	}
	return s, err
}

// done is the body of sync, restore and delete.
type done struct {
	Status    string `json:"status"`
	SessionID string `json:"sessionId"`
}

func (h *Handler) deleteSession(r *request) (response, error) {
	if err := r.takeSessionID(); err != nil {
		return response{}, err
	}
	if err := decodeBody(r, &struct{}{}); err != nil {
		return response{}, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), deleteTimeout)
	defer cancel()
	err := h.sessions.DeleteSession(ctx, r.sessionID)
	if errors.Is(err, cloudstore.ErrNotFound) {
		return response{}, notInCloud
	}
	if err != nil {
		return response{}, err
	}
	return reply(http.StatusOK, done{"deleted from cloud", r.sessionID})
}
