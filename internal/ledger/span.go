package ledger

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/usagebox/otelcol-usagebox/internal/offheap"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// span is the events of an hour with numbers in [from, to): so many of them, of so many bytes in chunks.
type span struct {
	from, to uint64
	events   int64
	bytes    int64
}

// spanEvents is the events of a span in the order of files. Their bytes are the most memory that a ledger ever takes, so they are not on the heap.
type spanEvents struct {
	memory offheap.Block
	body   []byte // of one chunk after the other
	places []place
}

// place is where an event is.
type place struct {
	timestamp usage.Micros
	id        uint64 // the first bytes of its id
	customer  int32  // the rank of its customer among those of the span
	at        uint32
}

// readSpan reads the events of a span. They are to be freed.
func (s *state) readSpan(h usage.Hour, of span) (x *spanEvents, err error) {
	if of.bytes < 0 || of.bytes > math.MaxUint32 || of.events < 0 || of.events > of.bytes {
		return nil, corrupt("the store", fmt.Errorf("%s has %d events of %d bytes in a part", hourText(h), of.events, of.bytes))
	}
	x = &spanEvents{places: make([]place, 0, of.events)}
	if x.memory, err = offheap.New(int(of.bytes)); err != nil {
		return nil, err
	}
	x.body = x.memory.Bytes()[:0]
	customers := make(map[string]int32) // by their number, as they come
	err = s.store.scan(hourSeqKey(keyChunk, h, of.from), hourSeqKey(keyChunk, h, of.to), func(_, value []byte) error {
		return x.add(value, customers)
	})
	if err == nil && len(x.body) < int(of.bytes) {
		err = corrupt("the store", fmt.Errorf("the events %d to %d of %s have %d bytes, %d were counted", of.from, of.to-1, hourText(h), len(x.body), of.bytes))
	}
	if err != nil {
		return nil, errors.Join(err, x.free())
	}
	x.sort(customers)
	return x, nil
}

// add adds a chunk's events.
func (x *spanEvents) add(chunk []byte, customers map[string]int32) error {
	_, size, _, err := readChunkHeader(chunk)
	if err != nil {
		return err
	}
	start := len(x.body)
	if size > cap(x.body)-start {
		return corrupt("the store", fmt.Errorf("the events of a part have more than the %d bytes that were counted", cap(x.body)))
	}
	body, count, err := appendBody(x.body, chunk)
	if err != nil {
		return err
	}
	x.body = body
	rest := body[start:]
	for range count {
		at := len(body) - len(rest)
		var e stored
		if e, rest, err = nextStored(rest); err != nil {
			return err
		}
		number, known := customers[string(e.customer)]
		if !known {
			number = int32(len(customers))
			customers[string(e.customer)] = number
		}
		x.places = append(x.places, place{e.timestamp, firstBytes(e.id()), number, uint32(at)})
	}
	return checkEnd(rest)
}

// sort brings the events into the order of parquetfile.Compare.
func (x *spanEvents) sort(customers map[string]int32) {
	ranks := make([]int32, len(customers))
	for rank, customer := range slices.Sorted(maps.Keys(customers)) {
		ranks[customers[customer]] = int32(rank)
	}
	for i := range x.places {
		x.places[i].customer = ranks[x.places[i].customer]
	}
	slices.SortFunc(x.places, func(a, b place) int {
		if a.customer != b.customer {
			return int(a.customer) - int(b.customer)
		}
		if c := cmp.Or(cmp.Compare(a.timestamp, b.timestamp), cmp.Compare(a.id, b.id)); c != 0 {
			return c
		}
		first, second := x.stored(a), x.stored(b)
		return bytes.Compare(first.id(), second.id())
	})
}

// firstBytes is a number that orders ids as far as it goes.
func firstBytes(id []byte) uint64 {
	if len(id) >= 8 {
		return binary.BigEndian.Uint64(id)
	}
	var b [8]byte
	copy(b[:], id)
	return binary.BigEndian.Uint64(b[:])
}

// stored is the event at a place, which was read before.
func (x *spanEvents) stored(p place) stored {
	e, _, err := nextStored(x.body[p.at:])
	if err != nil {
		panic(err) // add has read it
	}
	return e
}

// each gives the events in their order. An event, and what it leads to, may be used until free; the lists of one are those of the next.
func (x *spanEvents) each(use func(*usage.Event) error) error {
	var e usage.Event
	for _, p := range x.places {
		stored := x.stored(p)
		if err := stored.decodeShared(&e); err != nil {
			return err
		}
		if err := use(&e); err != nil {
			return err
		}
	}
	return nil
}

// free gives the memory back, which nothing may lead to any more.
func (x *spanEvents) free() error {
	x.body, x.places = nil, nil
	return x.memory.Free()
}
