package ledger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/usagebox/otelcol-usagebox/internal/decimal"
	"github.com/usagebox/otelcol-usagebox/internal/ledger/parquetfile"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// The totals of an hour are the sums of its rollups files, kept in the store: they change in the transaction that records a
// part as done. A total's key is its customer, meter, feature, step, agent, operation, provider, model, unit, currency and
// price currency, each preceded by its length as a uvarint; its value is quantity, cost and price, 16 bytes each, a byte with bit 0 for
// a known cost and bit 1 for a known price, then events, uncosted and unpriced events, first and last as varints.

func totalStrings(r *parquetfile.RollupRow) [11]*string {
	return [11]*string{
		&r.Customer, &r.Meter, &r.Feature, &r.Step, &r.Agent, &r.Operation, &r.Provider, &r.Model, &r.Unit, &r.Currency, &r.PriceCurrency,
	}
}

func totalKey(h usage.Hour, r *parquetfile.RollupRow) []byte {
	key := hourKey(keyTotal, h)
	for _, s := range totalStrings(r) {
		key = binary.AppendUvarint(key, uint64(len(*s)))
		key = append(key, *s...)
	}
	return key
}

func appendTotal(b []byte, r *parquetfile.RollupRow) []byte {
	known := byte(0)
	if r.Cost.Known {
		known |= 1
	}
	if r.Price.Known {
		known |= 2
	}
	for _, n := range [...]decimal.Int128{r.Quantity, r.Cost.Amount, r.Price.Amount} {
		bytes := n.Bytes()
		b = append(b, bytes[:]...)
	}
	b = append(b, known)
	for _, n := range [...]int64{r.Events, r.UncostedEvents, r.UnpricedEvents, int64(r.FirstAt), int64(r.LastAt)} {
		b = binary.AppendVarint(b, n)
	}
	return b
}

func decodeTotal(key, b []byte) (r parquetfile.RollupRow, err error) {
	const sums = 3*16 + 1
	if len(key) < 5 || len(b) < sums {
		return r, errShortTotal()
	}
	r.HourStart = hourOf(key).Start()
	rest := key[5:]
	for _, s := range totalStrings(&r) {
		length, n := binary.Uvarint(rest)
		if n <= 0 || length > uint64(len(rest)-n) {
			return r, errShortTotal()
		}
		*s = string(rest[n : n+int(length)])
		rest = rest[n+int(length):]
	}
	r.Quantity = decimal.FromBytes([16]byte(b[:16]))
	r.Cost = parquetfile.Money{Amount: decimal.FromBytes([16]byte(b[16:32])), Known: b[48]&1 != 0}
	r.Price = parquetfile.Money{Amount: decimal.FromBytes([16]byte(b[32:48])), Known: b[48]&2 != 0}
	b = b[sums:]
	var numbers [5]int64
	for i := range numbers {
		v, n := binary.Varint(b)
		if n <= 0 {
			return r, errShortTotal()
		}
		numbers[i], b = v, b[n:]
	}
	r.Events, r.UncostedEvents, r.UnpricedEvents = numbers[0], numbers[1], numbers[2]
	r.FirstAt, r.LastAt = usage.Micros(numbers[3]), usage.Micros(numbers[4])
	return r, nil
}

func errShortTotal() error { return corrupt("a total in the store", errors.New("it ends too early")) }

// addTotals adds a part's rollups to its hour's totals. Dimensions that rollups have beside the default ones are summed over.
func (s *state) addTotals(b *pebble.Batch, h usage.Hour, rows []parquetfile.RollupRow) error {
	sums := make(map[string]*parquetfile.RollupRow, len(rows))
	for i := range rows {
		row := rows[i]
		row.Extra = nil
		key := string(totalKey(h, &row))
		sum := sums[key]
		if sum == nil {
			v, found, err := s.store.get([]byte(key))
			if err != nil {
				return err
			}
			if !found {
				sums[key] = &row
				continue
			}
			stored, err := decodeTotal([]byte(key), v)
			if err != nil {
				return err
			}
			sum = &stored
			sums[key] = sum
		}
		if err := sum.Merge(&row); err != nil {
			return fmt.Errorf("total of customer %q, meter %q: %w", row.Customer, row.Meter, err)
		}
	}
	for key, sum := range sums {
		if err := b.Set([]byte(key), appendTotal(nil, sum), nil); err != nil {
			return err
		}
	}
	return nil
}

// markChange moves an hour to the end of the order of changes.
func markChange(b *pebble.Batch, h usage.Hour, f *flushedRecord, change uint64) error {
	if f.Change > 0 {
		if err := b.Delete(numberKey(keyChange, f.Change), nil); err != nil {
			return err
		}
	}
	f.Change = change
	if err := b.Set(numberKey(keyChange, change), hourKey(0, h)[1:], nil); err != nil {
		return err
	}
	return setNumber(b, metaChange, change)
}

// HourChange is that an hour's totals have changed, or that it was sealed.
type HourChange struct {
	Change uint64 // rises with every change of any hour
	Hour   usage.Hour
	Sealed bool  // the hour was sealed once; what changed it later was late
	Open   int64 // its events that are not sealed
}

// Changes are the hours that changed last after the change after, at most limit, in the order of those changes. An hour
// that changes again moves to the end: reading on from the last Change seen misses none.
func (l *Ledger) Changes(after uint64, limit int) (changes []HourChange, err error) {
	err = l.View(func(v View) error {
		changes, err = v.Changes(after, limit)
		return err
	})
	return changes, err
}

// Totals calls each for the totals of an hour, of one customer or, when it is empty, of all, in the order of RollupRow.Compare. They are the sums of
// what readers see in rollups/.
func (l *Ledger) Totals(h usage.Hour, customer string, each func(*parquetfile.RollupRow) error) error {
	var rows []parquetfile.RollupRow
	if err := l.read(func(s *state) error {
		prefix := customerTotals(h, customer)
		return storeView{s}.scanTotals(prefix, prefixEnd(prefix), func(row *parquetfile.RollupRow) error {
			rows = append(rows, *row)
			return nil
		})
	}); err != nil {
		return err
	}
	slices.SortFunc(rows, func(a, b parquetfile.RollupRow) int { return a.Compare(&b) })
	for i := range rows {
		if err := each(&rows[i]); err != nil {
			return err
		}
	}
	return nil
}

// customerTotals is what the keys of a customer's totals begin with, of all customers' when it is empty.
func customerTotals(h usage.Hour, customer string) []byte {
	prefix := hourKey(keyTotal, h)
	if customer == "" {
		return prefix
	}
	return append(binary.AppendUvarint(prefix, uint64(len(customer))), customer...)
}
