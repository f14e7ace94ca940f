package feed

import (
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/usagebox/otelcol-usagebox/internal/decimal"
	"github.com/usagebox/otelcol-usagebox/internal/ledger"
	"github.com/usagebox/otelcol-usagebox/internal/ledger/parquetfile"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// crash is what ends a process in the middle.
type crash struct{}

var errStore = errors.New("the store failed")

// simBooks is a ledger's totals and annex in memory. An update is on disk whole or not at all; the process may die before or after, or be told that it
// failed in either case.
type simBooks struct {
	random *rand.Rand
	faults bool
	held   int // views at present

	annex  map[string]string
	keys   []string // of annex, in order
	totals map[usage.Hour]map[string]*parquetfile.RollupRow
	order  []usage.Hour // by their last change
	change map[usage.Hour]uint64
	last   uint64
	sealed map[usage.Hour]bool
	open   map[usage.Hour]int64
}

func newSimBooks(random *rand.Rand) *simBooks {
	return &simBooks{
		random: random, annex: map[string]string{}, totals: map[usage.Hour]map[string]*parquetfile.RollupRow{},
		change: map[usage.Hour]uint64{}, sealed: map[usage.Hour]bool{}, open: map[usage.Hour]int64{},
	}
}

func (b *simBooks) touch(h usage.Hour) {
	b.order = append(slices.DeleteFunc(b.order, func(o usage.Hour) bool { return o == h }), h)
	b.last++
	b.change[h] = b.last
}

// count adds a row to an hour's totals.
func (b *simBooks) count(row parquetfile.RollupRow) {
	h := row.HourStart.Hour()
	if b.totals[h] == nil {
		b.totals[h] = map[string]*parquetfile.RollupRow{}
	}
	key := strings.Join([]string{row.Customer, row.Meter, row.Feature, row.Model, row.Unit, row.Currency, row.PriceCurrency}, "\x00")
	if sum := b.totals[h][key]; sum != nil {
		if err := sum.Merge(&row); err != nil {
			panic(err)
		}
	} else {
		b.totals[h][key] = &row
	}
	b.open[h]++
	b.touch(h)
}

func (b *simBooks) seal(h usage.Hour) {
	b.sealed[h], b.open[h] = true, 0
	b.touch(h)
}

func (b *simBooks) View(f func(ledger.View) error) error {
	if b.faults && b.random.IntN(60) == 0 {
		return errStore
	}
	b.held++
	defer func() { b.held-- }()
	return f(simView{b})
}

func (b *simBooks) Update(f func(ledger.View, ledger.Batch) error) error {
	batch := simBatch{}
	if err := f(simView{b}, &batch); err != nil {
		return err
	}
	fault := -1
	if b.faults {
		fault = b.random.IntN(120)
	}
	switch fault {
	case 0:
		panic(crash{})
	case 1:
		return errStore
	}
	for _, do := range batch {
		do(b)
	}
	switch fault {
	case 2:
		panic(crash{})
	case 3:
		return errStore
	}
	return nil
}

type simBatch []func(*simBooks)

func (b *simBatch) Set(key, value []byte) {
	k, v := string(key), string(value)
	*b = append(*b, func(books *simBooks) {
		if i, found := slices.BinarySearch(books.keys, k); !found {
			books.keys = slices.Insert(books.keys, i, k)
		}
		books.annex[k] = v
	})
}

func (b *simBatch) Delete(key []byte) {
	k := string(key)
	*b = append(*b, func(books *simBooks) {
		if i, found := slices.BinarySearch(books.keys, k); found {
			books.keys = slices.Delete(books.keys, i, i+1)
		}
		delete(books.annex, k)
	})
}

type simView struct{ b *simBooks }

func (v simView) Get(key []byte) ([]byte, bool, error) {
	value, found := v.b.annex[string(key)]
	return []byte(value), found, nil
}

func (v simView) Scan(low, high []byte, each func(key, value []byte) error) error {
	i, _ := slices.BinarySearch(v.b.keys, string(low))
	for ; i < len(v.b.keys) && v.b.keys[i] < string(high); i++ {
		key := v.b.keys[i]
		if err := each([]byte(key), []byte(v.b.annex[key])); err != nil {
			var skip ledger.SkipTo
			if errors.As(err, &skip) {
				i, _ = slices.BinarySearch(v.b.keys, string(skip.Key))
				i--
				continue
			}
			if errors.Is(err, ledger.ErrStop) {
				return nil
			}
			return err
		}
	}
	return nil
}

func (v simView) Hour(h usage.Hour) (ledger.HourChange, error) {
	return ledger.HourChange{Change: v.b.change[h], Hour: h, Sealed: v.b.sealed[h], Open: v.b.open[h]}, nil
}

func (v simView) Changes(after uint64, limit int) (changes []ledger.HourChange, err error) {
	for _, h := range v.b.order {
		if c, _ := v.Hour(h); c.Change > after && len(changes) < limit {
			changes = append(changes, c)
		}
	}
	return changes, nil
}

func (v simView) Totals(h usage.Hour, after string, each func(*parquetfile.RollupRow) error) error {
	for _, key := range slices.Sorted(maps.Keys(v.b.totals[h])) {
		row := *v.b.totals[h][key]
		if after != "" && row.Customer <= after {
			continue
		}
		if err := each(&row); err != nil {
			if errors.Is(err, ledger.ErrStop) {
				return nil
			}
			return err
		}
	}
	return nil
}

// quantity is the sum of a customer's meter in an hour, of all hours when h is negative.
func (b *simBooks) sum(h usage.Hour, customer, meter, value string) decimal.Int128 {
	var sum decimal.Int128
	for hour, rows := range b.totals {
		if h >= 0 && hour != h {
			continue
		}
		for _, row := range rows {
			if row.Customer != customer || row.Meter != meter {
				continue
			}
			n := row.Quantity
			if value == ValuePrice {
				n = row.Price.Amount
			}
			sum, _ = sum.Add(n)
		}
	}
	return sum
}
