package usage

import (
	"errors"
	"fmt"
	"strings"
)

// Reasons for which an event is not taken. They are stable: users match on them.
const (
	ReasonInvalidJSON      = "invalid_json"
	ReasonInvalidEvent     = "invalid_event"
	ReasonMissingField     = "missing_field"
	ReasonInvalidField     = "invalid_field"
	ReasonInvalidQuantity  = "invalid_quantity"
	ReasonNegativeQuantity = "negative_quantity"
	ReasonInvalidTimestamp = "invalid_timestamp"
	ReasonFutureTimestamp  = "timestamp_in_future"
	ReasonTooLong          = "too_long"
	ReasonConflict         = "conflict"       // this id is there with another payload; the first one stays
	ReasonUnknownTarget    = "unknown_target" // the corrected event did not arrive in time
	ReasonInvalidTarget    = "invalid_target" // the corrected event can't be corrected so: another customer's, itself a correction, without this meter
	ReasonExceedsTarget    = "exceeds_target" // takes away more than is there
	ReasonTargetLeft       = "target_left"    // the corrected event is older than the ledger's retention of events
	ReasonAlreadyRetracted = "already_retracted"
	ReasonOverflow         = "overflow" // a total would no longer fit its column
)

// Rejection is one event that was not taken, and why.
type Rejection struct {
	Key
	Payload Payload // tells apart two events of one batch that share a Key
	Reason  string  // one of the Reason constants
	Detail  string  // for people: what is wrong with which value
}

func (r Rejection) String() string {
	s := fmt.Sprintf("event %q of customer %q: %s", r.ID, r.Customer, r.Reason)
	if r.Detail != "" {
		s += ": " + r.Detail
	}
	return s
}

// RejectedError says that all events of a batch are durable except those that it names, which were not taken and
// will not be if sent again. Consumers return it wrapped as a permanent error; find it with errors.As.
type RejectedError struct{ Rejections []Rejection }

func (e *RejectedError) Error() string {
	const shown = 3
	var b strings.Builder
	fmt.Fprintf(&b, "%d of the events were refused, the others are kept: ", len(e.Rejections))
	for i, r := range e.Rejections {
		if i == shown {
			fmt.Fprintf(&b, "; and %d more", len(e.Rejections)-shown)
			break
		}
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(r.String())
	}
	return b.String()
}

// Rejected is the rejections in err. ok is false when err is about something else, so that all of the batch has to be sent again.
func Rejected(err error) (rejections []Rejection, ok bool) {
	var rejected *RejectedError
	if errors.As(err, &rejected) {
		return rejected.Rejections, true
	}
	return nil, false
}
