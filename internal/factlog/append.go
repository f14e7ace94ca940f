package factlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"
)

// maxSpare is the largest buffer that is kept for a later group. There are two: one group is filled while another is written.
const maxSpare = 8 << 20

// Append makes records durable, and pins their segments until Release. at is the time, in Unix microseconds. All of them are there when it
// answers nil; on an error nothing may be assumed: they may turn up in Replay.
func (l *Log) Append(records [][]byte, at int64) ([]Place, error) {
	for _, r := range records {
		if len(r) > MaxRecord {
			return nil, fmt.Errorf("a record of %d bytes is above %d: nothing was taken", len(r), MaxRecord)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, ErrClosed
	}
	if l.group == nil {
		l.group = &group{}
		if last := len(l.spare) - 1; last >= 0 {
			l.group.b, l.spare = l.spare[last], l.spare[:last]
		}
	}
	g := l.group
	first := len(g.ends)
	g.at = max(g.at, at)
	for _, r := range records {
		g.b = append(g.b, make([]byte, recordHeader)...)
		g.b = append(g.b, r...)
		g.ends = append(g.ends, len(g.b))
	}
	for !g.done {
		switch {
		case l.writing:
			l.turn.Wait()
		case l.closed:
			return nil, ErrClosed
		default:
			l.write(g)
		}
	}
	if g.err != nil {
		return nil, g.err
	}
	places := make([]Place, len(records))
	begin := 0
	if first > 0 {
		begin = g.ends[first-1]
	}
	for i := range records {
		end := g.ends[first+i]
		places[i] = Place{Offset: g.start + uint64(begin), Length: uint32(end - begin - recordHeader)}
		begin = end
	}
	return places, nil
}

// write is done by one of those who wait, for all of them, without the lock.
func (l *Log) write(g *group) {
	l.group, l.writing = nil, true
	began := time.Now()
	s, fresh := l.active, false
	l.mu.Unlock()
	var err error
	if s == nil || s.size+int64(len(g.b)) > l.o.SegmentBytes || l.o.SegmentAge > 0 && g.at-s.created > l.o.SegmentAge {
		s, err = l.begin(g.at)
		fresh = true
	}
	if err == nil {
		g.start = s.base + uint64(s.size)
		g.seal()
		_, err = s.w.Write(g.b)
	}
	if err == nil {
		err = s.w.SyncData()
	}
	if err == nil && fresh {
		err = l.syncDirectory()
	}
	if l.o.Synced != nil {
		l.o.Synced(time.Since(began))
	}
	l.mu.Lock()
	l.finish(s, g, fresh, err)
	l.writing = false
	l.turn.Broadcast()
}

// finish notes what became of a group.
func (l *Log) finish(s *segment, g *group, fresh bool, err error) {
	g.done, g.err = true, err
	written := len(g.b)
	if cap(g.b) <= maxSpare && len(l.spare) < 2 {
		l.spare = append(l.spare, g.b[:0])
	}
	g.b = nil
	if s == nil {
		return
	}
	end := s.base + uint64(s.size) + uint64(written)
	l.next = max(l.next, end)
	if fresh {
		l.endActive()
	}
	switch {
	case err == nil:
		s.size += int64(written)
		s.pins += len(g.ends)
		if fresh {
			l.segments = append(l.segments, s)
			l.active = s
		}
	case fresh:
		g.err = errors.Join(err, s.w.Close(), s.r.Close(), l.o.FS.Remove(s.path))
	default:
		l.endActive()
	}
}

func (l *Log) endActive() {
	if l.active != nil {
		_ = l.active.w.Close() // all that counts is synced
		l.active.w = nil
		l.active = nil
	}
}

// begin makes the file of a new segment; it is durable with its first group.
func (l *Log) begin(at int64) (*segment, error) {
	l.mu.Lock()
	base := l.next
	l.mu.Unlock()
	s := &segment{base: base, created: at, size: headerBytes, path: l.o.FS.PathJoin(l.o.Directory, fmt.Sprintf("%016x%s", base, suffix))}
	var err error
	if s.w, err = l.o.FS.Create(s.path, category); err != nil {
		return nil, err
	}
	h := make([]byte, 0, headerBytes)
	h = append(h, magic...)
	h = binary.LittleEndian.AppendUint32(h, Version)
	h = binary.LittleEndian.AppendUint64(h, base)
	h = binary.LittleEndian.AppendUint64(h, uint64(at))
	h = binary.LittleEndian.AppendUint32(h, crc32.Checksum(h, castagnoli))
	if _, err = s.w.Write(h); err == nil {
		s.r, err = l.o.FS.Open(s.path)
	}
	if err != nil {
		return nil, errors.Join(err, s.w.Close(), l.o.FS.Remove(s.path))
	}
	return s, nil
}

func (l *Log) syncDirectory() error {
	d, err := l.o.FS.OpenDir(l.o.Directory)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// seal fills in the headers of a group's records.
func (g *group) seal() {
	begin := 0
	for _, end := range g.ends {
		r := g.b[begin:end]
		sealRecord(r, g.start+uint64(begin))
		begin = end
	}
}

func sealRecord(r []byte, offset uint64) {
	length := uint32(len(r) - recordHeader)
	binary.LittleEndian.PutUint64(r, offset) // the header has room for what its checksum covers
	binary.LittleEndian.PutUint32(r[8:], length)
	head := crc32.Checksum(r[:recordHeader], castagnoli)
	binary.LittleEndian.PutUint32(r, length)
	binary.LittleEndian.PutUint32(r[4:], head)
	binary.LittleEndian.PutUint32(r[8:], crc32.Update(head, castagnoli, r[recordHeader:]))
}

// checkHead is the checksum of a record's offset and length.
func checkHead(r []byte, offset uint64) uint32 {
	var b [12]byte
	binary.LittleEndian.PutUint64(b[:], offset)
	copy(b[8:], r[:4])
	return crc32.Checksum(b[:], castagnoli)
}

// goodHead says whether a record's header, at least, is what was written at an offset.
func goodHead(r []byte, offset uint64) bool {
	return binary.LittleEndian.Uint32(r[4:]) == checkHead(r, offset)
}

// goodRecord says whether a whole record is.
func goodRecord(r []byte, offset uint64) bool {
	head := checkHead(r, offset)
	return binary.LittleEndian.Uint32(r[4:]) == head && binary.LittleEndian.Uint32(r[8:]) == crc32.Update(head, castagnoli, r[recordHeader:])
}
