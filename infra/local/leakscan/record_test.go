package leakscan

import (
	"bytes"
	"io"
	"net/http"
	"sync"
)

// places is everything that was seen, by where.
type places struct {
	mu   sync.Mutex
	seen map[string]*bytes.Buffer
}

func (p *places) add(where string, data ...[]byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.seen == nil {
		p.seen = map[string]*bytes.Buffer{}
	}
	if p.seen[where] == nil {
		p.seen[where] = &bytes.Buffer{}
	}
	for _, d := range data {
		p.seen[where].Write(d)
		p.seen[where].WriteByte('\n')
	}
}

// scan names what was found, by place.
func (p *places) scan(s *Scanner) map[string][]string {
	p.mu.Lock()
	defer p.mu.Unlock()
	found := map[string][]string{}
	for where, b := range p.seen {
		if names := s.Scan(b.Bytes()); len(names) > 0 {
			found[where] = names
		}
	}
	return found
}

// log is a place to write to.
type log struct {
	*places
	where string
}

func (l log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seen == nil {
		l.seen = map[string]*bytes.Buffer{}
	}
	if l.seen[l.where] == nil {
		l.seen[l.where] = &bytes.Buffer{}
	}
	return l.seen[l.where].Write(b)
}

// recorder is a transport that notes answers, and requests' bodies as well if told.
type recorder struct {
	*places
	where    string
	requests bool
	next     http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (r recorder) RoundTrip(request *http.Request) (*http.Response, error) {
	if r.requests && request.Body != nil {
		body, err := io.ReadAll(request.Body)
		if err != nil {
			return nil, err
		}
		request = request.Clone(request.Context())
		request.Body = io.NopCloser(bytes.NewReader(body))
		r.add(r.where, []byte(request.URL.String()), body)
	}
	response, err := r.next.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if err := response.Body.Close(); err != nil {
		return nil, err
	}
	response.Body = io.NopCloser(bytes.NewReader(body))
	var header bytes.Buffer
	if err := response.Header.Write(&header); err != nil {
		return nil, err
	}
	r.add(r.where, header.Bytes(), body)
	return response, nil
}
