package usagereceiver

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/usagebox/otelcol-usagebox/usage"
)

var errTooMany = errors.New("too many events")

// parser reads a body event by event: at any time it holds the events, and the text of one.
type parser struct {
	max     int
	latest  usage.Micros // a later timestamp is in the future
	usagedb bool         // names as usagedb has them

	count    int           // of elements seen
	events   []usage.Event // those that can be taken
	index    []int         // where each of these stood
	rejected []verdict
	refusals []usage.Refusal // the same, for the ledger
	list     bool            // the body is a list, which may be empty

	elements elements
	element  element
	known    map[string]string // texts that came before: customers, meters, names
}

// parsers keeps buffers from one request to the next.
var parsers = sync.Pool{New: func() any { return &parser{} }}

const (
	keptEvents = 4096    // of a parser that waits for its next request
	keptBytes  = 1 << 20 // of its buffer
	keptTexts  = 4096    // that it knows
	keptText   = 128     // bytes of each
)

func newParser(limit int, latest usage.Micros) *parser {
	p := parsers.Get().(*parser)
	p.max, p.latest = limit, latest
	return p
}

// release gives the parser back, whose events nobody reads any more.
func (p *parser) release() {
	if cap(p.events) > keptEvents || cap(p.elements.buf) > keptBytes {
		return
	}
	if len(p.known) >= keptTexts {
		p.known = nil
	}
	events := p.events[:cap(p.events)]
	for i := range events {
		events[i] = reuse(&events[i])
	}
	p.element.buffer = bytes.Buffer{}
	*p = parser{
		events: p.events[:0], index: p.index[:0], element: p.element, known: p.known,
		elements: elements{buf: p.elements.buf[:0], stack: p.elements.stack[:0]},
	}
	parsers.Put(p)
}

// reuse is an empty event with the room of e.
func reuse(e *usage.Event) usage.Event {
	clear(e.Lines)
	clear(e.Dimensions)
	return usage.Event{Lines: e.Lines[:0], Dimensions: e.Dimensions[:0]}
}

// json reads one event, an array of events, or several of these one after the other.
func (p *parser) json(body io.Reader) error {
	p.elements.body = body
	for {
		c, ok := p.elements.peek()
		switch {
		case !ok:
			return p.end()
		case c == '[':
			p.elements.at++
			if done, err := p.array(); done || err != nil {
				return err
			}
		default:
			text, err := p.elements.until('\n')
			if err != nil {
				return p.broken(err)
			}
			if err := p.add(text); err != nil {
				return err
			}
		}
	}
}

// lines reads an event a line.
func (p *parser) lines(body io.Reader) error {
	p.elements.body = body
	for {
		text, ok := p.elements.line()
		if len(text) > 0 {
			if err := p.add(text); err != nil {
				return err
			}
		}
		if !ok {
			return p.end()
		}
	}
}

// array reads the rest of an array whose bracket is read. done says that nothing behind it can be read.
func (p *parser) array() (done bool, err error) {
	p.list = true
	s := &p.elements
	if c, _ := s.peek(); c == ']' {
		s.at++
		return false, nil
	}
	for {
		text, err := s.until(']')
		if err != nil {
			return true, p.broken(err)
		}
		if err := p.add(text); err != nil {
			return true, err
		}
		s.at++
		if s.buf[s.at-1] == ']' {
			return false, nil
		}
	}
}

// batch reads usagedb's body: an object with the list "events".
func (p *parser) batch(body io.Reader) error {
	s := &p.elements
	s.body = body
	if c, _ := s.peek(); c != '{' {
		return p.broken(errors.New(`an object with the list "events" is expected`))
	}
	s.at++
	for {
		switch c, ok := s.peek(); {
		case c == '}':
			return nil
		case c == ',':
			s.at++
			continue
		case !ok || c != '"':
			return p.broken(errUnfinished)
		}
		end, err := s.text(1)
		if err != nil {
			return p.broken(err)
		}
		name := string(s.cut(end + 1))
		if c, _ := s.peek(); c != ':' {
			return p.broken(errMisfit)
		}
		s.at++
		if c, _ := s.peek(); name == `"events"` && c == '[' {
			s.at++
			if done, err := p.array(); done || err != nil {
				return err
			}
		} else if _, err := s.until('}'); err != nil {
			return p.broken(err)
		}
	}
}

// end is nil at the end of the body, else why it could not be read to its end.
func (p *parser) end() error {
	if errors.Is(p.elements.err, io.EOF) {
		return nil
	}
	return p.elements.err
}

// broken is a body whose elements can't be told from each other from some place on. What stood before it is taken; the element there is refused, and says that what
// follows was not read.
func (p *parser) broken(err error) error {
	if p.elements.err != nil && !errors.Is(p.elements.err, io.EOF) {
		return p.elements.err // the connection, the compression, the size
	}
	p.reject(&usage.Event{}, usage.ReasonInvalidJSON, fmt.Sprintf("the body is no JSON from here on, nothing from this element on was taken: %v", err))
	return nil
}

func (p *parser) tooMany() error {
	if p.count > p.max {
		return fmt.Errorf("%w: the request has more than %d: nothing was taken, send it in smaller batches", errTooMany, p.max)
	}
	return nil
}

// reject keeps the verdict on an event, and what could be read of it, which is the caller's.
func (p *parser) reject(e *usage.Event, reason, detail string) {
	p.rejected = append(p.rejected, verdict{p.count, printable(e.ID, usage.MaxIDBytes), reason, detail})
	kept := *e
	kept.Source = usage.SourceAPI
	kept.Lines, kept.Dimensions = slices.Clone(e.Lines), slices.Clone(e.Dimensions)
	p.refusals = append(p.refusals, usage.Refusal{Event: kept, Reason: reason, Detail: detail})
	p.count++
}

// add reads one element and keeps it or its verdict.
func (p *parser) add(text []byte) error {
	n := len(p.events)
	if n < cap(p.events) {
		p.events = p.events[:n+1]
	} else {
		p.events = append(p.events, usage.Event{})
	}
	e := &p.events[n]
	if err := p.element.read(text, e, p); err != nil {
		var invalid *usage.Invalid
		if !errors.As(err, &invalid) {
			invalid = &usage.Invalid{Reason: usage.ReasonInvalidJSON, Detail: err.Error()}
		}
		detail := invalid.Detail
		if invalid.Field != "" {
			detail = invalid.Field + " " + detail
		}
		p.reject(e, invalid.Reason, printable(detail, maxDetail))
		*e = reuse(e)
		p.events = p.events[:n]
		return p.tooMany()
	}
	p.index = append(p.index, p.count)
	p.count++
	return p.tooMany()
}

const maxDetail = 512 // bytes

// printable keeps an answer small whatever was sent.
func printable(s string, limit int) string {
	if len(s) > limit {
		return string(bytes.ToValidUTF8([]byte(s[:limit]), nil))
	}
	return s
}

// intern is text as a string, the same one for the same text.
func (p *parser) intern(text []byte) string {
	if s, ok := p.known[string(text)]; ok {
		return s
	}
	s := string(text)
	if len(text) <= keptText && len(p.known) < keptTexts {
		if p.known == nil {
			p.known = make(map[string]string)
		}
		p.known[s] = s
	}
	return s
}

// errUnmatched says that the pipeline refused events under names that they were not sent with.
var errUnmatched = errors.New("the pipeline refused events that it had changed")

// refused adds what the pipeline did not take. A processor may have changed what an event holds, or whose it is: its id still tells which one is meant.
func (p *parser) refused(rejections []usage.Rejection) error {
	type name struct {
		usage.Key
		usage.Payload
	}
	exact := make(map[name]*usage.Rejection, len(rejections))
	for i := range rejections {
		exact[name{rejections[i].Key, rejections[i].Payload}] = &rejections[i]
	}
	of := make([]*usage.Rejection, len(p.events))
	found := make(map[*usage.Rejection]bool, len(rejections))
	for i := range p.events {
		e := &p.events[i]
		if r := exact[name{e.Key(), e.Payload()}]; r != nil {
			of[i], found[r] = r, true
		}
	}
	if len(found) < len(exact) {
		byID := make(map[string]*usage.Rejection)
		for _, r := range exact {
			if !found[r] {
				byID[r.ID] = r
			}
		}
		for i := range p.events {
			if r := byID[p.events[i].ID]; r != nil && of[i] == nil {
				of[i], found[r] = r, true
			}
		}
	}
	for i, r := range of {
		if r != nil {
			p.rejected = append(p.rejected, verdict{p.index[i], p.events[i].ID, r.Reason, printable(r.Detail, maxDetail)})
		}
	}
	slices.SortFunc(p.rejected, func(a, b verdict) int { return cmp.Compare(a.Index, b.Index) })
	if len(found) < len(exact) {
		return fmt.Errorf("%w: %d of them can't be named", errUnmatched, len(exact)-len(found))
	}
	return nil
}
