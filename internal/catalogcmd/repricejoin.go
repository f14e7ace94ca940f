package catalogcmd

import (
	"context"
	"crypto/sha256"
	"encoding/binary"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// A correction lies in the hour of its own time, which is that of its target in nearly all cases: attribution and reprice make them so. So events and
// corrections are joined hour by hour, and only the strays, corrections whose target lies in another hour, are kept for the whole run.

// keyDigest stands for an event's key.
type keyDigest [16]byte

func digestOf(k usage.Key) keyDigest {
	sum := sha256.Sum256(append(append(append(make([]byte, 0, 128), k.Customer...), 0), k.ID...))
	return keyDigest(sum[:16])
}

func targetOf(e *usage.Event) usage.Key { return usage.Key{Customer: e.Customer, ID: e.Corrects} }

// eachSettled calls with every event of the range that is wanted, and with all its corrections wherever they lie.
func (r *reprice) eachSettled(ctx context.Context, call func(e *usage.Event, corrections []usage.Event) error) error {
	from, to, err := r.bounds()
	if err != nil {
		return err
	}
	all, err := r.hours(-1<<62, 1<<62)
	if err != nil {
		return err
	}
	strays := map[usage.Key][]usage.Event{}
	atHome := map[usage.Micros]int{} // corrections by hour, strays not among them
	for _, h := range all {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := h.open(func(p parts) error {
			n, err := r.findStrays(p, strays)
			atHome[h.start] += n
			return err
		}); err != nil {
			return err
		}
	}
	wanted, err := r.hours(from, to)
	if err != nil {
		return err
	}
	for _, h := range wanted {
		turns := 1 + atHome[h.start]/r.atOnce
		if err := h.open(func(p parts) error {
			for turn := range turns {
				if err := ctx.Err(); err != nil {
					return err
				}
				if err := r.join(p, strays, turn, turns, func(e *usage.Event, corrections []usage.Event) error {
					if e.Timestamp < from || e.Timestamp >= to {
						return nil
					}
					return call(e, corrections)
				}); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// findStrays keeps the corrections whose target isn't in the same hour, and counts the others.
func (r *reprice) findStrays(p parts, strays map[usage.Key][]usage.Event) (atHome int, err error) {
	targets := map[keyDigest]struct{}{}
	corrections := 0
	if err := p.each(func(e *usage.Event) error {
		if e.Kind != usage.KindUsage && (r.customer == "" || e.Customer == r.customer) {
			targets[digestOf(targetOf(e))] = struct{}{}
			corrections++
		}
		return nil
	}); err != nil || corrections == 0 {
		return 0, err
	}
	if err := p.each(func(e *usage.Event) error {
		if e.Kind == usage.KindUsage {
			delete(targets, digestOf(e.Key()))
		}
		return nil
	}); err != nil || len(targets) == 0 {
		return corrections, err
	}
	return corrections, p.each(func(e *usage.Event) error {
		if e.Kind != usage.KindUsage {
			if _, astray := targets[digestOf(targetOf(e))]; astray {
				strays[targetOf(e)] = append(strays[targetOf(e)], *e)
				corrections--
			}
		}
		return nil
	})
}

// join calls with the events of an hour whose turn it is, and their corrections.
func (r *reprice) join(p parts, strays map[usage.Key][]usage.Event, turn, turns int, call func(*usage.Event, []usage.Event) error) error {
	itsTurn := func(k usage.Key) bool {
		if turns == 1 {
			return true
		}
		d := digestOf(k)
		return binary.BigEndian.Uint64(d[:])%uint64(turns) == uint64(turn)
	}
	corrections := map[usage.Key][]usage.Event{}
	if err := p.each(func(e *usage.Event) error {
		if key := targetOf(e); e.Kind != usage.KindUsage && (r.customer == "" || e.Customer == r.customer) && itsTurn(key) {
			corrections[key] = append(corrections[key], *e)
		}
		return nil
	}); err != nil {
		return err
	}
	return p.each(func(e *usage.Event) error {
		if e.Kind != usage.KindUsage || !r.wants(e) || !itsTurn(e.Key()) {
			return nil
		}
		return call(e, append(corrections[e.Key()], strays[e.Key()]...))
	})
}
