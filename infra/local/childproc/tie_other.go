//go:build unix && !linux

package childproc

import "os/exec"

func startTied(cmd *exec.Cmd) (release func(), err error) { return startWatched(cmd) }
