package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
)

// MaxFile bounds a session file that goes over the socket, in bytes.
const MaxFile = 1 << 30

// ImportRequest says what a session file is that comes in: one of whatsmeow's own
// SQLite files with one device.
type ImportRequest struct {
	// Exact: its Signal state is the newest there is and nobody else uses it any
	// more. Otherwise the session starts safely.
	Exact bool
	// Replace: an existing session's state may be replaced. It stays as a restore
	// point.
	Replace bool
	// MaxPreKeyID is the highest prekey id ever given out, 0 if nobody knows.
	MaxPreKeyID uint32
}

// Mover brings whole sessions in and out.
type Mover interface {
	// Import makes a session of a whatsmeow SQLite file and opens it.
	Import(ctx context.Context, sessionID string, r ImportRequest, file io.Reader) (Session, error)
	// Export closes a session for good here and returns it as a whatsmeow SQLite
	// file. start says whether its Signal state is the newest ("exact") or was
	// dropped ("safe").
	Export(ctx context.Context, sessionID string) (file []byte, start string, err error)
}

const startHeader = "X-Session-Start"

func (h handler) importFile(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	maxPreKey, err := strconv.ParseUint(q.Get("max_prekey_id"), 10, 24)
	if err != nil {
		writeJSON(w, http.StatusBadRequest, errorBody{Error: "max_prekey_id must be a number of up to 24 bits"})
		return
	}
	request := ImportRequest{Exact: q.Get("exact") == "true", Replace: q.Get("replace") == "true", MaxPreKeyID: uint32(maxPreKey)}
	file := http.MaxBytesReader(w, r.Body, MaxFile)
	s, err := h.c.Import(r.Context(), r.PathValue("id"), request, file)
	if err != nil {
		// A client that still writes would see a broken connection instead of the
		// answer; one that has gone away needs none.
		_, _ = io.Copy(io.Discard, file)
		h.fail(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, s)
}

func (h handler) exportFile(w http.ResponseWriter, r *http.Request) {
	file, start, err := h.c.Export(r.Context(), r.PathValue("id"))
	if err != nil {
		h.fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/vnd.sqlite3")
	w.Header().Set(startHeader, start)
	// The peer is a local process; if it went away, the copy in the cloud is still there.
	_, _ = w.Write(file)
}

// Import sends a whatsmeow SQLite file with one device to become a session.
func (c *Client) Import(ctx context.Context, sessionID string, r ImportRequest, file []byte) (Session, error) {
	q := url.Values{
		"exact": {strconv.FormatBool(r.Exact)}, "replace": {strconv.FormatBool(r.Replace)},
		"max_prekey_id": {strconv.FormatUint(uint64(r.MaxPreKeyID), 10)},
	}
	var out Session
	resp, err := c.send(ctx, http.MethodPost, sessionPath(sessionID, "import")+"?"+q.Encode(), bytes.NewReader(file))
	if err != nil {
		return out, err
	}
	defer resp.Body.Close() //nolint:errcheck // a response that was read needs nothing from its close
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		return out, fmt.Errorf("read the connector's answer: %w", err)
	}
	return out, nil
}

// Export closes a session for good and returns it as a whatsmeow SQLite file, and
// "exact" or "safe".
func (c *Client) Export(ctx context.Context, sessionID string) (file []byte, start string, err error) {
	resp, err := c.do(ctx, http.MethodPost, sessionPath(sessionID, "export"), struct{}{})
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close() //nolint:errcheck // a response that was read needs nothing from its close
	file, err = io.ReadAll(io.LimitReader(resp.Body, MaxFile+1))
	if err == nil && len(file) > MaxFile {
		err = errors.New("it is too large")
	}
	if err != nil {
		return nil, "", fmt.Errorf("read the session file: %w", err)
	}
	return file, resp.Header.Get(startHeader), nil
}
