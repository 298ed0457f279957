package main

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"cloudsession/functions/api/apitest"
	"cloudsession/infra/local/flock"
	"cloudsession/infra/local/leaktest"
	"cloudsession/infra/local/stack"
)

// TestMain makes this test binary the program itself when RUN_AS_PROGRAM is set.
func TestMain(m *testing.M) {
	if os.Getenv("RUN_AS_PROGRAM") == "" {
		leaktest.Main(m)
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, nil, os.Getenv, os.Stdout, os.Stderr); err != nil {
		fmt.Println("run:", err)
		os.Exit(1)
	}
}

// folder is a data folder with a path short enough for a socket.
func folder(t *testing.T) string {
	t.Helper()
	if err := stack.Build(t.Context(), t.Output()); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("/tmp", "run") //nolint:usetesting // t.TempDir's path is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// program starts `make run` on dir as a process and waits for its welcome.
func program(t *testing.T, dir string) (cmd *exec.Cmd, url, token string, rest *bufio.Reader) {
	t.Helper()
	cmd = exec.Command(os.Args[0])
	cmd.Env = []string{"RUN_AS_PROGRAM=1", "DATA=" + dir, "PORT=0", "HOME=" + os.Getenv("HOME"), "PATH=" + os.Getenv("PATH")}
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // ended already is fine
	rest = bufio.NewReader(out)
	var said strings.Builder
	for {
		line, err := rest.ReadString('\n')
		said.WriteString(line)
		if err != nil {
			t.Fatalf("it ended: %v\n%s", cmd.Wait(), &said)
		}
		if _, after, ok := strings.Cut(line, "API    "); ok {
			url = strings.TrimSpace(after)
		}
		if _, after, ok := strings.Cut(line, "export TOKEN="); ok {
			token = strings.TrimSpace(after)
		}
		if strings.HasSuffix(line, "/sync\n") {
			return cmd, url, token, rest
		}
	}
}

func sessions(t *testing.T, url, token string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/cloud/sessions", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Close = true
	checker, err := apitest.New()
	if err != nil {
		t.Fatal(err)
	}
	client := http.Client{Transport: checker.Transport(nil)}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		t.Fatal(err)
	}
	return resp.Status + " " + strings.TrimSpace(string(body))
}

const noSessions = `200 OK {"sessions":[]}`

// oneSession is what the API answers after addSession.
const oneSession = `200 OK {"sessions":[{"session_id":"personal","last_synced_at":"2026-08-01T10:00:03Z",` +
	`"created_at":"2026-08-01T10:00:01Z","updated_at":"2026-08-01T10:00:02Z"}]}`

// addSession writes a row into the running system's database.
func addSession(t *testing.T, dir string) {
	t.Helper()
	e, err := stack.Running(dir)
	if err != nil {
		t.Fatal(err)
	}
	c := mysql.NewConfig()
	c.Net, c.Addr = "tcp", net.JoinHostPort(e["TIDB_HOST"], e["TIDB_PORT"])
	c.User, c.Passwd, c.DBName = e["TIDB_USER"], e["TIDB_PASSWORD"], e["TIDB_DATABASE"]
	connector, err := mysql.NewConnector(c)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	_, err = db.ExecContext(t.Context(), `INSERT INTO whatsapp_sessions
		(session_id, session_data, created_at, updated_at, last_synced_at)
		VALUES ('personal', 'sealed', '2026-08-01 10:00:01', '2026-08-01 10:00:02', '2026-08-01 10:00:03')`)
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestRun: the welcome's URL and token work, a second one on the folder is
// refused, Ctrl-C leaves nothing behind, and a second start finds the first
// one's secrets and sessions.
func TestRun(t *testing.T) {
	dir := folder(t)
	cmd, url, token, rest := program(t, dir)
	if got := sessions(t, url, token); got != noSessions {
		t.Errorf("sessions: %s", got)
	}
	addSession(t, dir)
	running := processes(t, dir)

	getenv := func(name string) string { return map[string]string{"DATA": dir, "PORT": "0"}[name] }
	err := run(t.Context(), nil, getenv, io.Discard, io.Discard)
	if !errors.Is(err, stack.ErrInUse) || !strings.Contains(err.Error(), url) {
		t.Errorf("a second one on the folder: %v", err)
	}

	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	said, err := io.ReadAll(rest)
	if err := errors.Join(err, cmd.Wait()); err != nil || !strings.Contains(string(said), "stopped; the data is in "+dir) {
		t.Errorf("after Ctrl-C: %v\n%s", err, said)
	}
	nothingRuns(t, running)

	cmd, url, _, rest = program(t, dir)
	if got := sessions(t, url, token); got != oneSession {
		t.Errorf("sessions of the second start, with the first one's token: %s", got)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_, err = io.ReadAll(rest)
	if err := errors.Join(err, cmd.Wait()); err != nil {
		t.Error(err)
	}
}

// TestKilled: kill -9 leaves nothing behind either, and the next start works.
func TestKilled(t *testing.T) {
	dir := folder(t)
	cmd, _, _, _ := program(t, dir)
	running := processes(t, dir)
	addSession(t, dir)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("a killed process ended well")
	}
	nothingRuns(t, running)
	if _, err := stack.Running(dir); !errors.Is(err, stack.ErrNotRunning) {
		t.Errorf("running after kill -9: %v", err)
	}
	cmd, url, token, rest := program(t, dir)
	if got := sessions(t, url, token); got != oneSession {
		t.Errorf("sessions after kill -9 and another start: %s", got)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_, err := io.ReadAll(rest)
	if err := errors.Join(err, cmd.Wait()); err != nil {
		t.Error(err)
	}
}

// leftovers are what shows that a process of the running system lives: locks that
// end with their processes, and the connector's socket. Not ports: whoever asks
// next may get the number that was just given up.
type leftovers struct {
	locks  []string
	socket string
}

// processes looks at the running system, whose processes must all be there.
func processes(t *testing.T, dir string) leftovers {
	t.Helper()
	e, err := stack.Running(dir)
	if err != nil {
		t.Fatal(err)
	}
	found := leftovers{
		locks: []string{
			filepath.Join(dir, "stack.lock"),        // API and queue
			filepath.Join(dir, "tidb", "LOCK.tidb"), // the database engine
			filepath.Join(e["DATA_DIR"], "lock"),    // the connector
		},
		socket: filepath.Join(e["DATA_DIR"], "connector.sock"),
	}
	for _, l := range [][2]string{
		{"tcp", strings.TrimPrefix(e["API_URL"], "http://")},
		{"tcp", net.JoinHostPort(e["TIDB_HOST"], e["TIDB_PORT"])},
		{"tcp", strings.TrimPrefix(e["AWS_ENDPOINT_URL_SQS"], "http://")},
		{"unix", found.socket},
	} {
		if !listens(t, l[0], l[1]) {
			t.Errorf("nobody listens on %s", l)
		}
	}
	for _, name := range found.locks {
		if !held(t, name) {
			t.Errorf("nobody holds %s", name)
		}
	}
	return found
}

func listens(t *testing.T, network, address string) bool {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), network, address)
	if err != nil {
		return false
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	return true
}

func held(t *testing.T, lock string) bool {
	t.Helper()
	l, _, err := flock.Try(lock)
	if err == nil {
		err = l.Unlock()
	}
	if err != nil && !errors.Is(err, flock.ErrHeld) {
		t.Fatal(err)
	}
	return err != nil
}

// nothingRuns waits until nothing is left: a child of a killed process is killed
// a moment later, and the engine gives its folder up last of all.
func nothingRuns(t *testing.T, l leftovers) {
	t.Helper()
	deadline := time.After(2 * time.Minute)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	wait := func(does string, left func() bool) {
		t.Helper()
		for left() {
			select {
			case <-tick.C:
			case <-deadline:
				t.Fatalf("somebody still %s", does)
			}
		}
	}
	for _, name := range l.locks {
		wait("holds "+name, func() bool { return held(t, name) })
	}
	wait("listens on "+l.socket, func() bool { return listens(t, "unix", l.socket) })
}

func TestMistakes(t *testing.T) {
	busy, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = busy.Close() }()
	_, port, err := net.SplitHostPort(busy.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		port, want string
		args       []string
	}{
		{"http", "PORT", nil},
		{"65536", "PORT", nil},
		{"-1", "PORT", nil},
		{port, "another program listens on 127.0.0.1:" + port, nil},
		{"0", "no arguments", []string{"--port"}},
	} {
		getenv := func(name string) string { return map[string]string{"PORT": c.port, "DATA": t.TempDir()}[name] }
		if err := run(t.Context(), c.args, getenv, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("PORT=%s %v: %v, want %q", c.port, c.args, err, c.want)
		}
	}
}
