//go:build unix

package childproc

import (
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"syscall"
)

// startWatched starts cmd and, beside it, a shell that reads from a pipe whose
// other end only this process holds: when this process dies, the read ends and
// the shell kills cmd's group. It is for systems whose kernel can't do that.
func startWatched(cmd *exec.Cmd) (release func(), err error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	group := strconv.Itoa(cmd.Process.Pid)
	//nolint:gosec,noctx // fixed text and a number; it ends with what it watches
	watcher := exec.Command("/bin/sh", "-c", `read -r _ || kill -KILL "-$1"`, "watch", group)
	watcher.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	pipe, err := watcher.StdinPipe()
	if err == nil {
		err = watcher.Start()
	}
	if err != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
		return nil, fmt.Errorf("start its watcher: %w", err)
	}
	return func() {
		// A line ends the watcher without killing: by now the number may be another's.
		_, _ = io.WriteString(pipe, "\n")
		_ = watcher.Wait() // its exit status says nothing
	}, nil
}
