package usage

import (
	"strings"
	"testing"
)

func TestValidateNamesTheFieldAndTheReason(t *testing.T) {
	valid := func() Event {
		e := Event{ID: "id", Customer: "acme", Timestamp: 1, Lines: []Line{{Meter: "m", Quantity: 1}}}
		e.Normalize()
		return e
	}
	for name, c := range map[string]struct {
		change        func(*Event)
		reason, field string
	}{
		"no id":                 {func(e *Event) { e.ID = "" }, ReasonMissingField, "event_id"},
		"long id":               {func(e *Event) { e.ID = strings.Repeat("x", 257) }, ReasonTooLong, "event_id"},
		"long customer":         {func(e *Event) { e.Customer = strings.Repeat("x", 257) }, ReasonTooLong, "account_id"},
		"invalid UTF-8":         {func(e *Event) { e.Feature = "\xff" }, ReasonInvalidField, "feature"},
		"long value":            {func(e *Event) { e.Model = strings.Repeat("x", 1025) }, ReasonTooLong, "model"},
		"unknown kind":          {func(e *Event) { e.Kind = "refund" }, ReasonInvalidField, "kind"},
		"usage with a target":   {func(e *Event) { e.Corrects = "x" }, ReasonInvalidField, "corrects"},
		"correction of nothing": {func(e *Event) { e.Kind = KindCorrection }, ReasonMissingField, "corrects"},
		"correction of itself":  {func(e *Event) { e.Kind, e.Corrects = KindCorrection, "id" }, ReasonInvalidTarget, "corrects"},
		"no lines":              {func(e *Event) { e.Lines = nil }, ReasonMissingField, "quantity"},
		"a meter twice":         {func(e *Event) { e.Lines = append(e.Lines, e.Lines[0]) }, ReasonInvalidField, "quantities"},
		"negative usage":        {func(e *Event) { e.Lines[0].Quantity = -1 }, ReasonNegativeQuantity, "quantity"},
		"19 digits":             {func(e *Event) { e.Lines[0].Quantity = 1e18 }, ReasonInvalidQuantity, "quantity"},
		"upper-case trace id":   {func(e *Event) { e.TraceID = strings.Repeat("A", 32) }, ReasonInvalidField, "trace_id"},
		"zero span id":          {func(e *Event) { e.SpanID = strings.Repeat("0", 16) }, ReasonInvalidField, "span_id"},
		"before 1970":           {func(e *Event) { e.Timestamp = -1 }, ReasonInvalidTimestamp, "timestamp"},
		"year 2500":             {func(e *Event) { e.Timestamp = maxTimestamp + 1 }, ReasonInvalidTimestamp, "timestamp"},
		"a dimension twice":     {func(e *Event) { e.Dimensions = []Dimension{{"k", "1"}, {"k", "2"}} }, ReasonInvalidField, "dimensions"},
		"a nameless dimension":  {func(e *Event) { e.Dimensions = []Dimension{{"", "1"}} }, ReasonInvalidField, "dimensions"},
		"too many dimensions":   {func(e *Event) { e.Dimensions = make([]Dimension, MaxDimensions+1) }, ReasonInvalidField, "dimensions"},
		"too many meters":       {func(e *Event) { e.Lines = make([]Line, MaxLines+1) }, ReasonInvalidField, "quantities"},
	} {
		t.Run(name, func(t *testing.T) {
			e := valid()
			if err := e.Validate(); err != nil {
				t.Fatal(err)
			}
			c.change(&e)
			invalid, ok := e.Validate().(*Invalid) //nolint:errorlint // it is returned unwrapped
			if !ok || invalid.Reason != c.reason || invalid.Field != c.field {
				t.Fatalf("got %#v, want %s of %s", invalid, c.reason, c.field)
			}
		})
	}
}

func TestRetractionNeedsNoQuantities(t *testing.T) {
	e := Event{ID: "r", Kind: KindRetraction, Corrects: "id", Customer: "acme"}
	e.Normalize()
	if err := e.Validate(); err != nil {
		t.Fatal(err)
	}
	full := e
	full.Lines = []Line{{Meter: "m", Unit: "unit", Quantity: -1}}
	if e.Payload() != full.Payload() {
		t.Fatal("a retraction that writes its quantities out is another one")
	}
}
