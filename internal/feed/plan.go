package feed

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/usagebox/otelcol-usagebox/internal/ledger"
	"github.com/usagebox/otelcol-usagebox/usage"
)

const (
	changesAtOnce = 1000
	recordsAtOnce = 2000  // of one transaction, and those of one customer more
	rowsAtOnce    = 20000 // that one transaction looks at, likewise

	// lateWait is how long an hour that keeps getting late usage waits for a moment without events that are not sealed.
	lateWait = time.Hour
)

// reasonUnmapped is the reason of a record whose customer has no name at the receiver.
const reasonUnmapped = "unmapped_customer"

// plan makes records of what has changed. One goroutine plans.
func (r *receiver) plan(ctx context.Context) error {
	if r.stale {
		if err := r.load(); err != nil {
			return err
		}
	}
	if err := r.spec.Customers.Refresh(); err != nil {
		r.feed.failed("the customers' file of a receiver of the billing feed can't be read, what was read before stays in force", r.name, err)
	}
	if err := r.seeChanges(); err != nil {
		return err
	}
	var failed error // of hours: one that can't be made holds no other up
	for _, h := range slices.Sorted(maps.Keys(r.dirty)) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if r.stale {
			if err := r.load(); err != nil {
				return errors.Join(failed, err)
			}
		}
		due, err := r.due(h)
		if err != nil {
			return errors.Join(failed, err)
		}
		if !due {
			continue
		}
		if err := r.planHour(h); err != nil {
			failed = errors.Join(failed, fmt.Errorf("records of %s, which are tried again: %w", hourText(h), err))
		}
	}
	return failed
}

// update makes a change durable. After an error nothing is known of it: what is remembered is read again.
func (r *receiver) update(f func(ledger.View, ledger.Batch) error) error {
	err := r.feed.o.Books.Update(f)
	if err != nil {
		r.stale = true
	}
	return err
}

// seeChanges notes which hours have changed.
func (r *receiver) seeChanges() error {
	for {
		next, news := r.planned, map[usage.Hour]usage.Micros{}
		seen := 0
		now := r.feed.now()
		err := r.update(func(v ledger.View, b ledger.Batch) error {
			changes, err := v.Changes(r.planned.Change, changesAtOnce)
			seen = len(changes)
			if err != nil || seen == 0 {
				return err
			}
			for _, c := range changes {
				next.Change = c.Change
				if _, known := r.dirty[c.Hour]; known || c.Hour < r.planned.From {
					continue
				}
				news[c.Hour] = now
				b.Set(dirtyKey(r.planned.Number, c.Hour), binary.BigEndian.AppendUint64(nil, uint64(now)))
			}
			setJSON(b, nameKey(r.name), next)
			return nil
		})
		if err != nil {
			return err
		}
		r.planned = next
		maps.Copy(r.dirty, news)
		r.show()
		if seen < changesAtOnce {
			return nil
		}
	}
}

// due says whether an hour's records may be made: when it has begun, and is sealed and quiet, or, where open hours are sent, when it has waited long enough.
func (r *receiver) due(h usage.Hour) (due bool, err error) {
	if h.Start() > r.feed.now() {
		return false, nil // what was used in it is still to come
	}
	waited := time.Duration(r.feed.now()-r.dirty[h]) * time.Microsecond
	if every := r.feed.o.Every; every > 0 && waited >= every {
		return true, nil
	}
	err = r.feed.o.Books.View(func(v ledger.View) error {
		c, err := v.Hour(h)
		due = c.Sealed && (c.Open == 0 || waited >= lateWait)
		return err
	})
	return due, err
}

// planHour makes an hour's records, in several transactions where they are many. What a crash leaves is made by the next round: what is made already makes no
// difference then.
func (r *receiver) planHour(h usage.Hour) error {
	m := r.planned.mapping(h)
	customer, done, fresh := "", false, false
	for !done {
		p := hourPlan{receiver: r, mapping: m, hour: h, next: r.planned, created: r.feed.o.Clock()}
		err := r.update(func(v ledger.View, b ledger.Batch) error {
			p.view, p.batch = v, b
			var err error
			if customer == "" { // what this plan makes of other customers later is of other groups
				if fresh, err = none(v, hourKey(keySent, p.next.Number, h)); err != nil {
					return err
				}
			}
			p.fresh = fresh
			if p.nothing, err = none(v, receiverKey(keyCarry, p.next.Number)); err != nil {
				return err
			}
			if customer, done, err = p.run(customer); err != nil {
				return err
			}
			if done {
				b.Delete(dirtyKey(p.next.Number, h))
			}
			if p.queued > 0 {
				if err := addToHour(v, b, hourKey(keyQueued, p.next.Number, h), p.queued); err != nil {
					return err
				}
			}
			setJSON(b, nameKey(r.name), p.next)
			return nil
		})
		if err != nil {
			return err
		}
		r.planned = p.next
		r.show()
		r.queued(p.made)
	}
	delete(r.dirty, h)
	r.show()
	return nil
}

// load reads what the feed remembers of a receiver.
func (r *receiver) load() error {
	planned := planState{}
	dirty := map[usage.Hour]usage.Micros{}
	err := r.feed.o.Books.View(func(v ledger.View) error {
		found, err := getJSON(v, nameKey(r.name), &planned)
		if err != nil {
			return err
		}
		if !found {
			return errors.New("the feed's state of the receiver is not there")
		}
		return scanPrefix(v, receiverKey(keyDirty, planned.Number), func(key, value []byte) error {
			if len(key) != 7 || len(value) != 8 {
				return fmt.Errorf("the feed's record %q can't be read", key)
			}
			dirty[usage.Hour(binary.BigEndian.Uint32(key[3:]))] = usage.Micros(binary.BigEndian.Uint64(value))
			return nil
		})
	})
	if err != nil {
		return err
	}
	r.planned, r.dirty, r.stale = planned, dirty, false
	r.show()
	r.queued(1) // a change that seemed to fail may have been made
	return nil
}
