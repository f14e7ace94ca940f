package usagereceiver

import (
	"bytes"
	"errors"
	"io"
)

// elements cuts a body into the texts of its elements by quotes and brackets alone, so that an element that is no JSON (NaN, a trailing comma) is told
// from its neighbours. Where quotes and brackets themselves don't fit, the end of an element can't be known, and no more is cut.
//
// At any time it holds the text of one element and what was read ahead.
type elements struct {
	body  io.Reader
	buf   []byte // buf[at:] is read and not yet taken
	at    int
	err   error  // of body
	stack []byte // brackets that are open in the element
}

var (
	errUnfinished = errors.New("it ends within an element")
	errMisfit     = errors.New("quotes or brackets don't fit, so that it can't be told where the element ends")
)

const readAhead = 32 << 10

// more reads on; false says that there is no more, and err why.
func (s *elements) more() bool {
	if s.at > 0 {
		s.buf = s.buf[:copy(s.buf, s.buf[s.at:])]
		s.at = 0
	}
	if len(s.buf) == cap(s.buf) {
		s.buf = append(make([]byte, 0, max(readAhead, 2*cap(s.buf))), s.buf...)
	}
	for s.err == nil {
		n, err := s.body.Read(s.buf[len(s.buf):cap(s.buf)])
		s.buf, s.err = s.buf[:len(s.buf)+n], err
		if n > 0 {
			return true
		}
	}
	return false
}

// peek is the next byte that is no space.
func (s *elements) peek() (c byte, ok bool) {
	for {
		for ; s.at < len(s.buf); s.at++ {
			switch c := s.buf[s.at]; c {
			case ' ', '\t', '\r', '\n':
			default:
				return c, true
			}
		}
		if !s.more() {
			return 0, false
		}
	}
}

// until cuts the text up to the end of a list (']'), of a member (of an object that '}' ends), or, outside of these ('\n'), up to a closing
// bracket or the end of the line. The text is valid until the next call; the byte that ended a list's element or a member is the next one.
func (s *elements) until(end byte) ([]byte, error) {
	s.stack = s.stack[:0]
	var last byte // that was no space
	for i := 0; ; i++ {
		if s.at+i == len(s.buf) && !s.more() {
			if end == '\n' && len(s.stack) == 0 {
				return s.cut(i), nil
			}
			return nil, errUnfinished
		}
		c := s.buf[s.at+i]
		switch c {
		case ' ', '\t', '\r':
			continue
		case '\n':
			if end == '\n' && len(s.stack) == 0 {
				return s.cut(i), nil
			}
			continue
		case '"':
			switch last {
			case 0, '{', '[', ',', ':':
			default:
				return nil, errMisfit
			}
			closing, err := s.text(i + 1)
			if err != nil {
				return nil, err
			}
			i = closing
		case '{', '[':
			if last == '"' {
				return nil, errMisfit
			}
			s.stack = append(s.stack, c+2) // the bracket that closes it
		case '}', ']':
			open := len(s.stack)
			switch {
			case open == 0 && c == end:
				return s.cut(i), nil
			case open == 0 || s.stack[open-1] != c:
				return nil, errMisfit
			}
			s.stack = s.stack[:open-1]
			if open == 1 && end == '\n' {
				return s.cut(i + 1), nil
			}
		case ',':
			if len(s.stack) == 0 && end != '\n' {
				return s.cut(i), nil
			}
		case ':':
		default:
			if last == '"' {
				return nil, errMisfit
			}
		}
		last = c
	}
}

// text finds the quote that closes the one before the offset i.
func (s *elements) text(i int) (int, error) {
	for from := i; ; {
		n := bytes.IndexByte(s.buf[s.at+i:], '"')
		if n < 0 {
			i = len(s.buf) - s.at
			if !s.more() {
				return 0, errUnfinished
			}
			continue
		}
		i += n
		slashes := 0
		for i-slashes > from && s.buf[s.at+i-slashes-1] == '\\' {
			slashes++
		}
		if slashes%2 == 0 {
			return i, nil
		}
		i++
	}
}

func (s *elements) cut(n int) []byte {
	text := bytes.TrimSpace(s.buf[s.at : s.at+n])
	s.at += n
	return text
}

// line is the next line, whatever it holds; ok says that there may be another one.
func (s *elements) line() (text []byte, ok bool) {
	for i := 0; ; {
		if n := bytes.IndexByte(s.buf[s.at+i:], '\n'); n >= 0 {
			return s.cut(i + n + 1), true
		}
		i = len(s.buf) - s.at
		if !s.more() {
			if !errors.Is(s.err, io.EOF) {
				return nil, false
			}
			return s.cut(i), false
		}
	}
}
