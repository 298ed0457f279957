//go:build interop

package interop

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// sandbox is a root shell on a copy of this machine: its files under an overlay in
// memory, in namespaces of its own. What is installed and started there is gone
// with the test, and never was on this machine.
type sandbox struct {
	t   *testing.T
	in  io.WriteCloser
	out *bufio.Reader
}

// sandboxRoot makes the overlay and changes into it. /mnt is the given folder.
const sandboxRoot = `set -eu
mount --make-rprivate /
top=$1 shared=$2
mount -t tmpfs tmpfs "$top"
mkdir "$top/upper" "$top/work" "$top/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$top/upper,workdir=$top/work" "$top/root"
cd "$top/root"
mount -t proc proc proc
mount --rbind /dev dev
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
mount --bind "$shared" mnt
mkdir before
pivot_root . before # a chroot could make no user namespaces
cd /
umount -l /before
exec /bin/sh 2>&1
`

// newSandbox opens a sandbox that lasts as long as the test; shared is its /mnt.
func newSandbox(t *testing.T, shared string) *sandbox {
	t.Helper()
	need(t, "unshare", "apt-get install util-linux")
	if os.Geteuid() != 0 {
		t.Fatal("only root can lay a copy over this machine's files: run make interop as root")
	}
	cmd := exec.Command("unshare", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child",
		"/bin/sh", "-c", sandboxRoot, "sh", t.TempDir(), shared)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Process.Kill() // and with it, by --kill-child, everything in there
		_ = cmd.Wait()
	})
	return &sandbox{t: t, in: in, out: bufio.NewReader(out)}
}

// endMark separates one command's output from the next one's.
const endMark = "--- ended with "

// try runs a shell command and returns what it said and its exit code.
func (s *sandbox) try(command string) (out string, code int) {
	s.t.Helper()
	fmt.Fprintf(s.in, "( set -eu\n%s\n) </dev/null; printf '\\n%s%%d\\n' $?\n", command, endMark)
	return s.answer(command)
}

// answer reads what a command says, up to the mark at its end.
func (s *sandbox) answer(command string) (out string, code int) {
	s.t.Helper()
	var b strings.Builder
	for {
		line, err := s.out.ReadString('\n')
		if err != nil {
			s.t.Fatalf("sandbox ended during %q: %v\n%s%s", command, err, b.String(), line)
		}
		if rest, ended := strings.CutPrefix(line, endMark); ended {
			code, err = strconv.Atoi(strings.TrimSpace(rest))
			if err != nil {
				s.t.Fatal(err)
			}
			return strings.TrimSpace(b.String()), code
		}
		b.WriteString(line)
	}
}

// run is try for a command that must succeed.
func (s *sandbox) run(command string) string {
	s.t.Helper()
	out, code := s.try(command)
	if code != 0 {
		s.t.Fatalf("exit code %d of:\n%s\n%s", code, command, out)
	}
	return out
}

// until repeats a command until it succeeds, for a minute.
func (s *sandbox) until(command string) {
	s.t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for {
		out, code := s.try(command)
		if code == 0 {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("still exit code %d of:\n%s\n%s", code, command, out)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// is checks what a command says.
func (s *sandbox) is(want, command string) {
	s.t.Helper()
	if got := s.run(command); got != want {
		s.t.Errorf("%s says\n%s\nwant\n%s", command, got, want)
	}
}

func repository(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	return root
}
