package tracestore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"go.uber.org/zap"

	"github.com/usagebox/otelcol-usagebox/internal/attribution"
	"github.com/usagebox/otelcol-usagebox/internal/factlog"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// restore finds what was known in memory: where facts of open traces lie, which traces are to be looked at again, and which are linked to.
func (s *Store) restore() error {
	s.open = newOpenTraces()
	s.woken = map[attribution.TraceID]struct{}{}
	s.linked = linked{hashes: map[uint64]struct{}{}}
	pinned, err := s.number("pinned")
	if err != nil {
		return err
	}
	damaged, err := s.log.Replay(pinned, func(p factlog.Place, payload []byte) (bool, error) {
		trace, at, _, err := readRecord(payload)
		if err != nil {
			return false, nil //nolint:nilerr // whole, but nothing that this version writes
		}
		s.open.add(trace, p, at)
		return true, nil
	})
	if err != nil {
		return err
	}
	for _, d := range damaged {
		s.logger.Error("the log of facts is damaged: what can be read is used", zap.Error(d))
	}
	if err := s.passOverSettled(); err != nil {
		return err
	}
	err = s.scan([]byte{keyPending}, func(key, _ []byte) error {
		if len(key) != 17 {
			return fmt.Errorf("traces to look at: %w", attribution.ErrCorrupt)
		}
		s.woken[attribution.TraceID(key[1:])] = struct{}{}
		return nil
	})
	return errors.Join(err, s.restoreOutbox(), s.scan([]byte{keyWaiting}, func(key, _ []byte) error {
		if len(key) == 33 {
			s.linked.add(attribution.TraceID(key[1:17]))
		}
		return nil
	}))
}

// passOverSettled leaves what no settlement has looked at.
func (s *Store) passOverSettled() error {
	traces := slices.Collect(maps.Keys(s.open.traces))
	befores, err := s.Before(traces)
	if err != nil {
		return err
	}
	for i, trace := range traces {
		e, _, err := befores[i].read(trace)
		if err != nil {
			return fmt.Errorf("trace %s: %w", trace, err)
		}
		if e.at == 0 {
			e.handled = befores[i].handled
		}
		if e.handled == 0 && len(e.places) == 0 {
			continue
		}
		places := s.open.places(trace)
		left := slices.DeleteFunc(slices.Clone(places), e.has)
		if len(left) == len(places) {
			continue
		}
		s.log.Release(slices.DeleteFunc(slices.Clone(places), func(p factlog.Place) bool { return !e.has(p) }))
		first := s.open.traces[trace].first
		s.open.looked(trace, len(places), 0)
		for _, p := range left {
			s.open.add(trace, p, first)
		}
	}
	return nil
}

// Pending tells of every trace that has facts which no settlement has looked at, and when the first of them came; and of every trace to look at again, with 0.
func (s *Store) Pending(tell func(trace attribution.TraceID, first usage.Micros)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for trace, t := range s.open.traces {
		tell(trace, t.first)
	}
	for trace := range s.woken {
		if _, ok := s.open.traces[trace]; !ok {
			tell(trace, 0)
		}
	}
}

// linked says, without a look at the disk, that a trace is not linked to: most are not.
type linked struct {
	hashes map[uint64]struct{}
	many   bool // too many to remember
}

const maxLinked = 1 << 20

func (l *linked) add(trace attribution.TraceID) {
	if l.many {
		return
	}
	l.hashes[hash(trace)] = struct{}{}
	if len(l.hashes) > maxLinked {
		l.hashes, l.many = nil, true
	}
}

func (l *linked) may(trace attribution.TraceID) bool {
	_, ok := l.hashes[hash(trace)]
	return ok || l.many
}

func hash(trace attribution.TraceID) uint64 {
	return binary.LittleEndian.Uint64(trace[:8]) ^ binary.LittleEndian.Uint64(trace[8:])
}

// linkedTo is false when no trace links to this one.
func (s *Store) linkedTo(trace attribution.TraceID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.linked.may(trace)
}
