package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"
)

// usage is what a process has used so far.
type usage struct {
	cpu      time.Duration // user and system
	resident int64         // bytes in memory (RSS)
}

// tick is the unit of processor times in /proc, which is the same on all of
// Linux's architectures that Go knows (USER_HZ).
const tick = time.Second / 100

// usageOf reads a process's usage as Linux shows it (proc(5)).
func usageOf(pid int) (usage, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return usage{}, fmt.Errorf("read processor time of process %d (Linux only): %w", pid, err)
	}
	// Not of status or stat: the kernel keeps those only roughly up to date.
	rollup, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return usage{}, fmt.Errorf("read memory of process %d (Linux 4.14 or later): %w", pid, err)
	}
	u := usage{}
	if u.cpu, err = parseStat(stat); err != nil {
		return u, fmt.Errorf("read processor time of process %d: %w", pid, err)
	}
	if u.resident, err = parseRollup(rollup); err != nil {
		return u, fmt.Errorf("read memory of process %d: %w", pid, err)
	}
	return u, nil
}

// parseStat reads utime and stime, the 14th and 15th field. The second one is
// the program's name in parentheses and may hold spaces.
func parseStat(stat []byte) (time.Duration, error) {
	_, rest, found := bytes.Cut(stat[bytes.LastIndexByte(stat, ')')+1:], []byte(" "))
	fields := bytes.Fields(rest)
	const utime, stime = 14 - 3, 15 - 3
	if !found || len(fields) <= stime {
		return 0, errors.New("too few fields in stat")
	}
	var ticks time.Duration
	for _, field := range fields[utime : stime+1] {
		n, err := strconv.ParseInt(string(field), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("parse stat: %w", err)
		}
		ticks += time.Duration(n)
	}
	return ticks * tick, nil
}

func parseRollup(rollup []byte) (int64, error) {
	for line := range bytes.Lines(rollup) {
		fields := bytes.Fields(line)
		if len(fields) != 3 || string(fields[0]) != "Rss:" {
			continue
		}
		n, err := strconv.ParseInt(string(fields[1]), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("parse smaps_rollup: %w", err)
		}
		return n << 10, nil
	}
	return 0, errors.New("no Rss line in smaps_rollup")
}

// megabytes writes a number of bytes for people.
func megabytes(n int64) string { return fmt.Sprintf("%.0f MB", float64(n)/1e6) }
