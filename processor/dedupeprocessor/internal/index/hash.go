package index

import (
	"encoding/binary"

	"github.com/zeebo/xxh3"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// Hash stands for an event's identity.
type Hash [16]byte

// HashOf is the hash of an identity.
func HashOf(k usage.Key) Hash {
	b := make([]byte, 0, 128)
	b = binary.AppendUvarint(b, uint64(len(k.Customer)))
	b = append(append(b, k.Customer...), k.ID...)
	return xxh3.Hash128(b).Bytes()
}

func (h *Hash) high() uint64 { return binary.BigEndian.Uint64(h[:8]) }
func (h *Hash) low() uint64  { return binary.BigEndian.Uint64(h[8:]) }

// less is the order of files.
func (h *Hash) less(o *Hash) bool {
	if a, b := h.high(), o.high(); a != b {
		return a < b
	}
	return h.low() < o.low()
}

// Entry is an event that the rest of the pipeline took.
type Entry struct {
	Hash    Hash
	Payload usage.Payload
}
