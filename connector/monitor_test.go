package main

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// monitored serves a monitor's routes on a free port, and returns its address.
func monitored(t *testing.T, dir string) (*monitor, string) {
	t.Helper()
	var log bytes.Buffer
	m, err := openMonitor(t.Context(), "127.0.0.1:0", dir, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.close(); err != nil {
			t.Error(err)
		}
	})
	_, after, found := strings.Cut(log.String(), "addr=")
	if !found || strings.Contains(log.String(), "WARN") {
		t.Fatalf("the log names no address, or warns of loopback: %s", log.String())
	}
	return m, "http://" + strings.TrimSpace(after)
}

// get asks until there is an answer: the server hangs up on a client that a slow machine keeps from asking in time.
func get(t *testing.T, url string) (int, string) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for {
		status, body, err := tryGet(url)
		if err == nil {
			return status, body
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func tryGet(url string) (int, string, error) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}
	resp, err := client.Get(url)
	if err != nil {
		return 0, "", err
	}
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), errors.Join(err, resp.Body.Close())
}

// Before the start is done the process works, and takes nothing yet.
func TestMonitorBeforeTheStart(t *testing.T) {
	m, url := monitored(t, t.TempDir())
	if status, body := get(t, url+"/healthz"); status != http.StatusOK {
		t.Errorf("/healthz: %d %s", status, body)
	}
	if status, body := get(t, url+"/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(body, `"start":`) {
		t.Errorf("/readyz: %d %s", status, body)
	}
	if status, body := get(t, url+"/metrics"); status != http.StatusOK || !strings.Contains(body, "cloudsession_build_info") {
		t.Errorf("/metrics: %d %s", status, body)
	}
	if status, _ := get(t, url+"/else"); status != http.StatusNotFound {
		t.Errorf("/else: %d", status)
	}
	// A start that hangs is not alive.
	m.pulse.Beat(-time.Second)
	if status, body := get(t, url+"/healthz"); status != http.StatusServiceUnavailable || !strings.Contains(body, `"heartbeat":`) {
		t.Errorf("/healthz without a heartbeat: %d %s", status, body)
	}
}

func TestHealthzWritesToTheDataDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	_, url := monitored(t, dir) // which isn't there
	status, body := get(t, url+"/healthz")
	if status != http.StatusServiceUnavailable || !strings.Contains(body, `"data_dir":`) || strings.Contains(body, dir) {
		t.Errorf("without a data directory: %d %s", status, body)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the first leaves a file behind
		if status, body := get(t, url+"/healthz"); status != http.StatusOK {
			t.Errorf("with one: %d %s", status, body)
		}
	}
}

func TestMonitorAddress(t *testing.T) {
	_, url := monitored(t, t.TempDir())
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	_, err := openMonitor(t.Context(), strings.TrimPrefix(url, "http://"), t.TempDir(), logger)
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "METRICS_ADDR") {
		t.Errorf("a port that is taken: %v", err)
	}
	off, err := openMonitor(t.Context(), "", t.TempDir(), logger)
	if err != nil || off.close() != nil || log.Len() > 0 {
		t.Errorf("turned off: %v, log %q", err, log.String())
	}
	// All addresses of this machine, loopback among them.
	open, err := openMonitor(t.Context(), ":0", t.TempDir(), logger)
	if err != nil {
		t.Fatal(err)
	}
	if err := open.close(); err != nil || !strings.Contains(log.String(), "WARN") || !strings.Contains(log.String(), "without authentication") {
		t.Errorf("on all addresses: %v, log %q", err, log.String())
	}
}

// Empty turns metrics off, which is something else than not set.
func TestMetricsAddrNotSet(t *testing.T) {
	for name, c := range map[string]struct {
		env  map[string]string
		want string
	}{
		"not set": {map[string]string{}, "127.0.0.1:9464"},
		"empty":   {map[string]string{"METRICS_ADDR": ""}, ""},
		"set":     {map[string]string{"METRICS_ADDR": "10.0.0.1:1"}, "10.0.0.1:1"},
	} {
		var cfg Config
		if unread, err := (program{env: c.env}).read(&cfg); err != nil || len(unread) > 0 || cfg.Addr != c.want {
			t.Errorf("%s: %q, %v, %v; want %q", name, cfg.Addr, unread, err, c.want)
		}
	}
	for _, addr := range []string{"9464", "localhost", "127.0.0.1:http", "127.0.0.1:99999", "::1:9464"} {
		if err := (Monitoring{Addr: addr}).addrProblem(); err == nil || !strings.Contains(err.Error(), "METRICS_ADDR") {
			t.Errorf("%q: %v", addr, err)
		}
	}
	for _, addr := range []string{"", ":9464", "[::1]:9464", "localhost:0"} {
		if err := (Monitoring{Addr: addr}).addrProblem(); err != nil {
			t.Errorf("%q: %v", addr, err)
		}
	}
}
