package childproc

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"cloudsession/infra/local/leaktest"
)

// TestMain makes this test binary its own children, by the variable CHILDPROC_ROLE.
func TestMain(m *testing.M) {
	switch os.Getenv("CHILDPROC_ROLE") {
	case "":
		leaktest.Main(m)
	case "wait": // ends at SIGTERM
		stop := make(chan os.Signal, 1)
		signal.Notify(stop, syscall.SIGTERM)
		fmt.Println("ready")
		<-stop
		fmt.Println("bye")
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
		fmt.Println("ready")
		<-time.After(time.Hour)
	case "fail":
		fmt.Println("environment:", os.Environ())
		os.Exit(3)
	case "parent", "watched parent": // starts a child, says its number, waits to be killed
		parent(os.Getenv("CHILDPROC_ROLE") == "watched parent")
	}
}

func parent(watched bool) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = []string{"CHILDPROC_ROLE=wait"}
	start := startTied
	if watched {
		start = startWatched
	}
	if _, err := start(cmd); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(cmd.Process.Pid)
	<-time.After(time.Hour)
}
