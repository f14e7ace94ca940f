package factlog

import "math"

// Release unpins records: they may be dropped.
func (l *Log) Release(places []Place) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range places {
		if s := l.segment(p.Offset); s != nil && s.pins > 0 {
			s.pins--
		}
	}
}

// Pinned is the offset from which on records may be pinned.
func (l *Log) Pinned() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.segments {
		if s.pins > 0 || s == l.active {
			return s.base
		}
	}
	return l.next
}

// Bytes is what the segments take on disk.
func (l *Log) Bytes() (n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.segments {
		n += s.size
	}
	return n
}

// Created is when the segment of a record was begun, in Unix microseconds; ok is false when it was dropped.
func (l *Log) Created(p Place) (at int64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.segment(p.Offset)
	if s == nil {
		return 0, false
	}
	return s.created, true
}

// Oldest is when the oldest segment was begun, in Unix microseconds; 0 without one.
func (l *Log) Oldest() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.segments) == 0 {
		return 0
	}
	return l.segments[0].created
}

// Drop removes the oldest segment if none of its records is pinned and nothing was written to it at or after a time, in Unix microseconds. The one that
// is written to goes only when it was begun before that time.
func (l *Log) Drop(before int64) (dropped bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.segments) == 0 {
		return false, nil
	}
	s := l.segments[0]
	switch {
	case s.pins > 0:
		return false, nil
	case len(l.segments) > 1 && s != l.active:
		if l.segments[1].created >= before {
			return false, nil
		}
	case l.writing || before == math.MaxInt64 || s.created+l.o.SegmentAge >= before:
		return false, nil
	default:
		l.endActive()
	}
	if err := l.o.FS.Remove(s.path); err != nil {
		return false, err
	}
	l.segments = l.segments[1:]
	return true, s.r.Close()
}
