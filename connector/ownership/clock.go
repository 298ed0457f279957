package ownership

import (
	"time"

	"golang.org/x/sys/unix"
)

// BootClock reads CLOCK_BOOTTIME: the time since boot, including time spent
// suspended (clock_gettime(2)). Unlike the wall clock nobody can step it, and
// unlike Go's monotonic clock it does not stand still while the machine sleeps.
func BootClock() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		// Every Linux since 2.6.39 has this clock; a kernel without it can't
		// tell how long the process was stopped, so no lease may be trusted.
		panic("read the boot-time clock: " + err.Error())
	}
	return time.Duration(ts.Nano())
}
