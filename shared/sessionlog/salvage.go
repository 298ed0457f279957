package sessionlog

import (
	"bytes"
	"io"

	"github.com/klauspost/compress/zstd"
)

// Salvage decodes the records at the front of a push of which only the first
// parts are there: bodies are what those parts' envelopes hold. It is for
// learning what an unfinished push was about, never for applying it: what
// can't be decoded is left out, and the result may be empty.
func Salvage(bodies [][]byte, base bool) Push {
	body := bytes.Join(bodies, nil)
	if base {
		body = decompressFront(body)
	}
	d := decoder{b: body}
	p, keys, err := d.header()
	if err != nil || p.Base != base {
		return Push{}
	}
	for n := d.uvarint(); n > 0; n-- {
		r := d.record(p.Tables, keys)
		if d.err != nil {
			break
		}
		p.Records = append(p.Records, r)
	}
	return p
}

// decompressFront returns what of a base's stream comes out before its end is
// missed, at most MaxPush bytes.
func decompressFront(stream []byte) []byte {
	if len(stream) < len(Cursor{}.Tag) {
		return nil
	}
	r, err := zstd.NewReader(bytes.NewReader(stream[len(Cursor{}.Tag):]), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(MaxPush))
	if err != nil {
		return nil
	}
	defer r.Close()
	var front bytes.Buffer
	_, _ = io.Copy(&front, io.LimitReader(r, MaxPush)) // ends with an error where the stream is cut
	return front.Bytes()
}
