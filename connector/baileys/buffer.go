// Package baileys converts between whatsmeow's session files and the formats of
// Baileys, the Node library. FORMAT.md beside this file has the fields.
package baileys

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
)

// bytesIn reads bytes in any of Baileys' encodings: a Buffer object with base64
// or with an array of numbers, or a base64 string.
type bytesIn []byte

// UnmarshalJSON implements json.Unmarshaler.
func (b *bytesIn) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		*b = nil
		return nil
	}
	if len(data) > 0 && data[0] == '"' {
		return b.text(data)
	}
	var buffer struct {
		Type string          `json:"type"`
		Data json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(data, &buffer); err != nil || buffer.Type != "Buffer" {
		return fmt.Errorf("%w: neither a Buffer nor base64", ErrDamaged)
	}
	if len(buffer.Data) > 0 && buffer.Data[0] == '"' {
		return b.text(buffer.Data)
	}
	var numbers []uint8Number
	if err := json.Unmarshal(buffer.Data, &numbers); err != nil {
		return fmt.Errorf("%w: Buffer without bytes", ErrDamaged)
	}
	*b = make([]byte, len(numbers))
	for i, n := range numbers {
		(*b)[i] = byte(n)
	}
	return nil
}

func (b *bytesIn) text(data []byte) error {
	var s string
	if err := json.Unmarshal(data, &s); err != nil {
		return fmt.Errorf("%w: string", ErrDamaged)
	}
	raw, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return fmt.Errorf("%w: base64", ErrDamaged)
	}
	*b = raw
	return nil
}

// uint8Number keeps encoding/json from taking an array of bytes for base64.
type uint8Number uint8

// buffer is written as Baileys' BufferJSON does.
type buffer []byte

// MarshalJSON implements json.Marshaler.
func (b buffer) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Type string `json:"type"`
		Data []byte `json:"data"`
	}{"Buffer", append([]byte{}, b...)}) // nil would become null
}
