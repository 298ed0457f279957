package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"cloudsession/infra/local/rig"
)

const sessionPath = "/cloud/sessions/" + session

// pause is how long is waited before something is asked again.
const pause = 100 * time.Millisecond

// ask calls the API, again while the answer is that it takes longer than a request
// may, which is a busy machine's right.
func (d *demo) ask(ctx context.Context, method, path string, body any) (rig.Response, error) {
	for {
		resp, err := d.rig.API(ctx, method, path, body)
		if err != nil || resp.Status != http.StatusAccepted && resp.Status != http.StatusServiceUnavailable {
			return resp, err
		}
		select {
		case <-ctx.Done():
			return resp, fmt.Errorf("%s %s: it still answers %d %s: %w", method, path, resp.Status, resp.Body, ctx.Err())
		case <-time.After(pause):
		}
	}
}

// want fails unless the API answers with the status and, exactly, the body.
func (d *demo) want(ctx context.Context, status int, body, method, path string, sent any) (string, error) {
	resp, err := d.ask(ctx, method, path, sent)
	if err != nil {
		return "", err
	}
	got := strings.TrimSpace(string(resp.Body))
	if resp.Status != status || got != body {
		return "", fmt.Errorf("%s %s: got %d %s, want %d %s", method, path, resp.Status, got, status, body)
	}
	return got, nil
}

// done is the body that says that something was done with the session.
func done(what string) string { return fmt.Sprintf(`{"status":%q,"sessionId":%q}`, what, session) }

func (d *demo) list(ctx context.Context) (string, error) {
	resp, err := d.ask(ctx, http.MethodGet, "/cloud/sessions", nil)
	if err != nil {
		return "", err
	}
	var body struct {
		Sessions []struct {
			ID string `json:"session_id"`
		} `json:"sessions"`
	}
	if err := json.Unmarshal(resp.Body, &body); err != nil || resp.Status != http.StatusOK ||
		len(body.Sessions) != 1 || body.Sessions[0].ID != session {
		return "", fmt.Errorf("unexpected list: %d %s", resp.Status, resp.Body)
	}
	return string(resp.Body), nil
}

func (d *demo) status(ctx context.Context) (string, error) { return d.connectedOn(ctx, "a") }

// patience is how long the API may take to say where the session is: connectors tell
// it in passing.
const patience = time.Minute

// connectedOn waits until the API says that the session is connected on a live
// connector, that one, and returns its answer.
func (d *demo) connectedOn(ctx context.Context, connector string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		resp, err := d.ask(ctx, http.MethodGet, sessionPath+"/status", nil)
		if err != nil {
			return "", err
		}
		var s struct {
			SessionID, State, Connector string
			Live                        bool
		}
		if err := json.Unmarshal(resp.Body, &s); err != nil || resp.Status != http.StatusOK || s.SessionID != session {
			return "", fmt.Errorf("unexpected status: %d %s", resp.Status, resp.Body)
		}
		if s.State == "connected" && s.Connector == connector && s.Live {
			return string(resp.Body), nil
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("the session isn't connected on %s: %s", connector, resp.Body)
		case <-time.After(pause):
		}
	}
}

func (d *demo) sync(ctx context.Context) (string, error) {
	return d.want(ctx, http.StatusOK, done("synced to cloud"), http.MethodPost, sessionPath+"/sync", nil)
}

// askRestore asks for the session, with the body sent, and sees that it comes to the
// connector to.
func (d *demo) askRestore(ctx context.Context, to string, sent any) (string, error) {
	said, err := d.want(ctx, http.StatusOK, done("restored from cloud"), http.MethodPost, sessionPath+"/restore", sent)
	if err != nil {
		return "", err
	}
	_, err = d.connectedOn(ctx, to)
	return said, err
}

func (d *demo) delete(ctx context.Context) (string, error) {
	said, err := d.want(ctx, http.StatusOK, done("deleted from cloud"), http.MethodDelete, sessionPath, nil)
	if err != nil {
		return "", err
	}
	const gone = `{"error":"Session not found in cloud","code":"session_not_found"}`
	_, err = d.want(ctx, http.StatusNotFound, gone, http.MethodGet, sessionPath+"/status", nil)
	return said, err
}
