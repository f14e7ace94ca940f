package factlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Read gives a record's payload, in b if it fits. The error is ErrGone when its segment was dropped, and a *CorruptError when it is not what was written.
func (l *Log) Read(p Place, b []byte) ([]byte, error) {
	l.mu.Lock()
	s := l.segment(p.Offset)
	l.mu.Unlock()
	if s == nil {
		return nil, ErrGone
	}
	n := recordHeader + int(p.Length)
	b = slices.Grow(b[:0], n)[:n]
	at := int64(p.Offset - s.base)
	if _, err := s.r.ReadAt(b, at); err != nil {
		if l.gone(p) {
			return nil, ErrGone
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, &CorruptError{Path: s.path, Offset: at, Reason: "it ends too early"}
		}
		return nil, fmt.Errorf("read facts: %w", err)
	}
	if binary.LittleEndian.Uint32(b) != p.Length || !goodRecord(b, p.Offset) {
		return nil, &CorruptError{Path: s.path, Offset: at, Reason: "the checksum of a record is wrong"}
	}
	return b[recordHeader:], nil
}

func (l *Log) gone(p Place) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.segment(p.Offset) == nil
}

// segment is the one that an offset lies in; nil when it was dropped.
func (l *Log) segment(offset uint64) *segment {
	i, found := slices.BinarySearchFunc(l.segments, offset, func(s *segment, o uint64) int {
		switch {
		case s.base < o:
			return -1
		case s.base > o:
			return 1
		}
		return 0
	})
	if !found {
		i--
	}
	if i < 0 || offset >= l.segments[i].base+uint64(l.segments[i].size) {
		return nil
	}
	return l.segments[i]
}

const replayBlock = 1 << 20

// Replay tells of every good record of the segments from an offset on, in their order, and pins those for which tell says so. It is for the time before
// the first Append. damaged says where bytes in front of good records are not what was written: such records are passed over.
func (l *Log) Replay(from uint64, tell func(p Place, payload []byte) (pin bool, err error)) (damaged []*CorruptError, err error) {
	for i, s := range l.segments {
		if i+1 < len(l.segments) && l.segments[i+1].base <= from {
			continue
		}
		some, err := s.replay(tell)
		if err != nil {
			return damaged, err
		}
		damaged = append(damaged, some...)
	}
	return damaged, nil
}

func (s *segment) replay(tell func(Place, []byte) (bool, error)) (damaged []*CorruptError, err error) {
	var block []byte
	begin := int64(headerBytes) // of block, in the file
	at := begin
	good := at
	var bad *CorruptError
	for at+recordHeader <= s.size {
		need := int64(recordHeader)
		if inside := at - begin; inside+need > int64(len(block)) {
			if block, err = s.load(block, at, replayBlock); err != nil {
				return damaged, err
			}
			begin = at
		}
		b := block[at-begin:]
		offset := s.base + uint64(at)
		length := int64(binary.LittleEndian.Uint32(b))
		need += length
		head := goodHead(b, offset) && length <= MaxRecord && at+need <= s.size
		if head && need > int64(len(b)) {
			if block, err = s.load(block, at, max(replayBlock, need)); err != nil {
				return damaged, err
			}
			begin, b = at, block
		}
		if !head || !goodRecord(b[:need], offset) {
			if bad == nil {
				bad = &CorruptError{Path: s.path, Offset: at, Reason: "records are missing here"}
			}
			if head {
				at += need
			} else {
				at++
			}
			continue
		}
		if bad != nil {
			damaged, bad = append(damaged, bad), nil
		}
		pin, err := tell(Place{Offset: offset, Length: uint32(length)}, b[recordHeader:need])
		if err != nil {
			return damaged, err
		}
		if pin {
			s.pins++
		}
		at += need
		good = at
	}
	s.size = good
	return damaged, nil
}

// load reads n bytes, or what there is.
func (s *segment) load(b []byte, at, n int64) ([]byte, error) {
	n = min(n, s.size-at)
	b = slices.Grow(b[:0], int(n))[:n]
	if _, err := s.r.ReadAt(b, at); err != nil {
		return nil, fmt.Errorf("read facts: %w", err)
	}
	return b, nil
}
