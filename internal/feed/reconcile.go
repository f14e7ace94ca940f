package feed

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"math/big"
	"slices"

	"github.com/usagebox/otelcol-usagebox/internal/ledger"
	"github.com/usagebox/otelcol-usagebox/internal/ledger/parquetfile"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// Comparison is one customer's meter in one hour, as the ledger has it, as it was delivered, and, where it can be asked, as the receiver has it.
type Comparison struct {
	Customer string `json:"customer"`
	Meter    string `json:"meter"` // the receiver's
	Hour     string `json:"hour"`  // RFC 3339
	Value    string `json:"value"` // quantity, cost or price

	Ledger    string   `json:"ledger"`    // decimal text, of the ledger's unit or the currency
	Delivered string   `json:"delivered"` // the same, of the records that were delivered
	Pending   string   `json:"pending"`   // of those in the outbox
	Letters   string   `json:"letters"`   // of those that were set aside
	Sent      string   `json:"sent"`      // in the receiver's unit, of the records that were delivered
	Receiver  *string  `json:"receiver"`  // in its unit, what it says that it has; null when it can't be asked
	Equal     bool     `json:"equal"`
	Waiting   bool     `json:"waiting"`           // the hour has changed since its records were made: that will be sent
	Records   []string `json:"records,omitempty"` // ids, of what is not equal
}

// Reconciliation says what is compared.
type Reconciliation struct {
	Receiver string     `json:"receiver"`
	From     usage.Hour `json:"from"`
	To       usage.Hour `json:"to"` // excluded
	Ask      bool       `json:"ask"`
}

// side is a comparison that is being made.
type side struct {
	Comparison
	hour                                usage.Hour
	scale                               int
	ledger, delivered, pending, letters *big.Int
	accounts                            map[account]bool // that the receiver has it in
	records                             []string
}

// accounts are what was delivered to each account of the receiver, in its unit. Several customers may share one, and one have several.
type accounts map[account]*big.Int

func (a accounts) add(r *Record, sign int64) {
	if a[accountOf(r)] == nil {
		a[accountOf(r)] = new(big.Int)
	}
	if n, ok := parseDecimal(r.Value, valuePlaces); ok {
		a[accountOf(r)].Add(a[accountOf(r)], n.Mul(n, big.NewInt(sign)))
	}
}

type sideKey struct {
	customer, meter string
	hour            string
}

// Reconcile compares, hour by hour, and calls each for every customer's meter, in order. Its memory grows with what the hours have.
func (f *Feed) Reconcile(ctx context.Context, q Reconciliation, each func(*Comparison) error) error {
	r, err := f.receiver(q.Receiver)
	if err != nil {
		return err
	}
	q.From = max(q.From, r.shown.Load().From)
	sides, sent, waiting := map[sideKey]*side{}, accounts{}, map[usage.Hour]bool{}
	if err := f.o.Books.View(func(v ledger.View) error {
		changes, err := v.Changes(0, math.MaxInt)
		if err != nil {
			return err
		}
		for _, c := range changes {
			if c.Hour < q.From || c.Hour >= q.To {
				continue
			}
			if err := r.ledgerSides(v, c.Hour, sides); err != nil {
				return err
			}
		}
		if err := r.waitingHours(v, waiting); err != nil {
			return err
		}
		return r.openSides(v, q, sides, sent)
	}); err != nil {
		return err
	}
	if err := r.deliveredSides(q, sides, sent); err != nil {
		return err
	}
	asker, can := r.spec.Receiver.(Asker)
	if !can || !q.Ask {
		asker = nil
	}
	said := accounts{}
	for _, s := range slices.SortedFunc(maps.Values(sides), func(a, b *side) int {
		return cmp.Or(cmp.Compare(a.hour, b.hour), cmp.Compare(a.Customer, b.Customer), cmp.Compare(a.Meter, b.Meter))
	}) {
		s.Equal, s.Waiting = s.ledger.Cmp(s.delivered) == 0, waiting[s.hour]
		if err := s.askAccounts(ctx, asker, sent, said); err != nil {
			return fmt.Errorf("ask receiver %s what it has: %w", r.name, err)
		}
		s.Ledger, s.Delivered = decimalText(s.ledger, s.scale), decimalText(s.delivered, s.scale)
		s.Pending, s.Letters = decimalText(s.pending, s.scale), decimalText(s.letters, s.scale)
		if !s.Equal {
			s.Records = s.records
		}
		if err := each(&s.Comparison); err != nil {
			return err
		}
	}
	return nil
}

// askAccounts adds up what was delivered to a side's accounts and, unless asker is nil, what the receiver says that it has in them.
func (s *side) askAccounts(ctx context.Context, asker Asker, sent, said accounts) error {
	values, has := new(big.Int), new(big.Int)
	for a := range s.accounts {
		if sent[a] != nil {
			values.Add(values, sent[a])
		}
		if asker == nil {
			continue
		}
		if said[a] == nil {
			text, err := asker.Received(ctx, a.customer, a.meter, s.hour.Start().Time())
			if err != nil {
				return err
			}
			n, ok := parseDecimal(text, valuePlaces)
			if !ok {
				return fmt.Errorf("it says %q of meter %s, which is no decimal", text, a.meter)
			}
			said[a] = n
		}
		has.Add(has, said[a])
		s.Equal = s.Equal && said[a].Cmp(cmp.Or(sent[a], new(big.Int))) == 0
	}
	s.Sent = decimalText(values, valuePlaces)
	if asker != nil && len(s.accounts) > 0 {
		text := decimalText(has, valuePlaces)
		s.Receiver = &text
	}
	return nil
}

// waitingHours are those that have changed since their records were made.
func (r *receiver) waitingHours(v ledger.View, hours map[usage.Hour]bool) error {
	changes, err := v.Changes(r.shown.Load().Change, math.MaxInt)
	if err != nil {
		return err
	}
	for _, c := range changes {
		hours[c.Hour] = true
	}
	return scanPrefix(v, receiverKey(keyDirty, r.number), func(key, _ []byte) error {
		hours[usage.Hour(binary.BigEndian.Uint32(key[3:]))] = true
		return nil
	})
}

func (r *receiver) sideOf(sides map[sideKey]*side, customer, meter string, h usage.Hour, m *Meter) *side {
	key := sideKey{customer, meter, hourText(h)}
	s := sides[key]
	if s == nil {
		s = &side{
			Comparison: Comparison{Customer: customer, Meter: meter, Hour: hourText(h), Value: m.Value}, hour: h, scale: m.scale(),
			ledger: new(big.Int), delivered: new(big.Int), pending: new(big.Int), letters: new(big.Int), accounts: map[account]bool{},
		}
		sides[key] = s
	}
	return s
}

func (r *receiver) ledgerSides(v ledger.View, h usage.Hour, sides map[sideKey]*side) error {
	m := r.shown.Load().mapping(h)
	return v.Totals(h, "", func(row *parquetfile.RollupRow) error {
		if row.Customer == usage.Unattributed && !m.Unattributed {
			return nil
		}
		for i := range m.Meters {
			meter := &m.Meters[i]
			if !meter.takes(row) || m.tookBefore(i, row) {
				continue
			}
			s := r.sideOf(sides, row.Customer, meter.name(row), h, meter)
			switch meter.Value {
			case ValueCost:
				s.ledger.Add(s.ledger, row.Cost.Amount.Big())
			case ValuePrice:
				s.ledger.Add(s.ledger, row.Price.Amount.Big())
			default:
				s.ledger.Add(s.ledger, row.Quantity.Big())
			}
		}
		return nil
	})
}

// recordSide is the comparison that a record belongs to, nil when its hour is not asked for.
func (r *receiver) recordSide(q Reconciliation, record *Record, sides map[sideKey]*side) (s *side, amount *big.Int) {
	h := record.hour()
	if h < q.From || h >= q.To {
		return nil, nil
	}
	s = sides[sideKey{record.Customer, record.Meter, record.Hour}]
	if s == nil { // the ledger has nothing of it
		s = r.sideOf(sides, record.Customer, record.Meter, h, &Meter{Value: ValueQuantity})
	}
	text := &record.Quantity
	switch s.Value {
	case ValueCost:
		text = record.Cost
	case ValuePrice:
		text = record.Price
	}
	amount = new(big.Int)
	if text != nil {
		if n, ok := parseDecimal(*text, s.scale); ok {
			amount = n
		}
	}
	s.records = append(s.records, record.ID)
	return s, amount
}

func (r *receiver) openSides(v ledger.View, q Reconciliation, sides map[sideKey]*side, sent accounts) error {
	if err := scanPrefix(v, receiverKey(keyOutbox, r.number), func(key, value []byte) error {
		record, err := parseRecord(key, value)
		if err != nil {
			return err
		}
		if s, amount := r.recordSide(q, &record, sides); s != nil {
			s.pending.Add(s.pending, amount)
		}
		return nil
	}); err != nil {
		return err
	}
	return r.letters(v, Selection{}, func(_ uint64, l *Letter) error {
		s, amount := r.recordSide(q, &l.Record, sides)
		if s == nil {
			return nil
		}
		s.letters.Add(s.letters, amount)
		if l.State == StateUncertain {
			s.accounts[accountOf(&l.Record)] = true
		}
		if l.Logged { // its line is there, and it is not
			s.delivered.Sub(s.delivered, amount)
			sent.add(&l.Record, -1)
		}
		return nil
	})
}

func (r *receiver) deliveredSides(q Reconciliation, sides map[sideKey]*side, sent accounts) error {
	seen := map[string]bool{}
	add := func(record *Record) error {
		if h := record.hour(); h < q.From || h >= q.To || seen[record.ID] {
			return nil
		}
		seen[record.ID] = true
		s, amount := r.recordSide(q, record, sides)
		if s == nil {
			return nil
		}
		s.delivered.Add(s.delivered, amount)
		if record.Value != "0" { // of others no call was made
			s.accounts[accountOf(record)] = true
			sent.add(record, 1)
		}
		return nil
	}
	if err := r.feed.o.Books.View(func(v ledger.View) error {
		return scanPrefix(v, receiverKey(keyLine, r.number), func(key, value []byte) error {
			record, err := parseRecord(key, value)
			if err != nil {
				return err
			}
			return add(&record)
		})
	}); err != nil {
		return err
	}
	return r.linesOf(q.From).Each(add)
}
