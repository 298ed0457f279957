package ownership

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
)

// HighWater is the furthest point of a session's log that this machine has
// seen durable. A database restored from an older backup shows an earlier end:
// a seal found there must not be believed.
type HighWater struct {
	Epoch uint64
	Seq   uint64
	Tag   [32]byte
}

type highWaterJSON struct {
	Epoch uint64 `json:"epoch"`
	Seq   uint64 `json:"seq"`
	Tag   string `json:"tag"`
}

// ErrDamagedMark is returned by LoadHighWater for a file that is no mark.
var ErrDamagedMark = errors.New("high-water mark is damaged")

// Unknown is the mark to judge by when the real one is damaged: beyond every
// log, so that no seal is believed.
var Unknown = HighWater{Epoch: math.MaxUint64}

// LoadHighWater reads the mark at path; the zero mark if there is none yet. A
// file that can't be read or parsed is an error: treating it as "nothing seen"
// would let stale state pass as exact.
func LoadHighWater(path string) (HighWater, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return HighWater{}, nil
	}
	if err != nil {
		return HighWater{}, fmt.Errorf("read high-water mark: %w", err)
	}
	var j highWaterJSON
	if err := json.Unmarshal(data, &j); err != nil {
		return HighWater{}, fmt.Errorf("%w: %w", ErrDamagedMark, err)
	}
	h := HighWater{Epoch: j.Epoch, Seq: j.Seq}
	tag, err := hex.DecodeString(j.Tag)
	if err != nil || len(tag) != len(h.Tag) {
		return HighWater{}, fmt.Errorf("%w: the tag is not 32 bytes of hex", ErrDamagedMark)
	}
	copy(h.Tag[:], tag)
	return h, nil
}

// Raise stores h at path if it lies beyond what is stored there, or if that is
// damaged.
func (h HighWater) Raise(path string) error {
	old, err := LoadHighWater(path)
	if err != nil && !errors.Is(err, ErrDamagedMark) {
		return err
	}
	if h.Epoch < old.Epoch || h.Epoch == old.Epoch && h.Seq <= old.Seq {
		return nil
	}
	data, err := json.Marshal(highWaterJSON{Epoch: h.Epoch, Seq: h.Seq, Tag: hex.EncodeToString(h.Tag[:])})
	if err != nil {
		return fmt.Errorf("encode high-water mark: %w", err)
	}
	return WriteFile(path, data)
}
