package parquetfile

import (
	"cmp"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/usagebox/otelcol-usagebox/internal/decimal"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// Totals say what a part holds, in the record that the chain keeps of it. As JSON they are canonical: the same events give the same text.
type Totals struct {
	Rows       int64         `json:"rows"`   // of the events file
	Events     int64         `json:"events"` // events, corrections and retractions
	FirstAt    usage.Micros  `json:"first_at_us"`
	LastAt     usage.Micros  `json:"last_at_us"`
	Quantities []MeterTotal  `json:"quantities"` // sorted by meter and unit
	Costs      []AmountTotal `json:"costs"`      // sorted by currency
	Prices     []AmountTotal `json:"prices"`
}

// MeterTotal is the sum of a meter's quantities over all customers.
type MeterTotal struct {
	Meter    string `json:"meter"`
	Unit     string `json:"unit"`
	Quantity string `json:"quantity"` // decimal
}

// AmountTotal is a sum of costs or of prices.
type AmountTotal struct {
	Currency string `json:"currency"`
	Amount   string `json:"amount"` // decimal
}

type meterKey struct{ meter, unit string }

// TotalSums sums events into Totals. The zero value is ready.
type TotalSums struct {
	totals        Totals
	meters        map[meterKey]*decimal.Int128
	costs, prices map[string]Money
	recent        [recentLines]recentMeter // by the line's place in its event
}

type recentMeter struct {
	key meterKey
	sum *decimal.Int128
}

// Add adds e. After an error, which wraps ErrOverflow, the sums are not to be used.
func (s *TotalSums) Add(e *usage.Event) error {
	if s.meters == nil {
		s.begin(e.Timestamp)
	}
	s.totals.Events++
	s.totals.Rows += int64(len(e.Lines))
	s.totals.FirstAt = min(s.totals.FirstAt, e.Timestamp)
	s.totals.LastAt = max(s.totals.LastAt, e.Timestamp)
	for i := range e.Lines {
		l := &e.Lines[i]
		sum := s.meter(meterKey{l.Meter, l.Unit}, i)
		var err error
		if *sum, err = addSum(*sum, decimal.FromInt64(int64(l.Quantity))); err != nil {
			return fmt.Errorf("total of meter %q: %w", l.Meter, err)
		}
		if err := addCharge(s.costs, l.Cost); err != nil {
			return fmt.Errorf("total cost: %w", err)
		}
		if err := addCharge(s.prices, l.Price); err != nil {
			return fmt.Errorf("total price: %w", err)
		}
	}
	return nil
}

// meter is the sum of a meter, for the i-th line of an event.
func (s *TotalSums) meter(k meterKey, i int) *decimal.Int128 {
	recent := &s.recent[i%recentLines]
	if recent.sum != nil && recent.key == k {
		return recent.sum
	}
	sum := s.meters[k]
	if sum == nil {
		sum = new(decimal.Int128)
		s.meters[k] = sum
	}
	*recent = recentMeter{k, sum}
	return sum
}

// AddRollup adds a row of rollups or of a daily file. How many events it is of can't be known: Events stays as it is.
func (s *TotalSums) AddRollup(r *RollupRow) (err error) {
	if s.meters == nil {
		s.begin(r.FirstAt)
	}
	s.totals.Rows += r.Events
	s.totals.FirstAt = min(s.totals.FirstAt, r.FirstAt)
	s.totals.LastAt = max(s.totals.LastAt, r.LastAt)
	sum := s.meter(meterKey{r.Meter, r.Unit}, 0)
	if *sum, err = addSum(*sum, r.Quantity); err != nil {
		return fmt.Errorf("total of meter %q: %w", r.Meter, err)
	}
	if err := addMoney(s.costs, r.Currency, r.Cost); err != nil {
		return fmt.Errorf("total cost: %w", err)
	}
	if err := addMoney(s.prices, r.PriceCurrency, r.Price); err != nil {
		return fmt.Errorf("total price: %w", err)
	}
	return nil
}

func addMoney(sums map[string]Money, currency string, m Money) error {
	if !m.Known {
		return nil
	}
	sum := sums[currency]
	err := sum.add(m.Amount)
	sums[currency] = sum
	return err
}

func (s *TotalSums) begin(at usage.Micros) {
	s.meters, s.costs, s.prices = map[meterKey]*decimal.Int128{}, map[string]Money{}, map[string]Money{}
	s.totals.FirstAt, s.totals.LastAt = at, at
}

// Totals are the sums so far. They lead to no string of an event.
func (s *TotalSums) Totals() Totals {
	t := s.totals
	t.Quantities, t.Costs, t.Prices = []MeterTotal{}, amountTotals(s.costs), amountTotals(s.prices)
	for k, v := range s.meters {
		t.Quantities = append(t.Quantities, MeterTotal{strings.Clone(k.meter), strings.Clone(k.unit), string(v.Append(nil, usage.QuantityScale))})
	}
	slices.SortFunc(t.Quantities, compareMeters)
	return t
}

func compareMeters(a, b MeterTotal) int {
	return cmp.Or(strings.Compare(a.Meter, b.Meter), strings.Compare(a.Unit, b.Unit))
}

func amountTotals(sums map[string]Money) []AmountTotal {
	totals := []AmountTotal{}
	for _, currency := range sortedKeys(sums) {
		totals = append(totals, AmountTotal{strings.Clone(currency), string(sums[currency].Amount.Append(nil, usage.AmountScale))})
	}
	return totals
}

// Plus is what both hold together. The error is about texts that are no decimals.
func (t Totals) Plus(o Totals) (Totals, error) {
	if o.Events == 0 {
		return t, nil
	}
	if t.Events == 0 {
		return o, nil
	}
	sum := Totals{Rows: t.Rows + o.Rows, Events: t.Events + o.Events, FirstAt: min(t.FirstAt, o.FirstAt), LastAt: max(t.LastAt, o.LastAt)}
	quantities := map[meterKey]*big.Rat{}
	for _, q := range slices.Concat(t.Quantities, o.Quantities) {
		if err := addText(quantities, meterKey{q.Meter, q.Unit}, q.Quantity); err != nil {
			return Totals{}, err
		}
	}
	sum.Quantities = []MeterTotal{}
	for k, v := range quantities {
		sum.Quantities = append(sum.Quantities, MeterTotal{k.meter, k.unit, decimalText(v, usage.QuantityScale)})
	}
	slices.SortFunc(sum.Quantities, compareMeters)
	var err error
	if sum.Costs, err = plusAmounts(t.Costs, o.Costs); err != nil {
		return Totals{}, err
	}
	sum.Prices, err = plusAmounts(t.Prices, o.Prices)
	return sum, err
}

func plusAmounts(a, b []AmountTotal) ([]AmountTotal, error) {
	sums := map[string]*big.Rat{}
	for _, x := range slices.Concat(a, b) {
		if err := addText(sums, x.Currency, x.Amount); err != nil {
			return nil, err
		}
	}
	totals := []AmountTotal{}
	for _, currency := range sortedKeys(sums) {
		totals = append(totals, AmountTotal{currency, decimalText(sums[currency], usage.AmountScale)})
	}
	return totals, nil
}

// addText adds a decimal's text, exactly.
func addText[K comparable](sums map[K]*big.Rat, key K, text string) error {
	v, ok := new(big.Rat).SetString(text)
	if !ok {
		return fmt.Errorf("a total is %q, which is no decimal", text)
	}
	if sums[key] == nil {
		sums[key] = new(big.Rat)
	}
	sums[key].Add(sums[key], v)
	return nil
}

func decimalText(v *big.Rat, scale int) string {
	text := v.FloatString(scale)
	return strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
}
