package usage

import (
	"fmt"
	"unicode/utf8"
)

// Limits of an event. What exceeds one is refused with the reason too_long or invalid_field; nothing is cut.
const (
	MaxIDBytes    = 256  // event_id, corrects, customer, meter, unit
	MaxValueBytes = 1024 // every other string
	MaxLines      = 64
	MaxDimensions = 64
)

// maxTimestamp is the end of the year 2499: OTLP counts nanoseconds in 64 bits, which end in 2554.
const maxTimestamp = Micros(16725225599_999999)

const maxDecimal = 999_999_999_999_999_999

// Invalid says why an event can't be taken as it is.
type Invalid struct {
	Reason string // one of the Reason constants
	Field  string // the API's name of the field
	Detail string
}

func (e *Invalid) Error() string { return e.Field + " " + e.Detail }

// Rejection is e's refusal for the reason in err; an err that is not an *Invalid is invalid_event.
func (e *Event) Rejection(err error) Rejection {
	r := Rejection{Key: e.Key(), Payload: e.Payload(), Reason: ReasonInvalidEvent, Detail: err.Error()}
	if invalid, ok := err.(*Invalid); ok { //nolint:errorlint // Validate returns it unwrapped
		r.Reason = invalid.Reason
	}
	return r
}

// Validate says whether the ledger can hold e, which must be normalized. The error is an *Invalid.
//
// Usage has quantities ≥ 0; corrections and retractions are signed and name another event in Corrects. A retraction without
// lines takes away whatever its target has; so its lines take no part in its Payload.
func (e *Event) Validate() error {
	if err := e.validateKind(); err != nil {
		return err
	}
	if e.Timestamp < 0 || e.Timestamp > maxTimestamp {
		return &Invalid{ReasonInvalidTimestamp, "timestamp", "is not between the years 1970 and 2499"}
	}
	if err := e.validateStrings(); err != nil {
		return err
	}
	if err := e.validateLines(); err != nil {
		return err
	}
	return e.validateDimensions()
}

func (e *Event) validateKind() error {
	switch e.Kind {
	case KindUsage:
		if e.Corrects != "" {
			return &Invalid{ReasonInvalidField, "corrects", "is for the kinds correction and retraction"}
		}
	case KindCorrection, KindRetraction:
		if e.Corrects == "" {
			return &Invalid{ReasonMissingField, "corrects", fmt.Sprintf("is missing: a %s names the event that it is about", e.Kind)}
		}
		if e.Corrects == e.ID {
			return &Invalid{ReasonInvalidTarget, "corrects", "names the event itself"}
		}
	default:
		return &Invalid{ReasonInvalidField, "kind", fmt.Sprintf("is %.32q, not usage, correction or retraction", string(e.Kind))}
	}
	return nil
}

func (e *Event) validateStrings() error {
	if e.ID == "" {
		return &Invalid{ReasonMissingField, "event_id", "is missing"}
	}
	if e.Customer == "" {
		return &Invalid{ReasonMissingField, "account_id", "is missing"}
	}
	for _, f := range [...]struct {
		name, value string
		max         int
	}{
		{"event_id", e.ID, MaxIDBytes},
		{"corrects", e.Corrects, MaxIDBytes},
		{"account_id", e.Customer, MaxIDBytes},
		{"user_id", e.UserID, MaxValueBytes},
		{"session_id", e.SessionID, MaxValueBytes},
		{"conversation_id", e.ConversationID, MaxValueBytes},
		{"feature", e.Feature, MaxValueBytes},
		{"step", e.Step, MaxValueBytes},
		{"agent", e.Agent, MaxValueBytes},
		{"operation", e.Operation, MaxValueBytes},
		{"provider", e.Provider, MaxValueBytes},
		{"model", e.Model, MaxValueBytes},
		{"source", e.Source, MaxValueBytes},
		{"service", e.Service, MaxValueBytes},
	} {
		if err := checkString(f.name, f.value, f.max); err != nil {
			return err
		}
	}
	for _, f := range [...]struct {
		name, value string
		digits      int
	}{{"trace_id", e.TraceID, 32}, {"span_id", e.SpanID, 16}, {"run_id", e.RunID, 32}} {
		if f.value != "" && !isHexID(f.value, f.digits) {
			return &Invalid{ReasonInvalidField, f.name, fmt.Sprintf("is not %d lower-case hexadecimal digits, not all of them 0", f.digits)}
		}
	}
	return nil
}

func (e *Event) validateLines() error {
	switch {
	case len(e.Lines) == 0 && e.Kind != KindRetraction:
		return &Invalid{ReasonMissingField, "quantity", "is missing: an event has a meter and a quantity, or quantities"}
	case len(e.Lines) > MaxLines:
		return &Invalid{ReasonInvalidField, "quantities", fmt.Sprintf("has %d meters, more than %d", len(e.Lines), MaxLines)}
	}
	for i := range e.Lines {
		l := &e.Lines[i]
		if l.Meter == "" {
			return &Invalid{ReasonMissingField, "meter", "is missing"}
		}
		if err := checkString("meter", l.Meter, MaxIDBytes); err != nil {
			return err
		}
		if err := checkString("unit", l.Unit, MaxIDBytes); err != nil {
			return err
		}
		if i > 0 && e.Lines[i-1].Meter == l.Meter {
			return &Invalid{ReasonInvalidField, "quantities", fmt.Sprintf("has the meter %.64q twice", l.Meter)}
		}
		if l.Quantity > maxDecimal || l.Quantity < -maxDecimal {
			return &Invalid{ReasonInvalidQuantity, "quantity", fmt.Sprintf("of %.64q has more than 18 digits", l.Meter)}
		}
		if l.Quantity < 0 && e.Kind == KindUsage {
			return &Invalid{ReasonNegativeQuantity, "quantity", fmt.Sprintf("%s of %.64q is negative: send a correction or a retraction", l.Quantity, l.Meter)}
		}
	}
	return nil
}

func (e *Event) validateDimensions() error {
	if len(e.Dimensions) > MaxDimensions {
		return &Invalid{ReasonInvalidField, "dimensions", fmt.Sprintf("has %d keys, more than %d", len(e.Dimensions), MaxDimensions)}
	}
	for i, d := range e.Dimensions {
		if d.Key == "" {
			return &Invalid{ReasonInvalidField, "dimensions", "has an empty key"}
		}
		if i > 0 && e.Dimensions[i-1].Key == d.Key {
			return &Invalid{ReasonInvalidField, "dimensions", fmt.Sprintf("has the key %.64q twice", d.Key)}
		}
		if err := checkString("dimensions", d.Key, MaxIDBytes); err != nil {
			return err
		}
		if err := checkString("dimensions", d.Value, MaxValueBytes); err != nil {
			return err
		}
	}
	return nil
}

func checkString(field, s string, limit int) error {
	if len(s) > limit {
		return &Invalid{ReasonTooLong, field, fmt.Sprintf("has %d bytes, more than %d", len(s), limit)}
	}
	if !utf8.ValidString(s) {
		return &Invalid{ReasonInvalidField, field, "is not valid UTF-8"}
	}
	return nil
}

func isHexID(s string, digits int) bool {
	if len(s) != digits {
		return false
	}
	zero := true
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
		zero = zero && c == '0'
	}
	return !zero
}
