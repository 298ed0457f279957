package crashmatrix_test

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"

	"cloudsession/infra/local/faultproxy"
	"cloudsession/shared/cloudstore"
)

// step is one statement of an operation: the nth of those with its digest. How
// it is sent, as text or prepared, depends on its size, and is left out.
type step struct {
	digest string
	nth    int
}

var tableName = regexp.MustCompile(`(?i)(?:from|into|update|join) ([a-z_]+)`)

// String is short enough for a test's name.
func (s step) String() string {
	name := strings.ToLower(strings.SplitN(s.digest, " ", 2)[0])
	if m := tableName.FindStringSubmatch(s.digest); m != nil {
		name += "-" + m[1]
	}
	if s.nth > 1 {
		name += fmt.Sprintf("-%d", s.nth)
	}
	return name
}

// reads tells whether the statement changes nothing.
func (s step) reads() bool {
	return strings.HasPrefix(s.digest, "SELECT") || strings.HasPrefix(s.digest, "START")
}

// polled is what a handover's target asks again and again, more or less often,
// until the session is free. It counts as one step.
var polled = regexp.MustCompile(`^SELECT .* FROM commands WHERE command_id = \?$`)

// mode is what becomes of a statement.
type mode string

const (
	fails      mode = "fails"       // TiDB never sees it
	tookEffect mode = "took-effect" // only its answer is lost
	landsLate  mode = "lands-late"  // TiDB sees it when somebody else is in charge
	waits      mode = "waits"       // it is held until it is released: no fault
)

// fault is what happens at one step.
type fault struct {
	at    step
	mode  mode
	crash bool                     // the connector's links are cut for good at that moment
	match func(digest string) bool // in place of at, if there is one
}

// link is a connector's way to TiDB. While it is armed it notes statements, and
// breaks at the one of its fault.
type link struct {
	config cloudstore.Config // to reach the engine through it
	proxy  *faultproxy.Proxy
	cutAll func() // with a crash

	mu     sync.Mutex
	armed  bool
	seen   []step
	count  map[string]int
	fault  *fault
	fired  chan struct{} // closed when the fault has happened
	late   chan struct{} // closed to let a late statement arrive
	landed chan struct{} // closed when it has
	once   sync.Once
	waits  bool // a statement is held to land late
}

func newLink(t testing.TB, c cloudstore.Config) *link {
	t.Helper()
	l := &link{config: c, count: map[string]int{}, fired: make(chan struct{}), late: make(chan struct{}), landed: make(chan struct{})}
	var err error
	if l.proxy, err = faultproxy.StartMySQL(fmt.Sprintf("%s:%d", c.Host, c.Port), l.judge); err != nil {
		t.Fatal(err)
	}
	l.cutAll = l.cut
	t.Cleanup(func() {
		l.release()
		if err := l.proxy.Close(); err != nil {
			t.Error(err)
		}
	})
	l.config.Port = port(t, l.proxy.Addr())
	return l
}

func (l *link) cut() { l.proxy.Set(faultproxy.Fault{Cut: true}) }

// release lets a late statement arrive.
func (l *link) release() { l.once.Do(func() { close(l.late) }) }

// arm begins to note statements; f may be nil.
func (l *link) arm(f *fault) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.armed, l.fault = true, f
}

// disarm ends it and returns what was seen.
func (l *link) disarm() []step {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.armed = false
	return l.seen
}

// pending tells whether a fault is still to happen.
func (l *link) pending() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fault != nil
}

// held tells whether a statement waits to land late, or has waited.
func (l *link) held() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.waits
}

func (l *link) hasFired() bool {
	select {
	case <-l.fired:
		return true
	default:
		return false
	}
}

func (l *link) judge(st faultproxy.Statement) faultproxy.Verdict {
	digest := st.Digest()
	if st.Kind == faultproxy.Prepare || digest == "ROLLBACK" || strings.HasPrefix(digest, "SET ") {
		return faultproxy.Verdict{} // without effect, what a lost connection does anyway, a connection being made
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.armed {
		return faultproxy.Verdict{}
	}
	if l.count[digest]++; l.count[digest] > 1 && polled.MatchString(digest) {
		return faultproxy.Verdict{}
	}
	at := step{digest, l.count[digest]}
	l.seen = append(l.seen, at)
	if l.fault == nil || l.fault.at != at && (l.fault.match == nil || !l.fault.match(digest)) {
		return faultproxy.Verdict{}
	}
	f := *l.fault
	l.fault = nil
	switch f.mode {
	case tookEffect:
		return faultproxy.Verdict{Action: faultproxy.FailAfter, Then: func() { l.happened(f) }}
	case landsLate:
		l.waits = true
		return faultproxy.Verdict{Action: faultproxy.LateCut, Until: l.late, Held: func() { l.happened(f) }, Then: func() { close(l.landed) }}
	case waits:
		return faultproxy.Verdict{Action: faultproxy.Late, Until: l.late, Held: func() { l.happened(f) }}
	default:
		return faultproxy.Verdict{Action: faultproxy.FailBefore, Then: func() { l.happened(f) }}
	}
}

func (l *link) happened(f fault) {
	if f.crash {
		l.cutAll()
	}
	close(l.fired)
}
