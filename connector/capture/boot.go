package capture

import (
	"fmt"
	"os"
	"strings"
	"syscall"
)

// bootIDPath is the kernel's random id of the running boot, see random(4).
const bootIDPath = "/proc/sys/kernel/random/boot_id"

// BootID returns the id of the running boot. A file begun in another boot may
// have lost its last commits, since synchronous is NORMAL.
func BootID() (string, error) {
	data, err := os.ReadFile(bootIDPath)
	if err != nil {
		return "", fmt.Errorf("read boot id: %w", err)
	}
	id := strings.TrimSpace(string(data))
	if id == "" {
		return "", fmt.Errorf("read boot id: %s is empty", bootIDPath)
	}
	return id, nil
}

// Inode returns the inode number of the file at path. A copy put in its place
// has another one.
func Inode(path string) (uint64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, fmt.Errorf("read inode: %w", err)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, fmt.Errorf("read inode of %s: the file system tells none", path)
	}
	return stat.Ino, nil
}
