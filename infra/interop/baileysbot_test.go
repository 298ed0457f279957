//go:build interop

package interop

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"cloudsession/connector/watest"
)

// bot is a process of unmodified Baileys on an auth folder.
type bot struct {
	t      *testing.T
	cmd    *exec.Cmd
	in     io.WriteCloser
	stderr bytes.Buffer
	tag    int

	mu     sync.Mutex
	change chan struct{} // closed and replaced at each event
	events []botEvent
	ended  bool
}

type botEvent struct {
	Event string `json:"event"`
	QR    string `json:"qr"`
	Tag   int    `json:"tag"`
	ID    string `json:"id"`
	From  string `json:"from"`
	Text  string `json:"text"`
	Code  int    `json:"code"`
}

// startBot runs Baileys against the service at addr.
func startBot(t *testing.T, addr, folder string) *bot {
	t.Helper()
	node := need(t, "node", "Node.js 20 or later (Debian: apt-get install nodejs npm)")
	if _, err := os.Stat("baileys/node_modules/@whiskeysockets/baileys"); err != nil {
		t.Fatalf("Baileys is not installed: npm ci --ignore-scripts, in infra/interop/baileys (make interop does it): %v", err)
	}
	root := watest.TestRootKey
	b := &bot{t: t, change: make(chan struct{})}
	b.cmd = exec.CommandContext(t.Context(), node, "bot.mjs", "ws://"+addr+"/ws/chat", hex.EncodeToString(root[:]), folder)
	b.cmd.Dir, b.cmd.Stderr = "baileys", &b.stderr
	in, err := b.cmd.StdinPipe()
	must(t, err)
	out, err := b.cmd.StdoutPipe()
	must(t, err)
	b.in = in
	must(t, b.cmd.Start())
	read := make(chan struct{})
	go func() {
		defer close(read)
		b.read(out)
	}()
	t.Cleanup(func() {
		_ = b.cmd.Process.Kill() // gone already is fine
		<-read
		_ = b.cmd.Wait() // how it ended was stop's to judge
		if t.Failed() {
			t.Logf("standard error of the bot in %s:\n%s", filepath.Base(folder), b.stderr.String())
		}
	})
	return b
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (b *bot) read(out io.Reader) {
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e botEvent
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			e = botEvent{Event: "garbled"} // what Baileys prints by itself may hold keys
		}
		b.note(func() { b.events = append(b.events, e) })
	}
	b.note(func() { b.ended = true })
}

func (b *bot) note(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
	close(b.change)
	b.change = make(chan struct{})
}

// wait waits for an event, from the first on.
func (b *bot) wait(what string, match func(botEvent) bool) botEvent {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), time.Minute)
	defer cancel()
	for {
		b.mu.Lock()
		events, ended, change := b.events, b.ended, b.change
		b.mu.Unlock()
		for _, e := range events {
			if match(e) {
				return e
			}
			if e.Event == "closed" || e.Event == "garbled" {
				b.t.Fatalf("wait for %s: the bot's connection is over: %d %s", what, e.Code, e.Text)
			}
		}
		if ended {
			b.t.Fatalf("wait for %s: the bot has ended", what)
		}
		select {
		case <-change:
		case <-ctx.Done():
			b.t.Fatalf("wait for %s: not within a minute", what)
		}
	}
}

func (b *bot) command(v any) {
	b.t.Helper()
	line, err := json.Marshal(v)
	must(b.t, err)
	_, err = b.in.Write(append(line, '\n'))
	must(b.t, err)
}

// waitQR returns the first QR code.
func (b *bot) waitQR() string {
	b.t.Helper()
	return b.wait("a QR code", func(e botEvent) bool { return e.Event == "qr" }).QR
}

func (b *bot) waitOpen() {
	b.t.Helper()
	b.wait("the connection", func(e botEvent) bool { return e.Event == "open" })
}

func (b *bot) waitText(text string) {
	b.t.Helper()
	b.wait("the text "+text, func(e botEvent) bool { return e.Event == "message" && e.Text == text })
}

// send sends a text and waits until Baileys says that it has.
func (b *bot) send(to, text string) {
	b.t.Helper()
	b.tag++
	b.command(map[string]any{"cmd": "send", "tag": b.tag, "to": to, "text": text})
	e := b.wait("the text to be sent", func(e botEvent) bool { return (e.Event == "sent" || e.Event == "failed") && e.Tag == b.tag })
	if e.Event == "failed" {
		b.t.Fatalf("Baileys did not send: %s", e.Text)
	}
}

// stop ends the process in order.
func (b *bot) stop() {
	b.t.Helper()
	b.command(map[string]any{"cmd": "stop"})
	b.wait("the end", func(e botEvent) bool { return e.Event == "stopped" })
}

// kill ends the process at once and waits until it is gone.
func (b *bot) kill() {
	b.t.Helper()
	must(b.t, b.cmd.Process.Kill())
	for {
		b.mu.Lock()
		ended, change := b.ended, b.change
		b.mu.Unlock()
		if ended {
			return
		}
		<-change
	}
}
