package sessionlog

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Unmarshal decodes what Marshal encoded, and nothing else: whatever it
// accepts encodes to the same bytes again. BLOBs in the result are slices of b.
// It returns ErrMalformed or ErrPushVersion.
func Unmarshal(b []byte) (Push, error) {
	d := decoder{b: b}
	p, err := d.push()
	if err != nil {
		return Push{}, err
	}
	return p, nil
}

// decoder reads from the front of b. Once something is wrong, err is set and
// every further read returns a zero value.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) push() (Push, error) {
	p, keys, err := d.header()
	if err != nil {
		return Push{}, err
	}
	n := d.count()
	if n > 0 {
		p.Records = make([]Record, 0, min(n, 1<<16))
	}
	for i := 0; i < n && d.err == nil; i++ {
		p.Records = append(p.Records, d.record(p.Tables, keys))
	}
	if len(d.b) != 0 {
		d.fail("%d bytes left over", len(d.b))
	}
	return p, d.err
}

// header reads what stands before the records, and returns with it the indexes
// in Columns of each table's key.
func (d *decoder) header() (Push, [][]int, error) {
	if v := d.byte(); d.err == nil && v != pushVersion {
		return Push{}, nil, fmt.Errorf("%w: %d", ErrPushVersion, v)
	}
	flags := d.byte()
	if flags&^pushBase != 0 {
		d.fail("flags %02x", flags)
	}
	p := Push{Base: flags == pushBase, SchemaVersion: d.int(), SchemaCompat: d.int()}
	for n := d.count(); len(p.Schema) < n && d.err == nil; {
		p.Schema = append(p.Schema, string(d.bytes()))
	}
	for n := d.count(); len(p.Tables) < n && d.err == nil; {
		p.Tables = append(p.Tables, d.table())
	}
	if d.err != nil {
		return Push{}, nil, d.err
	}
	if err := p.check(); err != nil {
		return Push{}, nil, err
	}
	keys := make([][]int, len(p.Tables))
	for i, t := range p.Tables {
		keys[i], _ = t.keyIndexes() // checked above
	}
	return p, keys, nil
}

func (d *decoder) table() Table {
	t := Table{Name: string(d.bytes())}
	for n := d.count(); len(t.Columns) < n && d.err == nil; {
		t.Columns = append(t.Columns, string(d.bytes()))
	}
	for n := d.count(); len(t.Key) < n && d.err == nil; {
		n := d.uvarint()
		if n >= uint64(len(t.Columns)) {
			d.fail("key column %d of %d", n, len(t.Columns))
			return t
		}
		t.Key = append(t.Key, t.Columns[n])
	}
	return t
}

func (d *decoder) record(tables []Table, keys [][]int) Record {
	head := d.uvarint()
	if head>>1 >= uint64(len(tables)) {
		d.fail("table %d of %d", head>>1, len(tables))
		return Record{}
	}
	r := Record{Table: int(head >> 1)}
	t, key := tables[r.Table], keys[r.Table]
	if head&1 == 1 {
		r.Key = d.values(len(key))
	} else {
		r.Row = d.values(len(t.Columns))
		r.Key = make([]Value, len(key))
		for i, n := range key {
			r.Key[i] = r.Row[n]
		}
	}
	for _, v := range r.Key {
		if v == nil {
			d.fail("NULL in a key of %s", t.Name)
		}
	}
	return r
}

func (d *decoder) values(n int) []Value {
	values := make([]Value, n)
	for i := range values {
		switch t := d.byte(); t {
		case typeNull:
		case typeInt:
			values[i] = d.varint()
		case typeReal:
			values[i] = d.real()
		case typeText:
			values[i] = string(d.bytes())
		case typeBlob:
			values[i] = d.bytes()
		default:
			d.fail("value of type %d", t)
		}
	}
	return values
}

func (d *decoder) real() float64 {
	if len(d.b) < 8 {
		d.fail("cut short")
		return 0
	}
	f := math.Float64frombits(binary.BigEndian.Uint64(d.b))
	d.b = d.b[8:]
	if math.IsNaN(f) {
		d.fail("NaN")
	}
	return f
}

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.fail("cut short")
		return 0
	}
	c := d.b[0]
	d.b = d.b[1:]
	return c
}

// bytes reads a length and that many bytes; the result is never nil.
func (d *decoder) bytes() []byte {
	n := d.uvarint()
	if n > uint64(len(d.b)) {
		d.fail("cut short")
		return []byte{}
	}
	s := d.b[:n:n]
	d.b = d.b[n:]
	return s
}

// count reads the number of things that follow, each at least one byte long.
func (d *decoder) count() int {
	n := d.uvarint()
	if n > uint64(len(d.b)) {
		d.fail("cut short")
		return 0
	}
	return int(n) //nolint:gosec // G115: it is at most len(d.b)
}

func (d *decoder) int() int {
	n := d.uvarint()
	if n > math.MaxInt32 {
		d.fail("schema version %d", n)
		return 0
	}
	return int(n)
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	d.take(n)
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	d.take(n)
	return v
}

// take consumes a varint of n bytes, which must be the shortest form.
func (d *decoder) take(n int) {
	switch {
	case n <= 0:
		d.fail("cut short")
	case n > 1 && d.b[n-1] == 0:
		d.fail("number not in its shortest form")
	default:
		d.b = d.b[n:]
	}
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
	}
	d.b = nil
}
