package leaktest

import (
	"testing"
	"time"
)

func TestMain(m *testing.M) { Main(m) }

// A goroutine that takes its time to end is none that is left.
func TestFindWaits(t *testing.T) {
	stop := make(chan struct{})
	go func() { <-stop }()
	time.AfterFunc(time.Second, func() { close(stop) })
	if err := Find(); err != nil {
		t.Error(err)
	}
}
