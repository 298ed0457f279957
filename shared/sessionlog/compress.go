package sessionlog

import (
	"errors"
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// One encoder and one decoder serve the process: each holds megabytes of
// tables. Checksums are left out since the tag covers every byte.
var (
	zstdEncoder = sync.OnceValue(func() *zstd.Encoder {
		e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(2), zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true))
		if err != nil {
			panic("sessionlog: " + err.Error()) // only for options out of range
		}
		return e
	})
	zstdDecoder = sync.OnceValue(func() *zstd.Decoder {
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(2), zstd.WithDecoderMaxMemory(MaxPush))
		if err != nil {
			panic("sessionlog: " + err.Error()) // only for options out of range
		}
		return d
	})
)

// compress appends the compressed form of push to dst.
func compress(dst, push []byte) []byte { return zstdEncoder().EncodeAll(push, dst) }

// decompress never returns more than MaxPush bytes.
func decompress(stream []byte) ([]byte, error) {
	push, err := zstdDecoder().DecodeAll(stream, nil)
	switch {
	case errors.Is(err, zstd.ErrDecoderSizeExceeded), errors.Is(err, zstd.ErrWindowSizeExceeded):
		return nil, ErrTooLarge
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return push, nil
}
