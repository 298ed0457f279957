package replicate

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"cloudsession/connector/capture"
	"cloudsession/connector/capture/capturetest"
	"cloudsession/infra/local/tidbtest"
	"cloudsession/shared/cloudstore"
	"cloudsession/shared/envelope"
)

// helperEnv makes the test binary a process that replicates a session until it is killed; its value
// is a helperTask.
const helperEnv = "CLOUDSESSION_REPLICATE_HELPER"

type helperTask struct {
	Store cloudstore.Config
	Path  string
	Term  Term
	Seed  uint64
}

// helper pushes a base, and then commits changes that it never gets to push.
func helper(task string) int {
	if err := runHelper(context.Background(), task); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func runHelper(ctx context.Context, encoded string) error {
	var task helperTask
	if err := json.Unmarshal([]byte(encoded), &task); err != nil {
		return err
	}
	store, err := cloudstore.Open(task.Store)
	if err != nil {
		return err
	}
	keys, err := envelope.NewKeyring(secret)
	if err != nil {
		return err
	}
	f, err := capture.Open(ctx, task.Path, capture.Options{})
	if err != nil {
		return err
	}
	ops, err := capturetest.NewOps(ctx, f.DB(), task.Seed)
	if err != nil {
		return err
	}
	if _, err := f.Install(ctx); err != nil {
		return err
	}
	faults := &faulty{cloud: store}
	s, err := New(faults, keys, Options{Credentials: testCredentials}).Attach(ctx, f, task.Term)
	if err != nil {
		return err
	}
	if err := s.Flush(ctx); err != nil {
		return err
	}
	faults.set(func(context.Context, string, []string) fault { return lost })
	for range 60 {
		if _, err := ops.Step(ctx); err != nil {
			return err
		}
		s.Changed()
	}
	sum, err := dumpSum(ctx, f)
	if err != nil {
		return err
	}
	fmt.Println(sum)
	select {} // until killed
}

func dumpSum(ctx context.Context, f *capture.File) (string, error) {
	d, err := capturetest.Dump(ctx, f.DB())
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(d)
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), err
}

// TestKilledBetweenCommitAndPush kills a real process after its last commit and before its push.
func TestKilledBetweenCommitAndPush(t *testing.T) {
	config := tidbtest.Start(t)
	g := newRig(t, openTiDB(t, config))
	path := filepath.Join(t.TempDir(), "session.db")
	for round := range 3 {
		id := fmt.Sprintf("killed %d", round)
		path := path + id
		taken := g.take(id, true, func(cloudstore.Parent) string { return StartNew })
		task, err := json.Marshal(helperTask{
			Store: config, Path: path, Seed: uint64(round),
			Term: Term{SessionID: id, Epoch: taken.Epoch, Start: StartNew, BootID: g.boot},
		})
		g.must(err)
		committed := killHelper(t, string(task))

		l := &live{rig: g, id: id}
		l.open(path)
		l = l.restart(g.boot)
		if l.taken.Start != StartOwnFile {
			t.Fatalf("start %s after a kill", l.taken.Start)
		}
		if sum, err := dumpSum(t.Context(), l.file); err != nil || sum != committed {
			t.Fatalf("the file has lost commits: %s, not %s (%v)", sum, committed, err)
		}
		want := g.dump(l.file)
		l.flush()
		_, restored, _ := g.restored(id, "")
		g.equal("after a kill", want, g.dumpAt(restored))
	}
}

// killHelper starts a helper, waits until it has committed all it will, and kills it.
func killHelper(t *testing.T, task string) (committed string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), helperEnv+"="+task)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := bufio.NewScanner(out)
	if !line.Scan() {
		t.Errorf("helper said nothing: %v", line.Err())
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait() // killed
	return line.Text()
}
