package usagereceiver

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/usagebox/otelcol-usagebox/internal/decimal"
	"github.com/usagebox/otelcol-usagebox/usage"
)

func kindName(k jsontext.Kind) string {
	switch k {
	case '"':
		return "a string"
	case '0':
		return "a number"
	case '[':
		return "a list"
	case '{':
		return "an object"
	case 'n':
		return "null"
	}
	return "true or false"
}

// string reads a string or a name. What it gives is valid until the next one is read.
func (x *element) string() ([]byte, error) {
	v, err := x.decoder.ReadValue()
	if err != nil {
		return nil, err
	}
	if len(v) < 2 || v[0] != '"' || bytes.IndexByte(v, '\\') >= 0 {
		x.scratch, err = jsontext.AppendUnquote(x.scratch[:0], v)
		return x.scratch, err
	}
	return v[1 : len(v)-1], nil
}

// wrongKind skips a value and says that it should have been something else.
func (x *element) wrongKind(reason, name, wanted string) error {
	k := x.decoder.PeekKind()
	if err := x.decoder.SkipValue(); err != nil {
		return err
	}
	return invalid(reason, name, "is "+kindName(k)+", not "+wanted)
}

func twice(name string) error {
	return invalid(usage.ReasonInvalidField, name, "is given twice, under two names and with two values")
}

// text reads a string; with p, one that is likely to come again.
func (x *element) text(name string, to *string, p *parser) error {
	if x.decoder.PeekKind() != '"' {
		return x.wrongKind(usage.ReasonInvalidField, name, "a string")
	}
	text, err := x.string()
	if err != nil {
		return err
	}
	if *to != "" {
		if *to != string(text) {
			return twice(name)
		}
		return nil
	}
	if p != nil {
		*to = p.intern(text)
	} else {
		*to = string(text)
	}
	return nil
}

// number reads a quantity from its decimal text, as a number or a string.
func (x *element) number(name string) (usage.Quantity, error) {
	var digits []byte
	var err error
	switch x.decoder.PeekKind() {
	case '0':
		digits, err = x.decoder.ReadValue()
	case '"':
		digits, err = x.string()
	default:
		return 0, x.wrongKind(usage.ReasonInvalidQuantity, name, "a number or a number in a string")
	}
	if err != nil {
		return 0, err
	}
	q, err := usage.ParseQuantity(digits)
	if err != nil {
		return 0, invalid(usage.ReasonInvalidQuantity, name, fmt.Sprintf("%.40q %v: at most 12 digits before the point and 6 after it", digits, err))
	}
	return q, nil
}

// amount reads the quantity of the event's only meter.
func (x *element) amount(name string) error {
	q, err := x.number(name)
	switch {
	case err != nil:
		return err
	case x.haveQuantity && x.quantity != q:
		return twice(name)
	}
	x.quantity, x.haveQuantity = q, true
	return nil
}

func (x *element) quantities(e *usage.Event, p *parser) error {
	if x.haveQuantities {
		return twice("quantities")
	}
	x.haveQuantities = true
	return x.object("quantities", p, func(meter string) error {
		q, err := x.number(meter)
		if wrong := (*usage.Invalid)(nil); errors.As(err, &wrong) {
			wrong.Field = "quantities." + meter
		}
		if err != nil {
			return err
		}
		e.Lines = append(e.Lines, usage.Line{Meter: meter, Quantity: q})
		return nil
	})
}

func (x *element) dimensions(e *usage.Event, p *parser) error {
	return x.object("dimensions", p, func(key string) error { return x.dimension("dimensions", key, e, p) })
}

// dimension keeps a scalar as text: numbers as they are written. field is the name that is told of an error.
func (x *element) dimension(field, key string, e *usage.Event, p *parser) error {
	var text []byte
	var err error
	switch x.decoder.PeekKind() {
	case '"':
		text, err = x.string()
	case '0', 't', 'f':
		text, err = x.decoder.ReadValue()
	case 'n':
		return x.decoder.SkipValue()
	default:
		err := x.wrongKind(usage.ReasonInvalidField, field, "a string, number or boolean")
		if wrong := (*usage.Invalid)(nil); errors.As(err, &wrong) && field != key {
			wrong.Field += "." + key
		}
		return err
	}
	if err != nil {
		return err
	}
	e.Dimensions = append(e.Dimensions, usage.Dimension{Key: key, Value: p.intern(text)})
	return nil
}

// object reads an object to its end, whatever is wrong in it.
func (x *element) object(name string, p *parser, each func(key string) error) error {
	if x.decoder.PeekKind() != '{' {
		return x.wrongKind(usage.ReasonInvalidField, name, "an object")
	}
	if _, err := x.decoder.ReadToken(); err != nil {
		return err
	}
	var first error
	for x.decoder.PeekKind() != '}' {
		key, err := x.string()
		if err == nil {
			err = each(p.intern(key))
		}
		if err != nil && !verdictIn(err) {
			return err
		}
		first = keep(first, err)
	}
	if _, err := x.decoder.ReadToken(); err != nil {
		return err
	}
	return first
}

// timestamp reads RFC 3339, or a whole number: of units per second, or, if perSecond is 0, of seconds, milliseconds or microseconds since 1970,
// which of them its size tells.
func (x *element) timestamp(name string, perSecond int64, e *usage.Event, p *parser) error {
	var at usage.Micros
	switch x.decoder.PeekKind() {
	case '"':
		text, err := x.string()
		if err != nil {
			return err
		}
		t, err := time.Parse(time.RFC3339Nano, string(text))
		if err != nil {
			return invalid(usage.ReasonInvalidTimestamp, name, fmt.Sprintf("%.40q is not RFC 3339, such as 2026-05-16T18:42:11Z", text))
		}
		if t.Year() < 1970 || t.Year() > 2499 {
			return invalid(usage.ReasonInvalidTimestamp, name, "is not between the years 1970 and 2499")
		}
		at = usage.MicrosOf(t)
	case '0':
		v, err := x.decoder.ReadValue()
		if err != nil {
			return err
		}
		n, err := decimal.Parse([]byte(v), 0, 18)
		if err != nil || n < 0 {
			return invalid(usage.ReasonInvalidTimestamp, name, fmt.Sprintf("%.40s is not a whole number of seconds, milliseconds or microseconds since 1970", v))
		}
		switch {
		case perSecond == 0 && n < 1e11:
			n *= 1e6
		case perSecond == 0 && n < 1e14:
			n *= 1e3
		case perSecond != 0 && n >= 1e14:
			return invalid(usage.ReasonInvalidTimestamp, name, "is not between the years 1970 and 2499")
		case perSecond != 0:
			n *= 1e6 / perSecond
		}
		at = usage.Micros(n)
	default:
		return x.wrongKind(usage.ReasonInvalidTimestamp, name, "RFC 3339 in a string, or a number")
	}
	switch {
	case at > p.latest:
		return invalid(usage.ReasonFutureTimestamp, name, at.Time().Format(time.RFC3339)+" is too far ahead of this machine's clock")
	case x.haveTimestamp && e.Timestamp != at:
		return twice(name)
	}
	e.Timestamp, x.haveTimestamp = at, true
	return nil
}
