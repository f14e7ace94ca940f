package feed

import (
	"context"
	"errors"
	"time"

	"github.com/usagebox/otelcol-usagebox/internal/ledger"
)

// ErrNoFeed is that no feed has ever kept its books there.
var ErrNoFeed = errors.New("no billing feed has run on this ledger")

// OpenRecorded opens a feed with the receivers that its books know, to look and to tell it things while nobody sends: nothing goes to a receiver, and none is
// asked. How a receiver names customers is not in the books: records that it makes for a preview have no such name.
func OpenRecorded(books Books, directory, writer string) (*Feed, error) {
	var specs []Spec
	if err := books.View(func(v ledger.View) error {
		return scanPrefix(v, []byte{keyReceiver}, func(key, value []byte) error {
			var st planState
			if err := readJSON(key, value, &st); err != nil {
				return err
			}
			specs = append(specs, Spec{
				Name: string(key[1:]), Receiver: nobody{}, Mapping: st.Mappings[len(st.Mappings)-1].Mapping, From: st.Configured, Customers: &Customers{unknown: true},
			})
			return nil
		})
	}); err != nil {
		return nil, err
	}
	if len(specs) == 0 {
		return nil, ErrNoFeed
	}
	return Open(Options{Books: books, Directory: directory, Writer: writer, Receivers: specs, Manual: true})
}

// nobody is a receiver that nothing is sent to.
type nobody struct{}

func (nobody) Limits() Limits { return Limits{Batch: 1} }

func (nobody) Check(*Record, time.Time) (reason, detail string) { return "", "" }

func (nobody) Send(_ context.Context, records []*Record) []Outcome {
	return Fates(len(records), Outcome{Fate: NotTaken, All: true, Err: errors.New("nothing is sent")})
}
