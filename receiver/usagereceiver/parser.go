package usagereceiver

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/go-json-experiment/json/jsontext"

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
	list     bool // the body is a list, which may be empty
	element  element
	source   source
}

// source remembers why a body could not be read further.
type source struct {
	io.Reader
	err error
}

func (s *source) Read(b []byte) (int, error) {
	n, err := s.Reader.Read(b)
	if err != nil {
		s.err = err
	}
	return n, err
}

func (p *parser) from(body io.Reader) io.Reader {
	p.source = source{Reader: body}
	return &p.source
}

// lenient slices elements out of a body; each is then read strictly by itself, so that one that breaks a rule doesn't hide the others.
var lenient = []jsontext.Options{jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)}

// json reads one event, an array of events, or several of these one after the other.
func (p *parser) json(body io.Reader) error {
	d := jsontext.NewDecoder(p.from(body), lenient...)
	for {
		switch d.PeekKind() {
		case '[':
			p.list = true
			if _, err := d.ReadToken(); err != nil {
				return p.broken(err)
			}
			if done, err := p.array(d); done || err != nil {
				return err
			}
		default:
			if done, err := p.value(d); done || err != nil {
				return err
			}
		}
	}
}

// array reads the rest of an array whose bracket is read. done is as value's.
func (p *parser) array(d *jsontext.Decoder) (done bool, err error) {
	for d.PeekKind() != ']' {
		if done, err := p.value(d); done || err != nil {
			return true, err
		}
	}
	if _, err := d.ReadToken(); err != nil {
		return true, p.broken(err)
	}
	return false, nil
}

// value reads one element. done says that the body is at its end, or that nothing behind it can be read.
func (p *parser) value(d *jsontext.Decoder) (done bool, err error) {
	raw, err := d.ReadValue()
	if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && d.StackDepth() == 0 {
		return true, nil
	}
	if err != nil {
		return true, p.broken(err)
	}
	return false, p.add(raw)
}

// broken is a body that is no JSON from some place on. What stood before it is taken; the element there is refused, and says that what follows was not read.
func (p *parser) broken(err error) error {
	if p.source.err != nil && p.source.err != io.EOF { //nolint:errorlint // a reader gives io.EOF itself
		return p.source.err // the connection, the compression, the size
	}
	p.reject("", usage.ReasonInvalidJSON, fmt.Sprintf("the body is no JSON from here on: nothing from this element on was taken: %v", err))
	return nil
}

// lines reads an event a line. A broken line is refused by itself.
func (p *parser) lines(body io.Reader) error {
	r := bufio.NewReaderSize(body, 64<<10)
	for {
		line, err := readLine(r)
		if text := bytes.TrimSpace(line); len(text) > 0 {
			if err := p.line(text); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
			return nil
		case err != nil:
			return err
		}
	}
}

func (p *parser) line(text []byte) error {
	d := jsontext.NewDecoder(bytes.NewReader(text), lenient...)
	raw, err := d.ReadValue()
	if err == nil {
		if int(d.InputOffset()) < len(text) {
			err = errors.New("more than one value on the line")
		}
	}
	if err != nil {
		p.reject("", usage.ReasonInvalidJSON, err.Error())
		return p.tooMany()
	}
	return p.add(raw)
}

// readLine reads to the end of a line; the body's own limit bounds it.
func readLine(r *bufio.Reader) ([]byte, error) {
	line, err := r.ReadSlice('\n')
	if !errors.Is(err, bufio.ErrBufferFull) {
		return line, err
	}
	long := slices.Clone(line)
	for errors.Is(err, bufio.ErrBufferFull) {
		line, err = r.ReadSlice('\n')
		long = append(long, line...)
	}
	return long, err
}

// batch reads usagedb's body: an object with the list "events".
func (p *parser) batch(body io.Reader) error {
	d := jsontext.NewDecoder(p.from(body), lenient...)
	if d.PeekKind() != '{' {
		return p.broken(cmp.Or(p.peekError(d), error(&jsontext.SyntacticError{Err: errors.New(`expected an object with "events"`)})))
	}
	if _, err := d.ReadToken(); err != nil {
		return p.broken(err)
	}
	for d.PeekKind() != '}' {
		name, err := d.ReadToken()
		if err != nil {
			return p.broken(err)
		}
		if name.String() != "events" || d.PeekKind() != '[' {
			if err := d.SkipValue(); err != nil {
				return p.broken(err)
			}
			continue
		}
		p.list = true
		if _, err := d.ReadToken(); err != nil {
			return p.broken(err)
		}
		if done, err := p.array(d); done || err != nil {
			return err
		}
	}
	return nil
}

func (p *parser) peekError(d *jsontext.Decoder) error {
	_, err := d.ReadToken()
	return err
}

func (p *parser) tooMany() error {
	if p.count > p.max {
		return fmt.Errorf("%w: the request has more than %d: nothing was taken, send it in smaller batches", errTooMany, p.max)
	}
	return nil
}

func (p *parser) reject(id, reason, detail string) {
	p.rejected = append(p.rejected, verdict{p.count, id, reason, detail})
	p.count++
}

// add reads one element and keeps it or its verdict.
func (p *parser) add(raw jsontext.Value) error {
	p.events = append(p.events, usage.Event{})
	e := &p.events[len(p.events)-1]
	if err := p.element.read(raw, e, p); err != nil {
		var invalid *usage.Invalid
		if !errors.As(err, &invalid) {
			invalid = &usage.Invalid{Reason: usage.ReasonInvalidJSON, Detail: err.Error()}
		}
		detail := invalid.Detail
		if invalid.Field != "" {
			detail = invalid.Field + " " + detail
		}
		id := e.ID
		p.events = p.events[:len(p.events)-1]
		p.reject(printable(id), invalid.Reason, detail)
		return p.tooMany()
	}
	p.index = append(p.index, p.count)
	p.count++
	return p.tooMany()
}

// printable keeps an answer small whatever an id is.
func printable(id string) string {
	if len(id) > usage.MaxIDBytes {
		return string(bytes.ToValidUTF8([]byte(id[:usage.MaxIDBytes]), nil))
	}
	return id
}

// refused adds what the pipeline did not take.
func (p *parser) refused(rejections []usage.Rejection) {
	type name struct {
		usage.Key
		usage.Payload
	}
	by := make(map[name]*usage.Rejection, len(rejections))
	for i := range rejections {
		by[name{rejections[i].Key, rejections[i].Payload}] = &rejections[i]
	}
	for i := range p.events {
		e := &p.events[i]
		if r := by[name{e.Key(), e.Payload()}]; r != nil {
			p.rejected = append(p.rejected, verdict{p.index[i], e.ID, r.Reason, r.Detail})
		}
	}
}

func (p *parser) sortVerdicts() {
	slices.SortFunc(p.rejected, func(a, b verdict) int { return cmp.Compare(a.Index, b.Index) })
}
