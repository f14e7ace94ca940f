package usagereceiver

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// element reads one event from JSON. Its fields hold what can only be judged when all is read.
type element struct {
	decoder *jsontext.Decoder
	buffer  bytes.Buffer
	scratch []byte

	cloud     bool // a CloudEvent
	nested    bool // in a CloudEvent's data
	meter     string
	unit      string
	ceType    string // of a CloudEvent
	ceSubject string
	quantity  usage.Quantity
	outer     []usage.Dimension // other attributes of a CloudEvent

	haveTimestamp, haveQuantity, haveQuantities bool
}

func (x *element) read(text []byte, e *usage.Event, p *parser) error {
	*x = element{decoder: x.decoder, scratch: x.scratch, outer: x.outer[:0]}
	x.buffer = *bytes.NewBuffer(text)
	if x.decoder == nil {
		x.decoder = jsontext.NewDecoder(&x.buffer)
	} else {
		x.decoder.Reset(&x.buffer)
	}
	switch k := x.decoder.PeekKind(); {
	case len(text) == 0:
		return invalid(usage.ReasonInvalidJSON, "", "there is nothing between two commas")
	case k == '{':
	case k == 0:
		_, err := x.decoder.ReadToken()
		return syntax(err)
	default:
		return invalid(usage.ReasonInvalidEvent, "", "is not an object: it is "+kindName(k))
	}
	err := x.fields(e, p)
	if err != nil && !verdictIn(err) {
		return syntax(err)
	}
	if _, end := x.decoder.ReadToken(); !errors.Is(end, io.EOF) {
		return invalid(usage.ReasonInvalidJSON, "", "something follows the event, with no comma between")
	}
	if err != nil {
		return err
	}
	return x.finish(e)
}

// fields reads an object whatever is wrong in it, to learn the id, and gives the first thing that is; an error that is not *usage.Invalid is one of JSON.
func (x *element) fields(e *usage.Event, p *parser) error {
	if _, err := x.decoder.ReadToken(); err != nil {
		return err
	}
	var first error
	for x.decoder.PeekKind() != '}' {
		name, err := x.string()
		if err == nil {
			err = x.field(p.intern(name), e, p)
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

// verdictIn says that err is about the event; any other error is about the JSON.
func verdictIn(err error) bool {
	var invalid *usage.Invalid
	return errors.As(err, &invalid)
}

func missing(field string) error { return invalid(usage.ReasonMissingField, field, "is missing") }

// field reads the value of a name.
func (x *element) field(name string, e *usage.Event, p *parser) error {
	if x.decoder.PeekKind() == 'n' { // null is absent
		_, err := x.decoder.ReadToken()
		return err
	}
	if p.usagedb {
		switch name {
		case "timestamp_ms":
			return x.timestamp(name, 1e3, e, p)
		case "meter_id":
			name = "meter"
		case "model_id":
			name = "model"
		case "correction_ref":
			name = "corrects"
		}
	}
	if to := target(name, e); to != nil {
		return x.text(name, to, p)
	}
	switch name {
	case "event_id":
		return x.text(name, &e.ID, nil)
	case "meter":
		return x.text(name, &x.meter, p)
	case "unit":
		return x.text(name, &x.unit, p)
	case "quantity":
		return x.amount(name)
	case "quantities":
		return x.quantities(e, p)
	case "kind":
		kind := string(e.Kind)
		err := x.text(name, &kind, p)
		e.Kind = usage.Kind(strings.ToLower(kind))
		return err
	case "timestamp":
		return x.timestamp(name, 0, e, p)
	case "dimensions":
		return x.dimensions(e, p)
	}
	if x.nested {
		if name == "value" {
			return x.amount(name)
		}
		return x.dimension(name, name, e, p)
	}
	return x.envelope(name, e, p)
}

// target is the place of a text that is only kept.
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

// finish brings together what was read.
func (x *element) finish(e *usage.Event) error {
	e.Source = usage.SourceAPI
	x.finishEnvelope(e)
	switch {
	case e.ID == "":
		return missing("event_id")
	case e.Customer == "" && x.cloud:
		return missing("subject")
	case e.Customer == "":
		return missing("account_id")
	case !x.haveTimestamp && x.cloud:
		return missing("time")
	case !x.haveTimestamp:
		return missing("timestamp")
	}
	retraction := e.Kind == usage.KindRetraction
	switch {
	case x.haveQuantities && (x.meter != "" || x.haveQuantity):
		return invalid(usage.ReasonInvalidField, "quantities", "stands beside meter or quantity: send one or the other")
	case x.haveQuantities:
	case x.meter == "" && !x.haveQuantity && retraction:
	case x.meter == "":
		return missing("meter")
	case !x.haveQuantity && !retraction:
		return missing("quantity")
	case x.haveQuantity:
		e.Lines = append(e.Lines, usage.Line{Meter: x.meter, Quantity: x.quantity})
	}
	if x.unit != "" {
		if len(e.Lines) > 1 {
			return invalid(usage.ReasonInvalidField, "unit", fmt.Sprintf("stands beside %d quantities: which one is meant?", len(e.Lines)))
		}
		for i := range e.Lines {
			e.Lines[i].Unit = x.unit
		}
	}
	e.TraceID, e.SpanID, e.RunID = strings.ToLower(e.TraceID), strings.ToLower(e.SpanID), strings.ToLower(e.RunID)
	if e.RunID == "" {
		e.RunID = e.TraceID
	}
	e.Normalize()
	return e.Validate()
}
