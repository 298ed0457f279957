package faultproxy

import (
	"bufio"
	"encoding/binary"
	"io"
	"sync"
)

// Kind is what a client asks of the database.
type Kind string

// The kinds of statements that a hook sees.
const (
	Query   Kind = "query"   // a statement as text, values and all
	Prepare Kind = "prepare" // a statement to be executed later
	Execute Kind = "execute" // of a prepared statement, whose text it has
)

// Statement is one of a client's requests.
type Statement struct {
	Number int // 1 for the first since Start, over all connections
	Conn   int // 1 for the first connection
	Kind   Kind
	Text   string
	// Message is what the client sent, headers and all: it holds the values of an
	// Execute. It must not be changed.
	Message []byte
}

// Action is what becomes of a statement.
type Action int

// The actions.
const (
	// Pass lets it through.
	Pass Action = iota
	// FailBefore cuts the connection: the server never sees the statement.
	FailBefore
	// FailAfter has the server carry it out, and cuts the client's connection in
	// place of the answer.
	FailAfter
	// Late holds the statement until Verdict.Until is closed and delivers it
	// then, whether or not the client has gone away meanwhile.
	Late
	// LateCut is Late with the client's connection cut at once. No fault that is
	// set meanwhile keeps the statement from arriving.
	LateCut
)

// Verdict is a hook's answer.
type Verdict struct {
	Action Action
	// Until releases a late statement. When the proxy closes first it is lost.
	Until <-chan struct{}
	// Held, if there is one, runs when a late statement begins to wait, with
	// LateCut before the client learns of the cut.
	Held func()
	// Then, if there is one, runs when the statement's fate is settled: behind
	// the effect with FailAfter, Late and LateCut, and in every case before the
	// client learns of it.
	Then func()
}

// StartMySQL is Start for a database: hook sees each statement before the server
// does and decides what becomes of it. It is called from many goroutines at
// once; one that blocks holds up its own connection. Connections must be plain:
// one that turns to TLS is cut.
func StartMySQL(target string, hook func(Statement) Verdict) (*Proxy, error) {
	return start(&Proxy{target: target, mysql: true, hook: hook})
}

// The protocol's commands, first byte of a packet with sequence number 0:
// https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_command_phase.html
const (
	comQuery       = 0x03
	comStmtPrepare = 0x16
	comStmtExecute = 0x17
)

// Offsets in a packet, behind its header of 3 bytes of length and 1 of sequence.
const (
	headerSize     = 4
	maxPayload     = 1<<24 - 1
	capabilitySSL  = 1 << 11
	prepareOKSize  = headerSize + 5 // header, status, statement id
	executeMinimum = headerSize + 5 // header, command, statement id
)

// statements carries a client's packets and asks the hook about statements; true
// is an orderly end.
func (l *link) statements() bool {
	in := bufio.NewReaderSize(l.client, 64<<10)
	prepared := &preparedTexts{texts: map[uint32]string{}}
	l.expected.prepared = prepared
	for {
		packet, err := readPacket(in)
		if err != nil {
			return l.carryEnd(l.server, Requests, err)
		}
		if packet[3] == 1 && len(packet) == headerSize+32 && binary.LittleEndian.Uint32(packet[headerSize:])&capabilitySSL != 0 {
			return false // it asks for TLS
		}
		kind, text := prepared.read(packet)
		if kind == "" {
			if l.carry(l.server, Requests, packet) != nil {
				return false
			}
			continue
		}
		if !l.judge(Statement{Conn: l.number, Kind: kind, Text: text, Message: packet}, packet) {
			return false
		}
	}
}

// readPacket reads one message with its headers; one of 16 MiB or more comes in
// several packets.
func readPacket(in *bufio.Reader) ([]byte, error) {
	var message []byte
	for {
		start := len(message)
		message = append(message, make([]byte, headerSize)...)
		if _, err := io.ReadFull(in, message[start:]); err != nil {
			return nil, err
		}
		size := int(message[start]) | int(message[start+1])<<8 | int(message[start+2])<<16
		body := len(message)
		message = append(message, make([]byte, size)...)
		if _, err := io.ReadFull(in, message[body:]); err != nil {
			return nil, err
		}
		if size < maxPayload {
			return message, nil
		}
	}
}

// judge asks the hook and does as it says; false ends the connection.
func (l *link) judge(st Statement, packet []byte) bool {
	l.proxy.mu.Lock()
	l.proxy.counted++
	st.Number = l.proxy.counted
	l.proxy.mu.Unlock()
	var v Verdict
	if l.proxy.hook != nil {
		v = l.proxy.hook(st)
	}
	if v.Action == FailBefore {
		v.then()
		return false
	}
	lose := v.Action == FailAfter || v.Action == LateCut
	answered := l.expected.set(st, lose, v.then)
	if v.Action == LateCut {
		l.detach()
		v.held()
		reset(l.client)
	}
	if v.Action == Late {
		v.held()
	}
	if v.Action == Late || v.Action == LateCut {
		select {
		case <-v.Until:
		case <-l.done:
			return false
		}
	}
	if l.carry(l.server, Requests, packet) != nil {
		return false
	}
	if v.Action == Pass {
		return true
	}
	// The connection must live until the server is through: it would give up on
	// a statement whose client is gone.
	select {
	case <-answered:
		return !lose
	case <-l.done:
		return false
	}
}

func (v Verdict) held() {
	if v.Held != nil {
		v.Held()
	}
}

func (v Verdict) then() {
	if v.Then != nil {
		v.Then()
	}
}

// expectation is what is to be done with the server's next answer.
type expectation struct {
	mu       sync.Mutex
	pending  bool
	st       Statement
	lose     bool
	then     func()
	answered chan struct{}
	prepared *preparedTexts
}

func (e *expectation) set(st Statement, lose bool, then func()) <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.pending, e.st, e.lose, e.then, e.answered = true, st, lose, then, make(chan struct{})
	return e.answered
}

// prepare reports whether the next answer names a prepared statement.
func (e *expectation) prepare() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.pending && e.st.Kind == Prepare
}

// met notes the beginning of an answer and reports whether it is to be lost.
func (e *expectation) met(answer []byte) (lose bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.pending {
		return false
	}
	e.pending = false
	if e.st.Kind == Prepare && len(answer) >= prepareOKSize && answer[headerSize] == 0 {
		e.prepared.add(binary.LittleEndian.Uint32(answer[headerSize+1:]), e.st.Text)
	}
	e.then()
	close(e.answered)
	return e.lose
}

// answers carries what the server says, and loses what is to be lost; true is an
// orderly end.
func (l *link) answers() bool {
	if !l.proxy.mysql {
		return l.carryAll(l.server, l.client, Answers)
	}
	buf := make([]byte, 64<<10)
	for {
		s, _ := l.now()
		n, err := l.server.Read(buf[:s.chunk()])
		if n > 0 && n < prepareOKSize && l.expected.prepare() {
			var more int
			more, err = io.ReadAtLeast(l.server, buf[n:], prepareOKSize-n)
			n += more
		}
		if n > 0 && l.expected.met(buf[:n]) {
			return false
		}
		if n > 0 && l.carry(l.client, Answers, buf[:n]) != nil {
			return false
		}
		if err != nil {
			return l.carryEnd(l.client, Answers, err)
		}
	}
}

// preparedTexts knows the text of a connection's prepared statements.
type preparedTexts struct {
	mu    sync.Mutex
	texts map[uint32]string
}

func (p *preparedTexts) add(id uint32, text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.texts[id] = text
}

// read says what a client's message asks for; an empty kind is nothing a hook
// is asked about.
func (p *preparedTexts) read(message []byte) (Kind, string) {
	if message[3] != 0 || len(message) == headerSize {
		return "", "" // part of the handshake
	}
	switch message[headerSize] {
	case comQuery:
		return Query, string(message[headerSize+1:])
	case comStmtPrepare:
		return Prepare, string(message[headerSize+1:])
	case comStmtExecute:
		if len(message) < executeMinimum {
			return "", ""
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		return Execute, p.texts[binary.LittleEndian.Uint32(message[headerSize+1:])]
	}
	return "", ""
}
