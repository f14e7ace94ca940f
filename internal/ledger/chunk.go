package ledger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/klauspost/compress/s2"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// A chunk is the events that one commit brought for one hour, in the order of their numbers, which start at the one in its
// key and rise by one. Its value is a version byte, the number of events and the bytes of its body, both as a uvarint, and the body: in
// version 2 as it is, in version 3 compressed, an S2 block. The body is the events: each a length as a
// uvarint, then as many bytes: timestamp (uvarint), length of the customer (uvarint), customer, usage.Event.AppendBinary.
const (
	chunkPlain      = 2
	chunkCompressed = 3

	chunkHeader    = 1 + 2*binary.MaxVarintLen64
	compressedFrom = 512      // bytes of a body
	fullBody       = 8 << 20  // bytes with which a body is full: what comes more is in the next chunk
	largestBody    = 64 << 20 // an event is far smaller than what this has more
)

// appendEvent writes an event as it stands in a chunk, its length included.
func appendEvent(b []byte, e *usage.Event, ingestedAt usage.Micros) []byte {
	const room = binary.MaxVarintLen32
	start := len(b)
	b = append(b, make([]byte, room)...)
	b = binary.AppendUvarint(b, uint64(e.Timestamp))
	b = binary.AppendUvarint(b, uint64(len(e.Customer)))
	b = append(b, e.Customer...)
	b = e.AppendBinaryOf(b, ingestedAt)
	var length [room]byte
	body := len(b) - start - room
	n := binary.PutUvarint(length[:], uint64(body))
	copy(b[start:], length[:n])
	copy(b[start+n:], b[start+room:])
	return b[:start+n+body]
}

// appendChunk writes a chunk of so many events.
func appendChunk(b []byte, events int, body []byte) []byte {
	version := byte(chunkPlain)
	if len(body) >= compressedFrom {
		version = chunkCompressed
	}
	b = binary.AppendUvarint(append(b, version), uint64(events))
	b = binary.AppendUvarint(b, uint64(len(body)))
	if version == chunkPlain {
		return append(b, body...)
	}
	b = slices.Grow(b, s2.MaxEncodedLen(len(body)))
	compressed := s2.Encode(b[len(b):cap(b)], body)
	return b[:len(b)+len(compressed)]
}

// readChunkHeader is how many events a chunk has, and of how many bytes; rest is what follows.
func readChunkHeader(b []byte) (events, bytes int, rest []byte, err error) {
	if len(b) == 0 || b[0] != chunkPlain && b[0] != chunkCompressed {
		return 0, 0, nil, corrupt("a chunk of events in the store", fmt.Errorf("it starts with neither version %d nor %d", chunkPlain, chunkCompressed))
	}
	rest = b[1:]
	var counts [2]uint64
	for i := range counts {
		v, n := binary.Uvarint(rest)
		if n <= 0 {
			return 0, 0, nil, errShortChunk()
		}
		counts[i], rest = v, rest[n:]
	}
	if counts[0] > counts[1] || counts[1] > largestBody {
		return 0, 0, nil, corrupt("a chunk of events in the store", fmt.Errorf("it says that it has %d events in %d bytes", counts[0], counts[1]))
	}
	return int(counts[0]), int(counts[1]), rest, nil
}

// stored is an event in a chunk, not decoded.
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

func (s *stored) decode(e *usage.Event) error { return s.decodeBy(usage.DecodeBinary, e) }

// decodeShared decodes without copies: see usage.DecodeBinaryShared.
func (s *stored) decodeShared(e *usage.Event) error { return s.decodeBy(usage.DecodeBinaryShared, e) }

func (s *stored) decodeBy(decode func([]byte, *usage.Event) ([]byte, error), e *usage.Event) error {
	rest, err := decode(s.event, e)
	if err == nil && len(rest) > 0 {
		err = errors.New("bytes follow the event")
	}
	if err != nil {
		return corrupt("an event in the store", err)
	}
	return nil
}

// splitChunk appends the chunk's events to dst. They share no memory with it.
func splitChunk(dst []stored, chunk []byte) ([]stored, error) {
	body, count, err := appendBody(nil, chunk)
	if err != nil {
		return nil, err
	}
	dst = slices.Grow(dst, count)
	for range count {
		var e stored
		if e, body, err = nextStored(body); err != nil {
			return nil, err
		}
		dst = append(dst, e)
	}
	return dst, checkEnd(body)
}

// appendBody appends the body of a chunk, of so many events, to dst.
func appendBody(dst, chunk []byte) (body []byte, count int, err error) {
	count, size, b, err := readChunkHeader(chunk)
	if err != nil {
		return nil, 0, err
	}
	if chunk[0] == chunkPlain {
		if len(b) != size {
			return nil, 0, errShortChunk()
		}
		return append(dst, b...), count, nil
	}
	if n, err := s2.DecodedLen(b); err != nil || n != size {
		return nil, 0, corrupt("a chunk of events in the store", fmt.Errorf("its body is of %d bytes, not %d: %w", n, size, errors.Join(err)))
	}
	dst = slices.Grow(dst, size)
	if _, err = s2.Decode(dst[len(dst):len(dst)+size], b); err != nil {
		return nil, 0, corrupt("a chunk of events in the store", err)
	}
	return dst[:len(dst)+size], count, nil
}

// nextStored is the first event of a body, and what follows it.
func nextStored(body []byte) (e stored, rest []byte, err error) {
	length, n := binary.Uvarint(body)
	if n <= 0 || length > uint64(len(body)-n) {
		return e, nil, errShortChunk()
	}
	e.size = n + int(length)
	b, rest := body[n:e.size], body[e.size:]
	timestamp, n := binary.Uvarint(b)
	if n <= 0 {
		return e, nil, errShortChunk()
	}
	b = b[n:]
	length, n = binary.Uvarint(b)
	if n <= 0 || length > uint64(len(b)-n) {
		return e, nil, errShortChunk()
	}
	e.timestamp, e.customer, e.event = usage.Micros(timestamp), b[n:n+int(length)], b[n+int(length):]
	return e, rest, nil
}

func checkEnd(body []byte) error {
	if len(body) > 0 {
		return corrupt("a chunk of events in the store", errors.New("bytes follow its events"))
	}
	return nil
}

func errShortChunk() error {
	return corrupt("a chunk of events in the store", errors.New("it ends too early"))
}
