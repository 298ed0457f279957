package baileys

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// ordered is a JSON object whose members keep their order, as JavaScript's
// objects do: the order of chains and sessions has a meaning there.
type ordered[V any] []member[V]

type member[V any] struct {
	name  string
	value V
}

// UnmarshalJSON implements json.Unmarshaler. It refuses a name that stands twice.
func (o *ordered[V]) UnmarshalJSON(data []byte) error {
	d := json.NewDecoder(bytes.NewReader(data))
	if token, err := d.Token(); err != nil || token != json.Delim('{') {
		return badField("", "has the wrong type or is out of range")
	}
	*o = ordered[V]{}
	seen := map[string]bool{}
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return err
		}
		m := member[V]{name: fmt.Sprint(token)}
		if seen[m.name] {
			return badField("", "has a name twice")
		}
		seen[m.name] = true
		if err := d.Decode(&m.value); err != nil {
			return err
		}
		*o = append(*o, m)
	}
	return nil
}

// MarshalJSON implements json.Marshaler.
func (o ordered[V]) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		name, err := json.Marshal(m.name)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(m.value)
		if err != nil {
			return nil, err
		}
		b.Write(name)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}
