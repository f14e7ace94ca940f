package usagereceiver

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/usagebox/otelcol-usagebox/internal/decimal"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// element reads one event from JSON. Its fields hold what can only be judged when all is read.
type element struct {
	decoder  *jsontext.Decoder
	cloud    bool // a CloudEvent
	meter    string
	unit     string
	quantity *usage.Quantity
	ceType   string // of a CloudEvent
	subject  string
	have     struct{ id, timestamp, quantities bool }
}

func (x *element) read(raw jsontext.Value, e *usage.Event, p *parser) error {
	d := x.decoder
	if d == nil {
		d = jsontext.NewDecoder(bytes.NewReader(raw))
	} else {
		d.Reset(bytes.NewReader(raw))
	}
	*x = element{decoder: d}
	if d.PeekKind() != '{' {
		return invalid(usage.ReasonInvalidEvent, "", "is not an object: it is "+kindName(raw.Kind()))
	}
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	var first error // the first thing that is wrong; reading goes on, to learn the id
	for d.PeekKind() != '}' {
		name, err := d.ReadToken()
		if err != nil {
			return keep(first, syntax(err))
		}
		if err := x.field(name.String(), e, p, false); err != nil {
			if invalid := (*usage.Invalid)(nil); !errors.As(err, &invalid) {
				return keep(first, syntax(err))
			}
			first = keep(first, err)
		}
	}
	if first != nil {
		return first
	}
	return x.finish(e, p)
}

func keep(first, next error) error {
	if first != nil {
		return first
	}
	return next
}

// syntax is JSON that breaks a rule: a name twice, text that is no UTF-8, nesting without end.
func syntax(err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return invalid(usage.ReasonInvalidJSON, "", err.Error())
}

func invalid(reason, field, detail string) error {
	return &usage.Invalid{Reason: reason, Field: field, Detail: detail}
}

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
	case 't', 'f':
		return "true or false"
	}
	return "something else"
}

// field reads the value of a name. data says that it stands in a CloudEvent's data.
func (x *element) field(name string, e *usage.Event, p *parser, data bool) error {
	if x.decoder.PeekKind() == 'n' { // null is absent
		_, err := x.decoder.ReadToken()
		return err
	}
	if p.usagedb {
		if other, ok := usagedbNames[name]; ok {
			name = other
		}
	}
	if to := target(name, e); to != nil {
		return x.text(name, to)
	}
	switch name {
	case "event_id":
		return x.text(name, &e.ID)
	case "id":
		if !data {
			return x.text(name, &e.ID)
		}
	case "meter":
		return x.text(name, &x.meter)
	case "unit":
		return x.text(name, &x.unit)
	case "quantity", "value":
		if name == "value" && !data {
			break
		}
		q, err := x.number(name)
		if err != nil {
			return err
		}
		x.quantity = &q
		return nil
	case "quantities":
		return x.quantities(e)
	case "kind":
		var kind string
		err := x.text(name, &kind)
		e.Kind = usage.Kind(strings.ToLower(kind))
		return err
	case "timestamp", "time":
		x.have.timestamp = true
		return x.timestamp(name, e, p)
	case "dimensions":
		return x.dimensions(e)
	case "specversion":
		if !data {
			x.cloud = true
			return x.decoder.SkipValue()
		}
	case "type":
		if !data {
			return x.text(name, &x.ceType)
		}
	case "subject":
		if !data {
			return x.text(name, &x.subject)
		}
	case "datacontenttype", "dataschema", "data_base64":
		if !data {
			return x.decoder.SkipValue()
		}
	case "data":
		if !data && x.decoder.PeekKind() == '{' {
			return x.data(e, p)
		}
	}
	return x.other(name, e)
}

// usagedbNames are usagedb's names of our fields.
var usagedbNames = map[string]string{
	"meter_id": "meter", "model_id": "model", "timestamp_ms": "timestamp", "correction_ref": "corrects",
}

func target(name string, e *usage.Event) *string {
	switch name {
	case "account_id", "customer", "customer_id":
		return &e.Customer
	case "corrects":
		return &e.Corrects
	case "user_id":
		return &e.UserID
	case "session_id":
		return &e.SessionID
	case "conversation_id":
		return &e.ConversationID
	case "feature":
		return &e.Feature
	case "step":
		return &e.Step
	case "agent":
		return &e.Agent
	case "trace_id":
		return &e.TraceID
	case "span_id":
		return &e.SpanID
	case "run_id":
		return &e.RunID
	case "operation":
		return &e.Operation
	case "provider":
		return &e.Provider
	case "model":
		return &e.Model
	case "service":
		return &e.Service
	}
	return nil
}

func (x *element) text(name string, to *string) error {
	if k := x.decoder.PeekKind(); k != '"' {
		if err := x.decoder.SkipValue(); err != nil {
			return err
		}
		return invalid(usage.ReasonInvalidField, name, "is "+kindName(k)+", not a string")
	}
	t, err := x.decoder.ReadToken()
	if err != nil {
		return err
	}
	*to = t.String()
	return nil
}

// number reads a quantity from its decimal text, as a number or a string.
func (x *element) number(name string) (usage.Quantity, error) {
	k := x.decoder.PeekKind()
	if k != '0' && k != '"' {
		if err := x.decoder.SkipValue(); err != nil {
			return 0, err
		}
		return 0, invalid(usage.ReasonInvalidQuantity, name, "is "+kindName(k)+", not a number or a number in a string")
	}
	t, err := x.decoder.ReadValue()
	if err != nil {
		return 0, err
	}
	digits := []byte(t)
	if k == '"' {
		if digits, err = jsontext.AppendUnquote(nil, t); err != nil {
			return 0, err
		}
	}
	q, err := usage.ParseQuantity(digits)
	if err != nil {
		return 0, invalid(usage.ReasonInvalidQuantity, name, fmt.Sprintf("%.40q %v: at most 12 digits before the point and 6 after it", digits, err))
	}
	return q, nil
}

func (x *element) quantities(e *usage.Event) error {
	x.have.quantities = true
	return x.object("quantities", func(meter string) error {
		q, err := x.number("quantities." + meter)
		if err != nil {
			return err
		}
		e.Lines = append(e.Lines, usage.Line{Meter: meter, Quantity: q})
		return nil
	})
}

func (x *element) dimensions(e *usage.Event) error {
	return x.object("dimensions", func(key string) error { return x.dimension("dimensions."+key, key, e) })
}

// dimension keeps a scalar as text: numbers as they are written.
func (x *element) dimension(name, key string, e *usage.Event) error {
	k := x.decoder.PeekKind()
	switch k {
	case '"', '0', 't', 'f':
		v, err := x.decoder.ReadValue()
		if err != nil {
			return err
		}
		text := string(v)
		if k == '"' {
			unquoted, err := jsontext.AppendUnquote(nil, v)
			if err != nil {
				return err
			}
			text = string(unquoted)
		}
		e.Dimensions = append(e.Dimensions, usage.Dimension{Key: key, Value: text})
		return nil
	case 'n':
		_, err := x.decoder.ReadToken()
		return err
	}
	if err := x.decoder.SkipValue(); err != nil {
		return err
	}
	return invalid(usage.ReasonInvalidField, name, "is "+kindName(k)+", not a string, number or boolean")
}

// other keeps what has no column: nothing that a sender says is lost.
func (x *element) other(name string, e *usage.Event) error { return x.dimension(name, name, e) }

// object reads an object to its end, whatever is wrong in it.
func (x *element) object(name string, each func(key string) error) error {
	if k := x.decoder.PeekKind(); k != '{' {
		if err := x.decoder.SkipValue(); err != nil {
			return err
		}
		return invalid(usage.ReasonInvalidField, name, "is "+kindName(k)+", not an object")
	}
	if _, err := x.decoder.ReadToken(); err != nil {
		return err
	}
	var first error
	for x.decoder.PeekKind() != '}' {
		key, err := x.decoder.ReadToken()
		if err != nil {
			return err
		}
		if err := each(key.String()); err != nil {
			if invalid := (*usage.Invalid)(nil); !errors.As(err, &invalid) {
				return err
			}
			first = keep(first, err)
		}
	}
	if _, err := x.decoder.ReadToken(); err != nil {
		return err
	}
	return first
}

func (x *element) data(e *usage.Event, p *parser) error {
	return x.object("data", func(name string) error { return x.field(name, e, p, true) })
}

// timestamp reads RFC 3339, or a whole number of seconds, milliseconds or microseconds since 1970: which, its size tells.
func (x *element) timestamp(name string, e *usage.Event, p *parser) error {
	k := x.decoder.PeekKind()
	v, err := x.decoder.ReadValue()
	if err != nil {
		return err
	}
	switch k {
	case '"':
		text, err := jsontext.AppendUnquote(nil, v)
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
		e.Timestamp = usage.MicrosOf(t)
	case '0':
		n, err := decimal.Parse(v, 0, 18)
		if err != nil || n < 0 {
			return invalid(usage.ReasonInvalidTimestamp, name, fmt.Sprintf("%.40s is not a whole number of seconds, milliseconds or microseconds since 1970", v))
		}
		switch {
		case n < 1e11:
			n *= 1e6
		case n < 1e14:
			n *= 1e3
		}
		e.Timestamp = usage.Micros(n)
	default:
		return invalid(usage.ReasonInvalidTimestamp, name, "is "+kindName(k)+", not RFC 3339 in a string")
	}
	if e.Timestamp > p.latest {
		return invalid(usage.ReasonFutureTimestamp, name, e.Timestamp.Time().Format(time.RFC3339)+" is too far ahead of this machine's clock")
	}
	return nil
}

// finish brings together what was read.
func (x *element) finish(e *usage.Event, p *parser) error {
	e.Source = usage.SourceAPI
	if x.cloud {
		if e.Customer == "" {
			e.Customer = x.subject
		} else if x.subject != "" {
			e.Dimensions = append(e.Dimensions, usage.Dimension{Key: "subject", Value: x.subject})
		}
		if x.meter == "" && !x.have.quantities {
			x.meter = x.ceType
			if x.quantity == nil && (e.Kind == "" || e.Kind == usage.KindUsage) {
				one := usage.Units(1) // an event of this type happened
				x.quantity = &one
			}
		} else if x.ceType != "" {
			e.Dimensions = append(e.Dimensions, usage.Dimension{Key: "type", Value: x.ceType})
		}
	} else {
		for key, value := range map[string]string{"type": x.ceType, "subject": x.subject} {
			if value != "" {
				e.Dimensions = append(e.Dimensions, usage.Dimension{Key: key, Value: value})
			}
		}
	}
	switch {
	case e.ID == "":
		return missing("event_id")
	case e.Customer == "" && x.cloud:
		return missing("subject")
	case e.Customer == "":
		return missing("account_id")
	case !x.have.timestamp:
		return missing(map[bool]string{true: "time", false: "timestamp"}[x.cloud])
	}
	retraction := e.Kind == usage.KindRetraction
	switch {
	case x.have.quantities && (x.meter != "" || x.quantity != nil):
		return invalid(usage.ReasonInvalidField, "quantities", "stands beside meter or quantity: send one or the other")
	case x.have.quantities:
	case x.meter == "" && x.quantity == nil && retraction:
	case x.meter == "":
		return missing("meter")
	case x.quantity == nil && !retraction:
		return missing("quantity")
	case x.quantity != nil:
		e.Lines = append(e.Lines, usage.Line{Meter: x.meter, Quantity: *x.quantity})
	}
	if x.unit != "" {
		if len(e.Lines) > 1 {
			return invalid(usage.ReasonInvalidField, "unit", "stands beside several quantities: which one is meant?")
		}
		for i := range e.Lines {
			e.Lines[i].Unit = x.unit
		}
	}
	if e.RunID == "" {
		e.RunID = e.TraceID
	}
	e.Normalize()
	return e.Validate()
}

func missing(field string) error {
	return invalid(usage.ReasonMissingField, field, "is missing")
}
