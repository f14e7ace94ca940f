package feed

import (
	"context"
	"time"
)

// Receiver brings records to a biller.
type Receiver interface {
	// Limits are what the receiver takes.
	Limits() Limits
	// Check says why the receiver can never take a record, as a word for programs and a sentence; "" when it may.
	Check(r *Record, now time.Time) (reason, detail string)
	// Send makes one call with at most Limits().Batch records and says what became of each, in their order. It does not try again.
	Send(ctx context.Context, records []*Record) []Outcome
}

// Asker is a Receiver that can be asked what it has.
type Asker interface {
	// Received is the sum of the values that it has of a customer's meter in an hour, in the receiver's unit as decimal text.
	Received(ctx context.Context, externalCustomer, meter string, hour time.Time) (value string, err error)
}

// Limits are what a receiver takes.
type Limits struct {
	Batch  int           // records of one call
	Window time.Duration // how long it surely remembers an id; 0 is for ever
}

// Fate is what became of a record.
type Fate int

// What became of a record in a call.
const (
	Unknown   Fate = iota // it may have been taken, or not: no answer, or one that says nothing about it
	Delivered             // the receiver has it
	NotTaken              // the receiver surely doesn't have it from this call, and may take it later
	Refused               // the receiver will never take it as it is
)

// Outcome is what became of a record in a call, and why.
type Outcome struct {
	Fate   Fate
	Reason string        // a word for programs, of a refusal
	Err    error         // what the receiver said, without secrets; nil when delivered
	Wait   time.Duration // what the receiver asks to wait before the next call, 0 when it doesn't
	All    bool          // it would be the same for any record: the receiver can't be reached, is overloaded, refuses the key
	Alone  bool          // of NotTaken: the call was refused for one of its records, it isn't known which; each is to go in a call of its own
}

// Fates is the same outcome for n records.
func Fates(n int, o Outcome) []Outcome {
	all := make([]Outcome, n)
	for i := range all {
		all[i] = o
	}
	return all
}
