package feed

import (
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/usagebox/otelcol-usagebox/internal/ledger"
	"github.com/usagebox/otelcol-usagebox/internal/ledger/parquetfile"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// hourPlan is one transaction of an hour's plan.
type hourPlan struct {
	receiver *receiver
	mapping  *Mapping
	hour     usage.Hour
	created  time.Time
	view     ledger.View
	batch    ledger.Batch
	next     planState
	made     int
	queued   int64         // of them those that need a call
	each     func(*Record) // told of every record; may be nil

	fresh   bool // no record of the hour was made before its plan began: nothing is looked up of what was sent
	nothing bool // nothing is carried at all: nor of that

	converters []converter
}

// run plans the customers behind one. It ends after the last, or after a customer when it has done enough.
func (p *hourPlan) run(behind string) (last string, done bool, err error) {
	for i := range p.mapping.Meters {
		c, err := newConverter(&p.mapping.Meters[i], p.mapping.Decimals)
		if err != nil {
			return "", false, err
		}
		p.converters = append(p.converters, c)
	}
	last, done = behind, true
	groups := map[groupID]*group{}
	rows := 0
	finish := func() error {
		err := p.makeRecords(groups)
		clear(groups)
		return err
	}
	err = p.view.Totals(p.hour, behind, func(row *parquetfile.RollupRow) error {
		if rows > 0 && row.Customer != last {
			if err := finish(); err != nil {
				return err
			}
			if p.made >= recordsAtOnce || rows >= rowsAtOnce {
				done = false
				return ledger.ErrStop
			}
		}
		rows++
		last = row.Customer
		return p.collect(groups, row)
	})
	if err == nil && done {
		err = finish()
	}
	return last, done, err
}

// group is what one record is about.
type group struct {
	id    groupID
	meter *Meter
	sums
	converter converter
	lastAt    usage.Micros

	customer, name, unit, currency, priceCurrency string
	dimensions                                    map[string]string
}

func (p *hourPlan) collect(groups map[groupID]*group, row *parquetfile.RollupRow) error {
	if row.Customer == usage.Unattributed && !p.mapping.Unattributed {
		return nil
	}
	for i := range p.mapping.Meters {
		m := &p.mapping.Meters[i]
		if !m.takes(row) || p.mapping.tookBefore(i, row) {
			continue
		}
		name := m.name(row)
		key := []string{row.Customer, name, row.Unit, row.Currency, row.PriceCurrency, m.Value}
		for _, d := range p.mapping.Dimensions {
			key = append(key, d, dimension(row, d))
		}
		id := idOfGroup(key...)
		g := groups[id]
		if g == nil {
			g = &group{
				id: id, meter: m, converter: p.converters[i], customer: row.Customer, name: name, unit: row.Unit,
				currency: row.Currency, priceCurrency: row.PriceCurrency, dimensions: map[string]string{},
			}
			for _, d := range p.mapping.Dimensions {
				if value := dimension(row, d); value != "" {
					g.dimensions[d] = value
				}
			}
			groups[id] = g
		}
		if !g.add(row) {
			return fmt.Errorf("the sum of meter %s of customer %q overflows 128 bits: nothing of the hour is sent", name, row.Customer)
		}
		g.lastAt = max(g.lastAt, row.LastAt)
	}
	return nil
}

// makeRecords makes the records of one customer's groups, always in the same order.
func (p *hourPlan) makeRecords(groups map[groupID]*group) error {
	for _, g := range slices.SortedFunc(maps.Values(groups), func(a, b *group) int { return strings.Compare(string(a.id[:]), string(b.id[:])) }) {
		if err := p.makeRecord(g); err != nil {
			return err
		}
	}
	return nil
}

func (p *hourPlan) makeRecord(g *group) error {
	number := p.next.Number
	key := sentKey(number, p.hour, g.id)
	var before sent
	if !p.fresh {
		value, found, err := p.view.Get(key)
		if err != nil {
			return err
		}
		if found {
			if before, err = decodeSent(value); err != nil {
				return err
			}
		}
	}
	quantity, cost, price := difference(g.quantity, before.quantity), difference(g.cost, before.cost), difference(g.price, before.price)
	if quantity.Sign() == 0 && cost.Sign() == 0 && price.Sign() == 0 && g.costKnown == before.costKnown && g.priceKnown == before.priceKnown {
		return nil
	}
	var sum *big.Int
	switch g.meter.Value {
	case ValueCost:
		sum = cost
	case ValuePrice:
		sum = price
	default:
		sum = quantity
	}
	text, err := p.carryOver(g, sum)
	if err != nil {
		return err
	}
	now := sent{sums: g.sums, revision: before.revision + 1}
	if p.receiver.feed.o.sabotage == sentApart {
		if err := p.receiver.feed.o.Books.Update(func(_ ledger.View, b ledger.Batch) error { b.Set(key, now.append(nil)); return nil }); err != nil {
			return err
		}
	}
	p.batch.Set(key, now.append(nil))
	r := Record{
		ID:            recordID(p.receiver.feed.instance, p.receiver.name, g.id, p.hour, now.revision),
		Customer:      g.customer,
		Meter:         g.name,
		Unit:          g.unit,
		Quantity:      decimalText(quantity, usage.QuantityScale),
		Cost:          moneyText(g.costKnown, cost, usage.AmountScale),
		Price:         moneyText(g.priceKnown, price, usage.AmountScale),
		Currency:      nonEmpty(g.currency),
		PriceCurrency: nonEmpty(g.priceCurrency),
		Value:         text,
		Hour:          hourText(p.hour),
		Revision:      now.revision,
		Dimensions:    g.dimensions,
		Timestamp:     formatTime(p.timestamp(g)),
		CreatedAt:     formatTime(p.created),
		Writer:        p.receiver.feed.o.Writer,
	}
	r.ExternalCustomer, _ = p.receiver.spec.Customers.Resolve(&r)
	p.next.LastHour = max(p.next.LastHour, p.hour)
	if text == "0" && !p.receiver.spec.Zeroes {
		r.SentAt = r.CreatedAt
		p.line(&r)
	} else {
		p.batch.Set(place{laneOf(&r), p.next.Next}.key(keyOutbox, number), appendRecord(nil, &r))
		p.queued++
	}
	p.next.Next++
	p.next.Planned++
	p.made++
	if p.each != nil {
		p.each(&r)
	}
	return nil
}

// timestamp is the last use that a group's record tells of, never one that is still to come: clocks of senders may be ahead, and billers refuse the future.
func (p *hourPlan) timestamp(g *group) time.Time {
	return min(g.lastAt, max(usage.MicrosOf(p.created), p.hour.Start())).Time()
}

// line notes a record that needs no call, because its value is 0.
func (p *hourPlan) line(r *Record) {
	p.batch.Set(numberKey(keyLine, p.next.Number, p.next.Next), appendRecord(nil, r))
	p.next.Zero++
}

// carryOver adds what was carried to a sum, and says what is sent and carries the rest.
func (p *hourPlan) carryOver(g *group, sum *big.Int) (text string, err error) {
	key := carryKey(p.next.Number, g.id)
	c := carry{Customer: g.customer, Meter: g.name, Value: g.meter.Value}
	found := false
	if !p.nothing {
		if found, err = getJSON(p.view, key, &c); err != nil {
			return "", err
		}
	}
	carried, err := c.amount(g.meter.scale())
	if err != nil {
		return "", err
	}
	total := new(big.Int).Add(sum, carried)
	rest := total
	if text = "0"; !p.mapping.HoldNegative || total.Sign() > 0 {
		text, rest = g.converter.value(total)
	}
	switch {
	case rest.Sign() != 0 && p.receiver.feed.o.sabotage != dropCarry:
		c.Amount = decimalText(rest, g.meter.scale())
		setJSON(p.batch, key, &c)
	case found:
		p.batch.Delete(key)
	}
	return text, nil
}
