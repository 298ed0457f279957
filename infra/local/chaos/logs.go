package chaos

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"

	"cloudsession/infra/local/rig"
	"cloudsession/infra/local/stack"
)

// logScanner reads what the connectors log.
type logScanner struct {
	rest   *os.File         // the other processes' log
	read   map[string]int64 // by path, how far
	errors map[string]int   // ERROR lines by message
}

// never are words that no log may hold; the harness's texts and the secret come
// to them at run time.
var never = regexp.MustCompile(`^panic: |^fatal error: |^unexpected fault|runtime error: |` + regexp.QuoteMeta(textMark))

// expected are the messages of level ERROR that the faults here explain. The end
// of a session is what its late handlers run into: its context first, then the
// closed file (W5), or a device that its phone has unlinked. So is the end of its
// socket, for who answers a message that came through it: the message comes again
// through the next one.
var expected = regexp.MustCompile(`^(whatsmeow: (Error reading from websocket|Error sending close to websocket|Failed to handle|` +
	`Failed to send retry receipt for .*: websocket not connected$|.*(sql: database is closed|context canceled|invalid use of deleted device)$)` +
	`|message not taken, it will come again$)`)

// variable is what differs from one line of a kind to the next.
var variable = regexp.MustCompile(`127\.0\.0\.1:\d+|[0-9A-F]{16,}`)

var errorLine = regexp.MustCompile(`level=ERROR msg=("(?:[^"\\]|\\.)*"|\S+)`)

// checkLogs is I7 for the logs: no panic, no text, no secret.
func (h *Harness) checkLogs() error {
	if h.logs.read == nil {
		h.logs.read, h.logs.errors = map[string]int64{}, map[string]int{}
	}
	for _, m := range h.machines {
		if err := h.scan(m.log.Name(), true); err != nil {
			return err
		}
	}
	// It has the connectors' lines, too.
	if err := h.scan(h.logs.rest.Name(), false); err != nil {
		return err
	}
	return h.checkRaces()
}

// checkRaces looks for reports of the race detector, for connectors built with it.
func (h *Harness) checkRaces() error {
	if os.Getenv(stack.RaceVariable) == "" {
		return nil
	}
	for _, m := range h.machines {
		log, err := os.ReadFile(m.log.Name())
		if err != nil {
			return fmt.Errorf("read log: %w", err)
		}
		for _, race := range rig.OwnRaces(string(log)) {
			return h.violation("I7", "", "connector %s has a data race:%s", m.id, race)
		}
	}
	return nil
}

func (h *Harness) scan(path string, errorsToo bool) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read log: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.Seek(h.logs.read[path], io.SeekStart); err != nil {
		return fmt.Errorf("read log: %w", err)
	}
	secrets := []string{h.rig.Stack.SessionSecret(), h.rig.Stack.JWTSecret(), h.rig.Stack.StoreConfig().Password}
	in := bufio.NewReader(f)
	for {
		line, err := in.ReadString('\n')
		if errors.Is(err, io.EOF) {
			return nil // a line that is not finished comes next time
		} else if err != nil {
			return fmt.Errorf("read log: %w", err)
		}
		h.logs.read[path] += int64(len(line))
		if never.MatchString(line) {
			return h.violation("I7", "", "%s has: %.300s", path, line)
		}
		for _, secret := range secrets {
			if secret != "" && strings.Contains(line, secret) {
				return h.violation("I7", "", "%s has a secret in it", path)
			}
		}
		if found := errorLine.FindStringSubmatch(line); found != nil && errorsToo {
			message := variable.ReplaceAllString(strings.Trim(found[1], `"`), "…")
			h.logs.errors[message]++
			if !expected.MatchString(message) {
				return h.violation("I7", "", "%s has an error that no fault explains: %.500s", path, line)
			}
		}
	}
}
