package ledger

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// waitingCorrection is a correction that came before its target. It is acknowledged, its id is known, and it counts from when
// its target comes; when that doesn't come in time, it is refused, its id forgotten. In the store it is the byte waitingVersion, its place in the order of all that ever
// waited, 8 bytes, big endian, and the event; or, of an earlier program, the event alone.
type waitingCorrection struct {
	item  item
	key   []byte
	order uint64 // 0: before all that have one
}

const (
	waitingVersion = 2
	waitingHeader  = 1 + 8
)

// waitingOrder takes the order off a waiting correction's value.
func waitingOrder(value []byte) (order uint64, event []byte) {
	if len(value) < waitingHeader || value[0] != waitingVersion {
		return 0, value
	}
	return binary.BigEndian.Uint64(value[1:]), value[waitingHeader:]
}

func waitingKey(target, own digest) []byte { return append(digestKey(keyWaiting, target), own[:]...) }

// wait lets a correction wait.
func (g *group) wait(r *request, it *item) {
	d := digestOf(targetOf(it))
	g.begun++
	w := &waitingCorrection{item: *it, key: waitingKey(d, it.digest), order: g.s.lastWait + g.begun}
	g.ids[it.digest] = idChange{known: known{Hour: it.event.Timestamp.Hour(), Payload: [8]byte(it.payload[:8])}}
	g.waiting[d] = append(g.waiting[d], w)
	g.waits++
	value := it.event.AppendBinaryOf(binary.BigEndian.AppendUint64([]byte{waitingVersion}, w.order), it.ingestedAt)
	_ = g.batch.Set(w.key, value, nil) // a batch only fails when it is too large, and Commit says so
	r.result.Accepted++
	if it.event.Customer == usage.Unattributed {
		r.result.Unattributed++
	}
}

// applyWaiting applies the corrections that waited for an event which was accepted just now.
func (g *group) applyWaiting(target *item) error {
	if g.s.waiting+g.waits == 0 || g.l.o.sabotage == forgetWaiting {
		return nil
	}
	waiting, err := g.waitingFor(target.digest)
	if err != nil {
		return err
	}
	for _, w := range waiting {
		if err := g.settle(w); err != nil {
			return err
		}
	}
	delete(g.waiting, target.digest)
	return nil
}

// waitingFor is what waits for a target, in the order in which it came.
func (g *group) waitingFor(d digest) ([]*waitingCorrection, error) {
	waiting := g.waiting[d]
	low := digestKey(keyWaiting, d)
	err := g.s.store.scan(low, prefixEnd(low), func(key, value []byte) error {
		w, err := decodeWaiting(key, value)
		if err == nil {
			waiting = append(waiting, w)
		}
		return err
	})
	slices.SortStableFunc(waiting, func(a, b *waitingCorrection) int {
		return cmp.Or(cmp.Compare(a.order, b.order), cmp.Compare(a.item.ingestedAt, b.item.ingestedAt), slices.Compare(a.key, b.key))
	})
	return waiting, err
}

func decodeWaiting(key, value []byte) (*waitingCorrection, error) {
	order, value := waitingOrder(value)
	w := &waitingCorrection{key: slices.Clone(key), order: order}
	if len(key) != 1+2*len(digest{}) {
		return nil, corrupt("the key of a waiting correction", fmt.Errorf("it has %d bytes", len(key)))
	}
	w.item.event = new(usage.Event)
	if rest, err := usage.DecodeBinary(value, w.item.event); err != nil || len(rest) > 0 {
		return nil, corrupt("a waiting correction", errors.Join(err, errors.New("it is not one event")))
	}
	w.item.digest = digest(key[1+len(digest{}):])
	w.item.payload = w.item.event.Payload()
	w.item.ingestedAt = w.item.event.IngestedAt
	return w, nil
}

// settle ends a wait: the correction takes effect, or is refused and forgotten.
func (g *group) settle(w *waitingCorrection) error {
	_ = g.batch.Delete(w.key, nil) // see wait
	g.waits--
	t, found, err := g.target(targetOf(&w.item))
	if errors.Is(err, errLeft) {
		g.reject(nil, &w.item, usage.ReasonTargetLeft, leftDetail(&w.item))
		g.forget(w)
		return nil
	}
	if err != nil {
		return err
	}
	if !found {
		g.reject(nil, &w.item, usage.ReasonUnknownTarget, fmt.Sprintf("event %q of this customer did not come within %s", w.item.event.Corrects, g.l.o.CorrectionWait))
		g.forget(w)
		return nil
	}
	var refused *usage.Invalid
	w.item.change(func(e *usage.Event) { refused = t.apply(e, g.l.o.Settle) })
	if refused != nil {
		g.reject(nil, &w.item, refused.Reason, refused.Detail)
		g.forget(w)
		return nil
	}
	return g.accept(nil, &w.item)
}

func (g *group) forget(w *waitingCorrection) {
	g.ids[w.item.digest] = idChange{known: known{Seq: forgotten}}
}

// expire refuses the corrections that have waited long enough.
func (g *group) expire() error {
	oldest := g.now - usage.Micros(g.l.o.CorrectionWait/time.Microsecond)
	return g.s.scanKind(keyWaiting, func(key, value []byte) error {
		w, err := decodeWaiting(key, value)
		if err != nil || w.item.ingestedAt > oldest {
			return err
		}
		return g.settle(w)
	})
}
