package ledger

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
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

// sortStored is the places of events in the order of parquetfile.Compare.
func sortStored(events []stored) []int32 {
	numbers := make(map[string]int32) // of customers, as they come
	of := make([]int32, len(events))
	for i := range events {
		n, known := numbers[string(events[i].customer)]
		if !known {
			n = int32(len(numbers))
			numbers[string(events[i].customer)] = n
		}
		of[i] = n
	}
	ranks := make([]int32, len(numbers))
	for rank, customer := range slices.Sorted(maps.Keys(numbers)) {
		ranks[numbers[customer]] = int32(rank)
	}
	type place struct {
		timestamp usage.Micros
		rank, at  int32
	}
	places := make([]place, len(events))
	for i := range events {
		places[i] = place{events[i].timestamp, ranks[of[i]], int32(i)}
	}
	slices.SortFunc(places, func(a, b place) int {
		if a.rank != b.rank {
			return int(a.rank) - int(b.rank)
		}
		if c := cmp.Compare(a.timestamp, b.timestamp); c != 0 {
			return c
		}
		return bytes.Compare(events[a.at].id(), events[b.at].id())
	})
	sorted := of
	for i := range places {
		sorted[i] = places[i].at
	}
	return sorted
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
	count, size, b, err := readChunkHeader(chunk)
	if err != nil {
		return nil, err
	}
	if chunk[0] == chunkPlain {
		b = slices.Clone(b)
	} else {
		if n, err := s2.DecodedLen(b); err != nil || n != size {
			return nil, corrupt("a chunk of events in the store", fmt.Errorf("its body is of %d bytes, not %d: %w", n, size, errors.Join(err)))
		}
		if b, err = s2.Decode(nil, b); err != nil {
			return nil, corrupt("a chunk of events in the store", err)
		}
	}
	if len(b) != size {
		return nil, errShortChunk()
	}
	dst = slices.Grow(dst, count)
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
		dst = append(dst, stored{timestamp: usage.Micros(timestamp), customer: body[n : n+int(length)], event: body[n+int(length):], size: size})
	}
	if len(b) > 0 {
		return nil, corrupt("a chunk of events in the store", errors.New("bytes follow its events"))
	}
	return dst, nil
}

func errShortChunk() error {
	return corrupt("a chunk of events in the store", errors.New("it ends too early"))
}
