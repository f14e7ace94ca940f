package tracestore

import (
	"bytes"
	"errors"

	"github.com/usagebox/otelcol-usagebox/internal/attribution"
	"github.com/usagebox/otelcol-usagebox/internal/idfilter"
)

const (
	topicsAtOnce  = 20_000  // read from the embedded store in one round
	topicsAtLeast = 1 << 20 // added before the filter is made anew
)

// topics says, without a look at the disk, that there are no notes of a topic: there are none of most. It is made of what the embedded store has, some in each
// round, and until all is read every topic may have notes. What is forgotten stays in it, so it is made anew now and then. One goroutine changes it; any
// number may ask meanwhile that no round begins.
type topics struct {
	whole *idfilter.Filter // nil: not yet
	limit int64            // bytes

	next   *idfilter.Filter // that is being made; nil: none is
	cursor []byte           // where it goes on
	found  int              // topics in whole, or in next
	added  int              // since whole was begun
}

func newTopics(limit int64) topics { return topics{limit: limit, next: idfilter.New(limit)} }

// may is false only when there is no note of a topic.
func (p *topics) may(t attribution.Topic) bool { return p.whole == nil || p.whole.MayHave(t) }

// put notes a topic that is about to be written.
func (p *topics) put(t attribution.Topic) {
	p.added++
	if p.whole != nil {
		p.whole.Add(t)
	}
	if p.next != nil {
		p.next.Add(t)
	}
}

// read goes on with the filter that is being made.
func (p *topics) read(s *Store, limit int) error {
	if p.next == nil {
		if p.added < max(topicsAtLeast, 2*p.found) {
			return nil
		}
		*p = topics{whole: p.whole, limit: p.limit, next: idfilter.New(p.limit)}
	}
	n := 0
	err := s.scanFrom(append([]byte{keyTopic}, p.cursor...), []byte{keyTopic + 1}, func(key, _ []byte) error {
		if len(key) != 1+len(attribution.Topic{}) {
			return nil
		}
		if n++; n > limit {
			p.cursor = bytes.Clone(key[1:])
			return errStop
		}
		p.next.Add(attribution.Topic(key[1:]))
		return nil
	})
	p.found += min(n, limit)
	if err == nil {
		p.whole, p.next, p.cursor = p.next, nil, nil
	}
	if errors.Is(err, errStop) {
		err = nil
	}
	return err
}
