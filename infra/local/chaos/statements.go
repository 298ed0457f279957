package chaos

import (
	"strings"
	"sync"

	"cloudsession/infra/local/faultproxy"
)

// commitLoser decides about a machine's statements: some lose their answers, and
// some arrive late.
type commitLoser struct {
	mu    sync.Mutex
	lose  bool
	late  chan struct{} // not nil: writes are held until it is closed
	count int
	hits  int
}

// judge is a hook of faultproxy. Every second statement that matters is hit, so
// that a client that tries again gets through.
func (c *commitLoser) judge(s faultproxy.Statement) faultproxy.Verdict {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.lose && c.late == nil || s.Kind == faultproxy.Prepare || !changes(s.Text) {
		return faultproxy.Verdict{}
	}
	if c.count++; c.count%2 == 0 {
		return faultproxy.Verdict{}
	}
	c.hits++
	if c.late != nil {
		return faultproxy.Verdict{Action: faultproxy.LateCut, Until: c.late}
	}
	return faultproxy.Verdict{Action: faultproxy.FailAfter}
}

// changes tells statements that change something, alone or with others.
func changes(text string) bool {
	word, _, _ := strings.Cut(strings.TrimSpace(text), " ")
	switch strings.ToUpper(word) {
	case "COMMIT", "INSERT", "UPDATE", "DELETE":
		return true
	default:
		return false
	}
}

func (c *commitLoser) loseAnswers() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lose = true
}

func (c *commitLoser) holdWrites() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.late == nil {
		c.late = make(chan struct{})
	}
}

// stop ends both, and lets go what was held.
func (c *commitLoser) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lose = false
	if c.late != nil {
		close(c.late)
		c.late = nil
	}
}
