package ledger

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// A chunk is the events that one commit brought for one hour, in the order of their numbers, which start at the one in its
// key and rise by one. Its value is a version byte, the number of events as a uvarint, and the events: each a length as a
// uvarint, then as many bytes: timestamp (uvarint), length of the customer (uvarint), customer, usage.Event.AppendBinary.
const chunkVersion = 1

// appendEvent writes an event as it stands in a chunk, its length included.
func appendEvent(b []byte, e *usage.Event) []byte {
	const room = binary.MaxVarintLen32
	start := len(b)
	b = append(b, make([]byte, room)...)
	b = binary.AppendUvarint(b, uint64(e.Timestamp))
	b = binary.AppendUvarint(b, uint64(len(e.Customer)))
	b = append(b, e.Customer...)
	b = e.AppendBinary(b)
	var length [room]byte
	body := len(b) - start - room
	n := binary.PutUvarint(length[:], uint64(body))
	copy(b[start:], length[:n])
	copy(b[start+n:], b[start+room:])
	return b[:start+n+body]
}

func appendChunkHeader(b []byte, events int) []byte {
	return binary.AppendUvarint(append(b, chunkVersion), uint64(events))
}

// stored is an event in a chunk, not decoded. It shares memory with the chunk.
type stored struct {
	timestamp usage.Micros
	customer  []byte
	event     []byte
	size      int // in the chunk, its length included
}

// id is the event's id: in AppendBinary's form it follows the version byte.
func (s *stored) id() []byte {
	if len(s.event) < 2 {
		return nil
	}
	length, n := binary.Uvarint(s.event[1:])
	if n <= 0 || length > uint64(len(s.event)-1-n) {
		return nil
	}
	return s.event[1+n : 1+n+int(length)]
}

// compareStored is parquetfile.Compare.
func compareStored(a, b stored) int {
	if c := bytes.Compare(a.customer, b.customer); c != 0 {
		return c
	}
	if c := cmp.Compare(a.timestamp, b.timestamp); c != 0 {
		return c
	}
	return bytes.Compare(a.id(), b.id())
}

func (s *stored) decode(e *usage.Event) error {
	rest, err := usage.DecodeBinary(s.event, e)
	if err == nil && len(rest) > 0 {
		err = errors.New("bytes follow the event")
	}
	if err != nil {
		return corrupt("an event in the store", err)
	}
	return nil
}

// splitChunk appends the chunk's events to dst.
func splitChunk(dst []stored, b []byte) ([]stored, error) {
	if len(b) == 0 || b[0] != chunkVersion {
		return nil, corrupt("a chunk of events in the store", fmt.Errorf("it doesn't start with version %d", chunkVersion))
	}
	b = b[1:]
	count, n := binary.Uvarint(b)
	if n <= 0 || count > uint64(len(b)) {
		return nil, errShortChunk()
	}
	b = b[n:]
	for range count {
		length, n := binary.Uvarint(b)
		if n <= 0 || length > uint64(len(b)-n) {
			return nil, errShortChunk()
		}
		size := n + int(length)
		body := b[n:size]
		b = b[size:]
		timestamp, n := binary.Uvarint(body)
		if n <= 0 {
			return nil, errShortChunk()
		}
		body = body[n:]
		length, n = binary.Uvarint(body)
		if n <= 0 || length > uint64(len(body)-n) {
			return nil, errShortChunk()
		}
		dst = append(dst, stored{usage.Micros(timestamp), body[n : n+int(length)], body[n+int(length):], size})
	}
	if len(b) > 0 {
		return nil, corrupt("a chunk of events in the store", errors.New("bytes follow its events"))
	}
	return dst, nil
}

func errShortChunk() error {
	return corrupt("a chunk of events in the store", errors.New("it ends too early"))
}
