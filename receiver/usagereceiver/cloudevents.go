package usagereceiver

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// envelope reads a field that is a CloudEvent's own; any other is kept as a dimension: nothing that a sender says is lost.
func (x *element) envelope(name string, e *usage.Event, p *parser) error {
	switch name {
	case "id":
		return x.text(name, &e.ID, nil)
	case "time":
		return x.timestamp(name, 0, e, p)
	case "specversion":
		return x.specversion(p)
	case "type":
		return x.text(name, &x.ceType, p)
	case "subject":
		return x.text(name, &x.ceSubject, p)
	case "datacontenttype", "dataschema":
		return x.decoder.SkipValue()
	case "data":
		return x.data(e, p)
	case "data_base64":
		return x.encodedData(e, p)
	}
	inner := e.Dimensions
	e.Dimensions = x.outer
	err := x.dimension(name, name, e, p)
	x.outer, e.Dimensions = e.Dimensions, inner
	return err
}

func (x *element) specversion(p *parser) error {
	var version string
	if err := x.text("specversion", &version, p); err != nil {
		return err
	}
	x.cloud = true
	if version != "1.0" {
		return invalid(usage.ReasonInvalidField, "specversion", fmt.Sprintf("is %.40q, not 1.0", version))
	}
	return nil
}

// data reads the fields in a CloudEvent's data.
func (x *element) data(e *usage.Event, p *parser) error {
	if x.decoder.PeekKind() != '{' {
		return x.wrongKind(usage.ReasonInvalidField, "data", "an object")
	}
	x.nested = true
	err := x.fields(e, p)
	x.nested = false
	return err
}

func (x *element) encodedData(e *usage.Event, p *parser) error {
	if x.decoder.PeekKind() != '"' {
		return x.wrongKind(usage.ReasonInvalidField, "data_base64", "a string")
	}
	text, err := x.string()
	if err != nil {
		return err
	}
	plain, err := base64.StdEncoding.AppendDecode(nil, text)
	if err != nil {
		return invalid(usage.ReasonInvalidField, "data_base64", "is not base64: "+err.Error())
	}
	outer := x.decoder
	defer func() { x.decoder = outer }()
	x.decoder = jsontext.NewDecoder(bytes.NewBuffer(plain))
	if x.decoder.PeekKind() != '{' {
		return invalid(usage.ReasonInvalidField, "data_base64", "holds no JSON object")
	}
	err = x.data(e, p)
	if err != nil && !verdictIn(err) {
		return invalid(usage.ReasonInvalidJSON, "data_base64", err.Error())
	}
	return err
}

// finishEnvelope gives what stood around the data its meaning.
func (x *element) finishEnvelope(e *usage.Event) {
	subject, kind := x.ceSubject, x.ceType
	if x.cloud {
		if e.Customer == "" {
			e.Customer, subject = subject, ""
		}
		if x.meter == "" && !x.haveQuantities {
			x.meter, kind = kind, ""
			if !x.haveQuantity && (e.Kind == "" || e.Kind == usage.KindUsage) {
				x.quantity, x.haveQuantity = usage.Units(1), true // an event of this type happened
			}
		}
	}
	if subject != "" {
		x.outer = append(x.outer, usage.Dimension{Key: "subject", Value: subject})
	}
	if kind != "" {
		x.outer = append(x.outer, usage.Dimension{Key: "type", Value: kind})
	}
	own := e.Dimensions
	for _, d := range x.outer {
		if x.cloud && slices.ContainsFunc(own, func(o usage.Dimension) bool { return o.Key == d.Key }) {
			d.Key = "ce_" + d.Key // the data has one of this name
		}
		e.Dimensions = append(e.Dimensions, d)
	}
}

// structured is the body of a CloudEvent in binary mode, whose attributes are headers, in structured mode; any other body is as it was.
func structured(header http.Header, body io.Reader, empty bool) (io.Reader, error) {
	if header.Get("Ce-Specversion") == "" {
		return body, nil
	}
	text := []byte{'{'}
	for name, values := range header {
		attribute, ok := strings.CutPrefix(name, "Ce-")
		if !ok {
			continue
		}
		value, err := url.PathUnescape(values[0])
		if err != nil {
			return nil, fmt.Errorf("the header %s: %w", name, err)
		}
		if len(text) > 1 {
			text = append(text, ',')
		}
		if text, err = jsontext.AppendQuote(text, strings.ToLower(attribute)); err == nil {
			text, err = jsontext.AppendQuote(append(text, ':'), value)
		}
		if err != nil {
			return nil, fmt.Errorf("the header %s: %w", name, err)
		}
	}
	if empty {
		return bytes.NewReader(append(text, '}')), nil
	}
	return io.MultiReader(bytes.NewReader(append(text, `,"data":`...)), body, strings.NewReader("}")), nil
}
