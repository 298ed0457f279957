package sessionlog

import (
	"bytes"
	"errors"
	"fmt"

	"cloudsession/shared/cloudstore"
	"cloudsession/shared/envelope"
)

// walk verifies the rows from start on and passes each complete push to visit.
func (l *log) walk(start int, visit func(Cursor, Push) error) error {
	var p pending
	l.result.Current = true
	if start < len(l.rows) {
		l.result.From = cursor(l.rows[start].seg)
	}
	for i := start; i < len(l.rows); i++ {
		r := l.rows[i]
		if i > start && r.orphan {
			return at(r.seg, fmt.Errorf("%w before this one", ErrMissing))
		}
		opened, err := l.open(i)
		if err != nil {
			return err
		}
		if err := p.add(r, opened); err != nil {
			return at(r.seg, err)
		}
		l.result.Rows++
		l.result.Bytes += int64(len(r.seg.Data))
		l.result.SkippedIncomplete += p.takeSkipped()
		if !p.complete() {
			continue
		}
		if err := l.deliver(&p, r.seg, visit); err != nil {
			return err
		}
	}
	if p.parts != 0 {
		l.result.SkippedIncomplete++
	}
	if l.stray != 0 && (p.parts == 0 || p.epoch != l.stray) {
		l.result.SkippedIncomplete++
	}
	if l.missing != nil {
		return l.missing
	}
	return l.verifySeals(start)
}

// deliver decodes a complete push and passes it on.
func (l *log) deliver(p *pending, last *cloudstore.Segment, visit func(Cursor, Push) error) error {
	push, err := p.push()
	if err != nil {
		return at(last, err)
	}
	l.result.Pushes++
	if push.Base {
		l.result.Bases++
	}
	l.result.LastComplete = cursor(last)
	if err := visit(l.result.LastComplete, push); err != nil {
		return at(last, fmt.Errorf("apply push: %w", err))
	}
	return nil
}

// checkOrphans looks at the first n rows, whose places in the chain aren't known
// so that their tags can't be checked, for what their key ids tell.
func (l *log) checkOrphans(n int) error {
	for _, r := range l.rows[:n] {
		_, err := l.keys.Open(position(r.seg, r.prev), r.seg.Data)
		if errors.Is(err, envelope.ErrUnknownKey) || errors.Is(err, envelope.ErrOtherSession) {
			return at(r.seg, named(err))
		}
	}
	return nil
}

// verifySeals verifies the seals behind the rows that were walked.
func (l *log) verifySeals(start int) error {
	for _, s := range l.seals {
		if start < len(l.rows) && s.seg.Epoch < l.rows[start].seg.Epoch {
			continue
		}
		if err := VerifySeal(l.keys, *s.seg, s.prev); err != nil {
			return err
		}
	}
	return nil
}

// open opens row i in its place and checks what a base says of the row before.
func (l *log) open(i int) (envelope.Opened, error) {
	r := l.rows[i]
	prev := r.prev
	if r.startsBase() {
		prev = [32]byte{}
	}
	opened, err := l.keys.Open(position(r.seg, prev), r.seg.Data)
	if errors.Is(err, envelope.ErrTampered) {
		return opened, at(r.seg, l.diagnose(i, err))
	}
	if err != nil {
		return opened, at(r.seg, named(err))
	}
	l.result.Current = l.result.Current && opened.Current
	if !r.startsBase() {
		return opened, nil
	}
	if len(opened.Plaintext) < len(prev) {
		return opened, at(r.seg, fmt.Errorf("%w: base without the tag before it", ErrMalformed))
	}
	inner := [32]byte(opened.Plaintext[:len(prev)])
	if !r.orphan && inner != r.prev {
		return opened, at(r.seg, fmt.Errorf("%w: this base was written behind another row", ErrReordered))
	}
	opened.Plaintext = opened.Plaintext[len(prev):]
	return opened, nil
}

// pending collects the parts of a push.
type pending struct {
	base    bool
	part    uint16 // the last one collected
	parts   uint16 // 0: between pushes
	epoch   uint64
	body    []byte
	skipped int
}

// add takes an authentic row.
func (p *pending) add(r row, opened envelope.Opened) error {
	seg, base := r.seg, opened.Kind == envelope.KindBase
	if p.parts != 0 && seg.Epoch != p.epoch {
		p.skipped++ // cut off by the end of its epoch
		*p = pending{skipped: p.skipped}
	}
	switch {
	case seg.Part == 0 || seg.Part > seg.Parts:
		return fmt.Errorf("%w: part %d of %d", ErrMalformed, seg.Part, seg.Parts)
	case opened.Compressed != base:
		return fmt.Errorf("%w: compressed is for bases", ErrMalformed)
	case seg.Seq == 1 && !base && (r.epoch.Start == cloudstore.StartSafe || r.epoch.Start == cloudstore.StartNew):
		return fmt.Errorf("%w: a term that starts %s begins with a base", ErrNoBase, r.epoch.Start)
	case p.parts == 0 && seg.Part != 1, p.parts != 0 && (seg.Part != p.part+1 || seg.Parts != p.parts || base != p.base):
		return fmt.Errorf("%w: part %d of %d behind part %d of %d", ErrMalformed, seg.Part, seg.Parts, p.part, p.parts)
	}
	p.base, p.part, p.parts, p.epoch = base, seg.Part, seg.Parts, seg.Epoch
	if p.parts == 1 {
		p.body = opened.Plaintext
		return nil
	}
	if p.body == nil {
		p.body = make([]byte, 0, min(int(p.parts)*envelope.MaxBody, 16<<20))
	}
	if len(p.body)+len(opened.Plaintext) > MaxPush {
		return ErrTooLarge
	}
	p.body = append(p.body, opened.Plaintext...)
	return nil
}

func (p *pending) complete() bool { return p.parts != 0 && p.part == p.parts }

func (p *pending) takeSkipped() int {
	n := p.skipped
	p.skipped = 0
	return n
}

// push decodes what was collected and makes p ready for the next push.
func (p *pending) push() (Push, error) {
	body, base := p.body, p.base
	*p = pending{}
	if base {
		var err error
		if body, err = decompress(body); err != nil {
			return Push{}, err
		}
	}
	push, err := Unmarshal(body)
	if err != nil {
		return Push{}, err
	}
	if push.Base != base {
		return Push{}, fmt.Errorf("%w: base inside and outside differ", ErrMalformed)
	}
	return push, nil
}

// diagnoseBytes bounds the work of finding out where a row was moved from.
const diagnoseBytes = 64 << 20

// diagnose names the fault of row i, whose tag doesn't hold in its place.
func (l *log) diagnose(i int, cause error) error {
	data := l.rows[i].seg.Data
	for j, r := range l.rows {
		if j != i && bytes.Equal(r.seg.Data, data) {
			return fmt.Errorf("%w: it holds the same as epoch %d, seq %d: %w", ErrRepeated, r.seg.Epoch, r.seg.Seq, cause)
		}
	}
	budget := diagnoseBytes / len(data)
	for distance := 1; distance < len(l.rows) && budget > 0; distance++ {
		for _, j := range []int{i - distance, i + distance} {
			if j < 0 || j >= len(l.rows) {
				continue
			}
			budget -= 8
			if l.opensAt(j, i) {
				place := l.rows[j].seg
				return fmt.Errorf("%w: it holds epoch %d, seq %d: %w", ErrReordered, place.Epoch, place.Seq, cause)
			}
		}
	}
	return named(cause)
}

// opensAt reports whether the data of row i is authentic at the place of row j,
// whose neighbour may be the very row that was moved.
func (l *log) opensAt(j, i int) bool {
	there, here := l.rows[j], l.rows[i]
	for _, prev := range [][32]byte{there.prev, there.seg.Tag, here.prev, {}} {
		place := position(there.seg, prev)
		if _, err := l.keys.Open(place, here.seg.Data); err == nil {
			return true
		}
		place.Part, place.Parts = here.seg.Part, here.seg.Parts
		if _, err := l.keys.Open(place, here.seg.Data); err == nil {
			return true
		}
	}
	return false
}

func cursor(seg *cloudstore.Segment) Cursor {
	return Cursor{Epoch: seg.Epoch, Seq: seg.Seq, Tag: seg.Tag}
}
