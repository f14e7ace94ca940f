package feed

import (
	"context"
	"errors"
	"math/big"
	"math/rand/v2"
	"time"
)

// simBiller is a receiver that keeps what a biller would bill. It remembers ids for its window only, and lies on demand.
type simBiller struct {
	random *rand.Rand
	clock  *time.Time
	limits Limits
	lying  bool
	away   time.Time // until then it can't be reached
	asks   bool

	seen   map[string]time.Time // id → when it was taken
	has    map[account]*big.Int
	times  map[string]int // id → how often it counted
	twice  []string
	taken  int
	crashy bool
}

var (
	errAway    = errors.New("connection refused")
	errTimeout = errors.New("no answer in time")
)

func newSimBiller(random *rand.Rand, clock *time.Time, limits Limits) *simBiller {
	return &simBiller{random: random, clock: clock, limits: limits, seen: map[string]time.Time{}, has: map[account]*big.Int{}, times: map[string]int{}}
}

func (b *simBiller) Limits() Limits { return b.limits }

func (b *simBiller) Check(r *Record, _ time.Time) (reason, detail string) {
	if r.Customer == "unwanted" {
		return "customer_not_found", "there is no such customer"
	}
	return "", ""
}

// store takes a record as the vendor documents: an id counts once while it is remembered.
func (b *simBiller) store(r *Record) {
	if at, known := b.seen[r.ID]; known && (b.limits.Window == 0 || b.clock.Sub(at) < b.limits.Window) {
		return
	}
	b.seen[r.ID] = *b.clock
	a := accountOf(r)
	if b.has[a] == nil {
		b.has[a] = new(big.Int)
	}
	value, ok := parseDecimal(r.Value, valuePlaces)
	if !ok {
		panic(r.Value)
	}
	b.has[a].Add(b.has[a], value)
	if b.times[r.ID]++; b.times[r.ID] > 1 {
		b.twice = append(b.twice, r.ID)
	}
	b.taken++
}

func (b *simBiller) Send(_ context.Context, records []*Record) []Outcome {
	if b.crashy && b.random.IntN(60) == 0 {
		panic(crash{})
	}
	if b.clock.Before(b.away) {
		return Fates(len(records), Outcome{Fate: NotTaken, All: true, Err: errAway})
	}
	lie := -1
	if b.lying {
		lie = b.random.IntN(13)
	}
	switch lie {
	case 0: // too many calls
		return Fates(len(records), Outcome{Fate: NotTaken, All: true, Err: errors.New("429"), Wait: time.Duration(b.random.IntN(120)) * time.Second})
	case 1: // 500 before it stored
		return Fates(len(records), Outcome{Fate: Unknown, All: b.random.IntN(2) == 0, Err: errors.New("500")})
	case 2: // away for a week
		if b.random.IntN(6) == 0 {
			b.away = b.clock.Add(7 * 24 * time.Hour)
		}
		return Fates(len(records), Outcome{Fate: NotTaken, All: true, Err: errAway})
	case 7: // one is wrong, it doesn't say which
		if len(records) > 1 {
			return Fates(len(records), Outcome{Fate: NotTaken, Alone: true, Err: errors.New("400")})
		}
	case 3: // no outcome for some
		return nil
	}
	outcomes := make([]Outcome, len(records))
	for _, i := range b.random.Perm(len(records)) {
		if lie == 4 && b.random.IntN(2) == 0 { // a part
			outcomes[i] = Outcome{Fate: NotTaken, Err: errors.New("try again")}
			continue
		}
		b.store(records[i])
		outcomes[i] = Outcome{Fate: Delivered}
	}
	switch lie {
	case 5: // stored, and then no answer
		outcomes = Fates(len(records), Outcome{Fate: Unknown, Err: errTimeout, All: b.random.IntN(2) == 0})
	case 6: // stored, and then no answer, and then away for longer than ids are remembered
		if b.random.IntN(4) == 0 {
			b.away = b.clock.Add(2 * time.Duration(b.random.Int64N(int64(max(b.limits.Window, time.Hour)))))
		}
		outcomes = Fates(len(records), Outcome{Fate: Unknown, Err: errTimeout, All: true})
	}
	if b.crashy && b.random.IntN(60) == 0 {
		panic(crash{})
	}
	return outcomes
}

// askable is a simBiller that can be asked.
type askable struct{ *simBiller }

func (b askable) Received(_ context.Context, customer, meter string, hour time.Time) (string, error) {
	if b.clock.Before(b.away) {
		return "", errAway
	}
	sum := b.has[account{customer, meter, hour.UTC().Format(time.RFC3339)}]
	if sum == nil {
		return "0", nil
	}
	return decimalText(sum, valuePlaces), nil
}
