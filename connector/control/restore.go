package control

import (
	"context"
	"net/http"
)

// RestoreRequest names the point of a session's log to go back to: "<epoch>.<seq>"
// or a time in RFC 3339.
type RestoreRequest struct {
	At string `json:"at"`
}

func (h handler) restoreAt(w http.ResponseWriter, r *http.Request) {
	var req RestoreRequest
	if !decode(w, r, &req) {
		return
	}
	s, err := h.c.RestoreAt(r.Context(), r.PathValue("id"), req)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, s)
}

// RestoreAt opens a closed session as it was at an older point of its log.
func (c *Client) RestoreAt(ctx context.Context, sessionID string, r RestoreRequest) (Session, error) {
	var out Session
	err := c.call(ctx, http.MethodPost, sessionPath(sessionID, "restore"), r, &out)
	return out, err
}
