package cloudstore_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"testing"

	"cloudsession/infra/local/faultproxy"
	"cloudsession/shared/cloudstore"
)

// proxy stands between a store and the engine and loses answers on demand.
type proxy struct {
	*faultproxy.Proxy
	config cloudstore.Config             // to reach the engine through it
	watch  func(st faultproxy.Statement) // sees what clients send, if set before use

	mu         sync.Mutex
	statement  []byte // cut at a message that holds this
	afterwards bool   // let the engine carry it out first
	count      int
	then       func() // runs once the answer to be lost is there
}

func newProxy(t *testing.T, c cloudstore.Config) *proxy {
	t.Helper()
	p := &proxy{config: c}
	var err error
	if p.Proxy, err = faultproxy.StartMySQL(fmt.Sprintf("%s:%d", c.Host, c.Port), p.judge); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	_, port, err := net.SplitHostPort(p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	if p.config.Port, err = strconv.Atoi(port); err != nil {
		t.Fatal(err)
	}
	return p
}

// cut loses one answer: that of the next message that holds statement. With
// afterwards the engine gets the message, without it doesn't.
func (p *proxy) cut(statement string, afterwards bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.statement, p.afterwards = []byte(statement), afterwards
}

// afterCut has f run between the cut and the client's noticing.
func (p *proxy) afterCut(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.then = f
}

// thenDown has the engine go away with the cut.
func (p *proxy) thenDown() { p.afterCut(p.down) }

func (p *proxy) cuts() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count
}

// down breaks all connections and refuses new ones.
func (p *proxy) down() { p.Set(faultproxy.Fault{Cut: true}) }

func (p *proxy) up() { p.Set(faultproxy.Fault{}) }

func (p *proxy) judge(st faultproxy.Statement) faultproxy.Verdict {
	if p.watch != nil {
		p.watch(st)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.statement) == 0 || !bytes.Contains(st.Message, p.statement) {
		return faultproxy.Verdict{}
	}
	v := faultproxy.Verdict{Action: faultproxy.FailBefore, Then: p.then}
	if p.afterwards {
		v.Action = faultproxy.FailAfter
	}
	p.statement, p.then = nil, nil
	p.count++
	return v
}

// closeQuietly closes what the other side may have closed already.
func closeQuietly(c io.Closer) { _ = c.Close() }
