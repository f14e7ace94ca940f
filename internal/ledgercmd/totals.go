package ledgercmd

import (
	"errors"
	"slices"
	"strings"

	"github.com/usagebox/otelcol-usagebox/internal/decimal"
	"github.com/usagebox/otelcol-usagebox/internal/ledger/parquetfile"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// totals are sums by meter and unit.
type totals struct{ meters map[[2]string]*meterTotals }

type meterTotals struct {
	quantity                                             decimal.Int128
	costs, prices                                        map[string]decimal.Int128
	events, corrections, retractions, uncosted, unpriced int64
}

var errOverflow = errors.New("the total has too many digits")

func newTotals() *totals { return &totals{map[[2]string]*meterTotals{}} }

func (t *totals) of(meter, unit string) *meterTotals {
	m := t.meters[[2]string{meter, unit}]
	if m == nil {
		m = &meterTotals{costs: map[string]decimal.Int128{}, prices: map[string]decimal.Int128{}}
		t.meters[[2]string{meter, unit}] = m
	}
	return m
}

func (t *totals) add(e *usage.Event, l *usage.Line) error {
	m := t.of(l.Meter, l.Unit)
	var ok bool
	if m.quantity, ok = m.quantity.AddInt64(int64(l.Quantity)); !ok {
		return errOverflow
	}
	switch e.Kind {
	case usage.KindCorrection:
		m.corrections++
	case usage.KindRetraction:
		m.retractions++
	default:
		m.events++
	}
	if !addMoney(m.costs, l.Cost.Currency, decimal.FromInt64(int64(l.Cost.Amount)), l.Cost.Known()) || !addMoney(m.prices, l.Price.Currency, decimal.FromInt64(int64(l.Price.Amount)), l.Price.Known()) {
		return errOverflow
	}
	if !l.Cost.Known() {
		m.uncosted++
	}
	if !l.Price.Known() {
		m.unpriced++
	}
	return nil
}

func addMoney(sums map[string]decimal.Int128, currency string, v decimal.Int128, known bool) (ok bool) {
	if !known {
		return true
	}
	sums[currency], ok = sums[currency].Add(v)
	return ok
}

// addRollup adds a row; rollups don't tell corrections from usage, so all of its events count as events.
func (t *totals) addRollup(r *parquetfile.RollupRow) error {
	m := t.of(r.Meter, r.Unit)
	var ok bool
	if m.quantity, ok = m.quantity.Add(r.Quantity); !ok || !addMoney(m.costs, r.Currency, r.Cost.Amount, r.Cost.Known) || !addMoney(m.prices, r.PriceCurrency, r.Price.Amount, r.Price.Known) {
		return errOverflow
	}
	m.events += r.Events
	m.uncosted += r.UncostedEvents
	m.unpriced += r.UnpricedEvents
	return nil
}

func (t *totals) merge(o *totals) {
	for k, m := range o.meters {
		to := t.of(k[0], k[1])
		to.quantity, _ = to.quantity.Add(m.quantity) // sums of at most 2^63 rows of 18 digits fit
		for currency, v := range m.costs {
			addMoney(to.costs, currency, v, true)
		}
		for currency, v := range m.prices {
			addMoney(to.prices, currency, v, true)
		}
		to.events += m.events
		to.corrections += m.corrections
		to.retractions += m.retractions
		to.uncosted += m.uncosted
		to.unpriced += m.unpriced
	}
}

// rows is how many rows of events the totals are over.
func (t *totals) rows() (n int64) {
	for _, m := range t.meters {
		n += m.events + m.corrections + m.retractions
	}
	return n
}

// equal compares all but what kind the events are of.
func (t *totals) equal(o *totals) bool {
	if len(t.meters) != len(o.meters) {
		return false
	}
	for k, a := range t.meters {
		b := o.meters[k]
		if b == nil || a.quantity != b.quantity || a.uncosted != b.uncosted || a.unpriced != b.unpriced ||
			a.events+a.corrections+a.retractions != b.events+b.corrections+b.retractions || !sameMoney(a.costs, b.costs) || !sameMoney(a.prices, b.prices) {
			return false
		}
	}
	return true
}

func sameMoney(a, b map[string]decimal.Int128) bool {
	for k, v := range a {
		if b[k] != v {
			return false
		}
	}
	return len(a) == len(b)
}

func (t *totals) lines() []*explainTotal {
	lines := []*explainTotal{}
	for k, m := range t.meters {
		l := &explainTotal{
			Meter: k[0], Unit: k[1], Quantity: quantityText(m.quantity), Costs: map[string]string{}, Prices: map[string]string{},
			Events: m.events, Corrections: m.corrections, Retractions: m.retractions, Uncosted: m.uncosted, Unpriced: m.unpriced,
		}
		for currency, v := range m.costs {
			l.Costs[currency] = amountText(v)
		}
		for currency, v := range m.prices {
			l.Prices[currency] = amountText(v)
		}
		lines = append(lines, l)
	}
	slices.SortFunc(lines, func(a, b *explainTotal) int {
		if c := strings.Compare(a.Meter, b.Meter); c != 0 {
			return c
		}
		return strings.Compare(a.Unit, b.Unit)
	})
	return lines
}
