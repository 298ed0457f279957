package lambdaemu_test

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"cloudsession/infra/local/lambdaemu"
)

// patience is for what must happen, on a machine that may be busy.
const patience = 2 * time.Minute

func host(t *testing.T, o lambdaemu.Options) *lambdaemu.Host {
	t.Helper()
	for _, name := range []string{"echo", "no-start", "sleeper"} {
		o.Functions = append(o.Functions, lambdaemu.Function{Name: name, Binary: os.Args[0], Env: []string{"GREETING=hello"}})
	}
	o.Timeout, o.InitTimeout = cmp.Or(o.Timeout, patience), cmp.Or(o.InitTimeout, patience)
	h, err := lambdaemu.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}

func invoke(t *testing.T, h *lambdaemu.Host, do, text string) (map[string]string, lambdaemu.Result, error) {
	t.Helper()
	event, err := json.Marshal(map[string]string{"Do": do, "Text": text})
	if err != nil {
		t.Fatal(err)
	}
	r, err := h.Invoke(t.Context(), "echo", event)
	var out map[string]string
	if err == nil {
		if err := json.Unmarshal(r.Payload, &out); err != nil {
			t.Fatalf("response %s: %v", r.Payload, err)
		}
	}
	return out, r, err
}

func TestWarmProcessIsUsedAgain(t *testing.T) {
	t.Setenv("SESSION_ENCRYPTION_SECRET", "not for functions")
	h := host(t, lambdaemu.Options{})
	first, cold, err := invoke(t, h, "", "toko ☕")
	if err != nil {
		t.Fatal(err)
	}
	if first["text"] != "toko ☕" || first["left"] != "true" || first["id"] == "" || cold.Init <= 0 || cold.Duration <= 0 {
		t.Errorf("first: %v, %+v", first, cold)
	}
	if env := first["environment"]; !strings.Contains(env, "GREETING=hello") || strings.Contains(env, "SESSION_ENCRYPTION_SECRET") {
		t.Errorf("the function's environment: %s", env)
	}
	second, warm, err := invoke(t, h, "", "again")
	if err != nil || second["pid"] != first["pid"] || second["served"] != "2" || second["id"] == first["id"] || warm.Init != 0 {
		t.Errorf("second: %v, %+v, %v", second, warm, err)
	}
}

// TestCloseIsQuiet: a waiting process ends without a word of its own.
func TestCloseIsQuiet(t *testing.T) {
	var log bytes.Buffer
	h := host(t, lambdaemu.Options{Out: &log})
	if _, _, err := invoke(t, h, "", ""); err != nil {
		t.Fatal(err)
	}
	h.Close()
	if log.Len() > 0 {
		t.Errorf("the function said: %s", &log)
	}
}

func TestSecretIsRefused(t *testing.T) {
	_, err := lambdaemu.New(lambdaemu.Options{Functions: []lambdaemu.Function{{Name: "f", Env: []string{"SESSION_ENCRYPTION_SECRET=x"}}}})
	if err == nil || strings.Contains(err.Error(), "=x") {
		t.Errorf("a function with the secret: %v", err)
	}
}

func TestFailures(t *testing.T) {
	h := host(t, lambdaemu.Options{})
	before, _, err := invoke(t, h, "", "")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		do, errorType, text string
		samePid             bool // the process goes on afterwards
	}{
		{"fail", "errorString", "no luck", true},
		{"large", "Function.ResponseSizeTooLarge", "", false},
		{"panic", "string", "no luck", false},
		{"exit", "Runtime.ExitError", "exit status 7", false},
	} {
		_, _, err := invoke(t, h, c.do, "no luck")
		failed, ok := errors.AsType[*lambdaemu.FunctionError](err)
		if !ok || failed.Type != c.errorType || !strings.Contains(failed.Message, c.text) {
			t.Errorf("%s: %v, want %s with %q", c.do, err, c.errorType, c.text)
		}
		after, _, err := invoke(t, h, "", "")
		if err != nil || (after["pid"] == before["pid"]) != c.samePid {
			t.Errorf("after %s: %v, %v; process before: %s", c.do, after, err, before["pid"])
		}
		before = after
	}
}

// An invocation that takes too long ends with its process.
func TestTimeout(t *testing.T) {
	h := host(t, lambdaemu.Options{Timeout: 500 * time.Millisecond})
	_, _, err := invoke(t, h, "hang", "")
	failed, ok := errors.AsType[*lambdaemu.FunctionError](err)
	if !ok || failed.Type != "Sandbox.Timedout" || !strings.Contains(failed.Message, "0.50 seconds") {
		t.Errorf("hang: %v, want that it timed out", err)
	}
}

func TestNoStart(t *testing.T) {
	r, w := io.Pipe()
	said := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(r).ReadString('\n')
		said <- line
		_, _ = io.Copy(io.Discard, r)
	}()
	h := host(t, lambdaemu.Options{Out: w})
	defer func() { _ = w.Close() }()
	_, err := h.Invoke(t.Context(), "no-start", []byte("{}"))
	if failed, ok := errors.AsType[*lambdaemu.FunctionError](err); !ok || !strings.Contains(failed.Message, "exit status 1") {
		t.Errorf("invoked: %v", err)
	}
	if line := <-said; line != "configuration: nothing is set\n" {
		t.Errorf("logged %q", line)
	}
	_, err = host(t, lambdaemu.Options{InitTimeout: 50 * time.Millisecond}).Invoke(t.Context(), "sleeper", []byte("{}"))
	if failed, ok := errors.AsType[*lambdaemu.FunctionError](err); !ok || failed.Type != "Runtime.InitError" {
		t.Errorf("a function that never asks: %v", err)
	}
	if _, err = h.Invoke(t.Context(), "nobody", nil); !errors.Is(err, lambdaemu.ErrUnknownFunction) {
		t.Errorf("unknown function: %v", err)
	}
}

// TestParallel: one invocation at a time in a process, several processes at
// once, no more than allowed.
func TestParallel(t *testing.T) {
	r, w := io.Pipe()
	defer func() { _ = w.Close() }()
	h := host(t, lambdaemu.Options{MaxInstances: 3, Out: w})
	flag := filepath.Join(t.TempDir(), "go")
	var mu sync.Mutex
	pids := map[string]int{}
	var all sync.WaitGroup
	for range 7 {
		all.Go(func() {
			out, _, err := invoke(t, h, "wait", flag)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			pids[out["pid"]]++
		})
	}
	said := bufio.NewReader(r)
	for range 3 { // each is at work, and stays so until there is the flag
		if _, err := said.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	go func() { _, _ = io.Copy(io.Discard, said) }()
	if err := os.WriteFile(flag, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	all.Wait()
	if len(pids) != 3 {
		t.Errorf("invocations ran in %d processes, want 3", len(pids))
	}
}

// TestCallerGivesUp: the caller's end is not the invocation's.
func TestCallerGivesUp(t *testing.T) {
	r, w := io.Pipe()
	defer func() { _ = w.Close() }()
	h := host(t, lambdaemu.Options{MaxInstances: 1, Out: w})
	flag := filepath.Join(t.TempDir(), "go")
	ctx, cancel := context.WithCancel(t.Context())
	go func() { // once it runs, its caller leaves
		_, _ = bufio.NewReader(r).ReadString('\n')
		cancel()
		_, _ = io.Copy(io.Discard, r)
	}()
	event, err := json.Marshal(map[string]string{"Do": "wait", "Text": flag})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Invoke(ctx, "echo", event); !errors.Is(err, context.Canceled) {
		t.Fatalf("invoked: %v", err)
	}
	if err := os.WriteFile(flag, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	out, _, err := invoke(t, h, "", "")
	if err != nil || out["served"] != "2" {
		t.Errorf("the next invocation: %v, %v; want the same process's second", out, err)
	}
}

func TestCloseEndsWhatRuns(t *testing.T) {
	r, w := io.Pipe()
	defer func() { _ = w.Close() }()
	h := host(t, lambdaemu.Options{Out: w})
	go func() {
		_, _ = bufio.NewReader(r).ReadString('\n')
		h.Close()
		_, _ = io.Copy(io.Discard, r)
	}()
	if _, _, err := invoke(t, h, "wait", "/does/not/exist"); err == nil {
		t.Error("an invocation succeeded on a closed host")
	}
}
