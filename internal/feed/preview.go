package feed

import (
	"errors"
	"maps"
	"slices"

	"github.com/usagebox/otelcol-usagebox/internal/ledger"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// Preview calls each for the records that would be made if every hour that has changed were sent now; ErrStop of the ledger's ends it. Nothing is changed, and nothing is sent.
func (f *Feed) Preview(receiver string, each func(*Record) error) error {
	r, err := f.receiver(receiver)
	if err != nil {
		return err
	}
	r.planning.Lock() // for a moment only
	next, dirty := r.planned, slices.Collect(maps.Keys(r.dirty))
	r.planning.Unlock()
	hours, err := r.changedHours(&next, dirty)
	if err != nil {
		return err
	}
	overlay := map[string][]byte{}
	for _, h := range hours {
		customer, done := "", false
		for !done {
			var records []*Record // told of when the books are free: who reads the preview may take their time
			err := f.o.Books.View(func(v ledger.View) (err error) {
				p := hourPlan{
					receiver: r, mapping: next.mapping(h), hour: h, next: next, created: f.o.Clock(), each: func(r *Record) { records = append(records, r) },
					view: previewView{v, overlay}, batch: previewBatch(overlay),
				}
				customer, done, err = p.run(customer)
				next = p.next
				return err
			})
			if err != nil {
				return err
			}
			for _, record := range records {
				switch err := each(record); {
				case errors.Is(err, ledger.ErrStop):
					return nil
				case err != nil:
					return err
				}
			}
		}
	}
	return nil
}

// changedHours are the dirty ones and those that have changed since.
func (r *receiver) changedHours(planned *planState, dirty []usage.Hour) (hours []usage.Hour, err error) {
	hours = dirty
	after := planned.Change
	for {
		var changes []ledger.HourChange
		if err := r.feed.o.Books.View(func(v ledger.View) (err error) {
			changes, err = v.Changes(after, changesAtOnce)
			return err
		}); err != nil {
			return nil, err
		}
		for _, c := range changes {
			after = c.Change
			if c.Hour >= planned.From {
				hours = append(hours, c.Hour)
			}
		}
		if len(changes) < changesAtOnce {
			slices.Sort(hours)
			return slices.Compact(hours), nil
		}
	}
}

// previewView sees what a preview has changed.
type previewView struct {
	ledger.View
	changes map[string][]byte // nil: deleted
}

func (v previewView) Get(key []byte) ([]byte, bool, error) {
	if value, changed := v.changes[string(key)]; changed {
		return value, value != nil, nil
	}
	return v.View.Get(key)
}

// previewBatch keeps what later hours of a preview build on: what is carried.
type previewBatch map[string][]byte

func (b previewBatch) Set(key, value []byte) {
	if key[0] == keyCarry {
		b[string(key)] = value
	}
}

func (b previewBatch) Delete(key []byte) {
	if key[0] == keyCarry {
		b[string(key)] = nil
	}
}

// Replay lets a receiver's hours begin earlier: what the ledger counted in them is sent to it as if it had been there. Hours that were sent are not
// sent again.
func (f *Feed) Replay(receiver string, from usage.Hour) error {
	r, err := f.receiver(receiver)
	if err != nil {
		return err
	}
	r.planning.Lock()
	defer r.planning.Unlock()
	if from >= r.planned.From {
		return errors.New("the receiver is sent these hours already: replay begins before `from`, which status shows")
	}
	next := r.planned
	next.From, next.Change = from, 0
	if err := r.update(func(_ ledger.View, b ledger.Batch) error {
		setJSON(b, nameKey(r.name), next)
		return nil
	}); err != nil {
		return err
	}
	r.planned = next
	r.show()
	return nil
}
