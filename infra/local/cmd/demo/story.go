package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"cloudsession/connector/control"
	"cloudsession/infra/local/rig"
)

const (
	session   = "personal"
	ownNumber = "628110000001"
	peer      = "628110000002"
)

// tell runs the whole story.
func (d *demo) tell(ctx context.Context, log io.Writer) error {
	for _, s := range []struct {
		what string
		do   func(context.Context) (string, error)
	}{
		{"TiDB, queue, API and the simulated service start", func(ctx context.Context) (string, error) { return d.start(ctx, log) }},
		{"connector A starts", d.startA},
		{"the phone scans A's QR code", d.pair},
		{"A sends, the peer decrypts; the peer sends, A receives", func(ctx context.Context) (string, error) { return "", d.talk(ctx, d.a, "before") }},
		{"GET /cloud/sessions", d.list},
		{"GET /cloud/sessions/personal/status", d.status},
		{"POST /cloud/sessions/personal/sync", d.sync},
		{"A sends once more, then dies: kill -9, disk erased", d.crash},
		{"the peer writes while nobody is there", d.writeOffline},
		{"connector B starts on an empty disk", d.startB},
		{"POST /cloud/sessions/personal/restore", d.restore},
		{"the message of the meantime arrives", d.catchUp},
		{"B talks on, in both directions", func(ctx context.Context) (string, error) { return "", d.talk(ctx, d.b, "after") }},
		{"nothing lost, nothing shown twice, no key used twice", d.account},
		{"DELETE /cloud/sessions/personal", d.delete},
		{"B stops cleanly", d.stopB},
	} {
		if err := d.step(s.what, func() (string, error) { return s.do(ctx) }); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) start(ctx context.Context, log io.Writer) (string, error) {
	var err error
	if d.rig, err = rig.Start(ctx, rig.Options{Dir: filepath.Join(d.dir, "stack"), Out: log, Built: true}); err != nil {
		return "", err
	}
	if d.owner, err = d.rig.WhatsApp.NewPhone(ownNumber, "Owner"); err != nil {
		return "", err
	}
	d.peer, err = d.rig.WhatsApp.NewPhone(peer, "Peer")
	return "API on " + d.rig.Stack.APIURL(), err
}

func (d *demo) startA(ctx context.Context) (string, error) {
	var err error
	d.a, err = d.rig.StartConnector(ctx, "a", filepath.Join(d.dir, "a"))
	return "", err
}

func (d *demo) pair(ctx context.Context) (string, error) {
	return "", d.a.Pair(ctx, session, d.owner)
}

// talk sends one text each way and waits for both to be read.
func (d *demo) talk(ctx context.Context, c *rig.Connector, when string) error {
	if err := d.send(ctx, c, "hello from the session, "+when); err != nil {
		return err
	}
	text := "hello from the peer, " + when
	if _, err := d.peer.SendText(ctx, d.owner.PN(), text); err != nil {
		return fmt.Errorf("peer sends: %w", err)
	}
	d.received = append(d.received, text)
	_, err := c.WaitText(ctx, session, text)
	return err
}

func (d *demo) send(ctx context.Context, c *rig.Connector, text string) error {
	if _, err := c.Send(ctx, session, control.SendRequest{To: "+" + peer, Text: text}); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	if _, err := d.peer.WaitText(ctx, text); err != nil {
		return fmt.Errorf("peer receives: %w", err)
	}
	return nil
}

func (d *demo) list(ctx context.Context) (string, error) {
	resp, err := d.rig.Want(ctx, http.StatusOK, http.MethodGet, "/cloud/sessions", nil)
	if err != nil {
		return "", err
	}
	var body struct {
		Sessions []struct {
			ID string `json:"session_id"`
		} `json:"sessions"`
	}
	if err := json.Unmarshal(resp.Body, &body); err != nil || len(body.Sessions) != 1 || body.Sessions[0].ID != session {
		return "", fmt.Errorf("unexpected list: %s", resp.Body)
	}
	return string(resp.Body), nil
}

func (d *demo) status(ctx context.Context) (string, error) {
	resp, err := d.rig.Want(ctx, http.StatusOK, http.MethodGet, "/cloud/sessions/"+session+"/status", nil)
	return string(resp.Body), err
}

func (d *demo) sync(ctx context.Context) (string, error) {
	resp, err := d.rig.Want(ctx, http.StatusOK, http.MethodPost, "/cloud/sessions/"+session+"/sync", nil)
	return string(resp.Body), err
}

func (d *demo) crash(ctx context.Context) (string, error) {
	if err := d.send(ctx, d.a, "last words of A"); err != nil {
		return "", err
	}
	return "", errors.Join(d.a.Kill9(), os.RemoveAll(d.a.DataDir()))
}

func (d *demo) writeOffline(ctx context.Context) (string, error) {
	text := "are you there?"
	d.received = append(d.received, text)
	_, err := d.peer.SendText(ctx, d.owner.PN(), text)
	return "", err
}

func (d *demo) startB(ctx context.Context) (string, error) {
	var err error
	d.b, err = d.rig.StartConnector(ctx, "b", filepath.Join(d.dir, "b"))
	return "", err
}

// restore asks until it is done: A's lease has to run out first, and a request
// that takes longer than the API waits is answered 202 and goes on.
func (d *demo) restore(ctx context.Context) (string, error) {
	for {
		resp, err := d.rig.API(ctx, http.MethodPost, "/cloud/sessions/"+session+"/restore", nil)
		if err != nil {
			return "", err
		}
		if resp.Status == http.StatusOK {
			return string(resp.Body), nil
		}
		if resp.Status != http.StatusAccepted {
			return "", fmt.Errorf("restore: %d %s", resp.Status, resp.Body)
		}
	}
}

func (d *demo) catchUp(ctx context.Context) (string, error) {
	_, err := d.b.WaitText(ctx, session, "are you there?")
	return "", err
}

// account holds what was sent against what was shown, on both sides.
func (d *demo) account(ctx context.Context) (string, error) {
	shown := map[string]int{}
	err := d.b.Messages(ctx, session, 0, false, func(m control.Message) error {
		shown[m.Text]++
		return nil
	})
	if err != nil {
		return "", err
	}
	var wrong []string
	for _, text := range d.received {
		if shown[text] != 1 {
			wrong = append(wrong, fmt.Sprintf("%q shown %d times", text, shown[text]))
		}
	}
	c := d.rig.WhatsApp.Counters()
	if lost := d.rig.WhatsApp.Lost(); len(lost) > 0 {
		wrong = append(wrong, fmt.Sprintf("%d messages never shown by a phone", len(lost)))
	}
	if c.ShownTwice > 0 || c.KeysReused > 0 || c.OldCounter > 0 {
		wrong = append(wrong, fmt.Sprintf("shown twice %d, keys reused %d, dropped as old %d", c.ShownTwice, c.KeysReused, c.OldCounter))
	}
	if len(wrong) > 0 {
		return "", errors.New(strings.Join(wrong, "; "))
	}
	return fmt.Sprintf("%d messages accepted, %d shown by phones, %d by the application; retries %d",
		c.Accepted, c.Shown, len(d.received), c.RetryReceipts), nil
}

func (d *demo) delete(ctx context.Context) (string, error) {
	path := "/cloud/sessions/" + session
	resp, err := d.rig.Want(ctx, http.StatusOK, http.MethodDelete, path, nil)
	if err != nil {
		return "", err
	}
	_, err = d.rig.Want(ctx, http.StatusNotFound, http.MethodGet, path+"/status", nil)
	return string(resp.Body), err
}

func (d *demo) stopB(context.Context) (string, error) { return "", d.b.Stop(10 * time.Second) }
