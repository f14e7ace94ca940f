package parquetfile

import (
	"container/heap"
	"errors"
	"fmt"
	"io"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// Source gives events in the order of Compare, then io.EOF. An EventReader is one.
type Source interface {
	Next(e *usage.Event) error
}

// SliceSource gives the events of a slice, which are in the order of Compare.
type SliceSource []usage.Event

// Next gives the first event and forgets it.
func (s *SliceSource) Next(e *usage.Event) error {
	if len(*s) == 0 {
		return io.EOF
	}
	*e = (*s)[0]
	*s = (*s)[1:]
	return nil
}

// Merge gives the events of several sources in one order. Memory is one event per source.
type Merge struct {
	heads  heads
	last   usage.Event
	any    bool
	opened bool
	err    error
}

type head struct {
	event  usage.Event
	source Source
	number int // so that equal events have an order
}

type heads []*head

func (h heads) Len() int      { return len(h) }
func (h heads) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *heads) Push(x any)   { *h = append(*h, x.(*head)) }

func (h heads) Less(i, j int) bool {
	if c := Compare(&h[i].event, &h[j].event); c != 0 {
		return c < 0
	}
	return h[i].number < h[j].number
}

func (h *heads) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

// NewMerge merges the sources, which it does not close.
func NewMerge(sources ...Source) *Merge {
	m := &Merge{}
	for i, s := range sources {
		m.heads = append(m.heads, &head{source: s, number: i})
	}
	return m
}

func (m *Merge) open() error {
	all := m.heads
	m.heads = nil
	for _, h := range all {
		err := h.source.Next(&h.event)
		if errors.Is(err, io.EOF) {
			continue
		}
		if err != nil {
			return err
		}
		m.heads = append(m.heads, h)
	}
	heap.Init(&m.heads)
	m.opened = true
	return nil
}

// Next gives the next event, or io.EOF. A source that is out of order, or an event that is there twice, is ErrCorrupt: merging would
// hide or double usage.
func (m *Merge) Next(e *usage.Event) (err error) {
	if m.err != nil {
		return m.err
	}
	defer func() { m.err = err }()
	if !m.opened {
		if err := m.open(); err != nil {
			return err
		}
	}
	if len(m.heads) == 0 {
		return io.EOF
	}
	h := m.heads[0]
	*e = h.event
	if m.any && Compare(&m.last, e) >= 0 {
		return corrupt("event %q of customer %q is there twice or out of order", e.ID, e.Customer)
	}
	m.any = true
	m.last.Customer, m.last.Timestamp, m.last.ID = e.Customer, e.Timestamp, e.ID
	switch err := h.source.Next(&h.event); {
	case err == nil:
		heap.Fix(&m.heads, 0)
	case errors.Is(err, io.EOF):
		heap.Pop(&m.heads)
	default:
		return fmt.Errorf("after event %q of customer %q: %w", e.ID, e.Customer, err)
	}
	return nil
}
