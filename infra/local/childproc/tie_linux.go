package childproc

import (
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// startTied starts cmd so that the kernel kills it when this process dies. The
// signal comes when the *thread* that forked ends (prctl(2), PR_SET_PDEATHSIG),
// so all children are forked by one thread that stays as long as any of them.
func startTied(cmd *exec.Cmd) (release func(), err error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	forker.hold() <- func() { started <- cmd.Start() }
	if err := <-started; err != nil {
		forker.release()
		return nil, err
	}
	return forker.release, nil
}

// forkThread is one thread of the system, there while somebody holds it.
type forkThread struct {
	mu      sync.Mutex
	holders int
	work    chan func() // unbuffered; a holder may send
	gone    chan struct{}
}

var forker forkThread

// hold makes sure of the thread and returns where its work goes.
func (f *forkThread) hold() chan<- func() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.holders++
	if f.holders > 1 {
		return f.work
	}
	work, gone := make(chan func()), make(chan struct{})
	f.work, f.gone = work, gone
	go func() {
		defer close(gone)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		for run := range work {
			run()
		}
	}()
	return work
}

func (f *forkThread) release() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.holders--; f.holders == 0 {
		close(f.work)
		<-f.gone
	}
}
