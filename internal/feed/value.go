package feed

import (
	"math/big"
	"strings"

	"github.com/usagebox/otelcol-usagebox/internal/decimal"
	"github.com/usagebox/otelcol-usagebox/internal/ledger/parquetfile"
)

// converter turns sums into a receiver's values and keeps what is below its smallest unit.
type converter struct {
	step   *big.Int // smallest units of a sum in the smallest unit of the receiver
	places int      // of the receiver's values
}

// newConverter is for a meter of a receiver that takes values with at most this many places. Fewer are used where the receiver's smallest unit would not be a
// whole number of the sum's.
func newConverter(m *Meter, places int) (converter, error) {
	per, err := m.per()
	if err != nil {
		return converter{}, err
	}
	c := converter{step: per}
	ten, rest := big.NewInt(10), new(big.Int)
	for c.places < places {
		next, _ := new(big.Int).QuoRem(c.step, ten, rest)
		if rest.Sign() != 0 {
			break
		}
		c.step = next
		c.places++
	}
	return c, nil
}

// value is what is sent of a sum, toward zero, and what remains.
func (c converter) value(sum *big.Int) (text string, rest *big.Int) {
	units, rest := new(big.Int).QuoRem(sum, c.step, new(big.Int))
	return decimalText(units, c.places), rest
}

// decimalText writes n, an integer of 10^-places, in its shortest form.
func decimalText(n *big.Int, places int) string {
	digits := new(big.Int).Abs(n).String()
	if places > 0 {
		if len(digits) <= places {
			digits = strings.Repeat("0", places-len(digits)+1) + digits
		}
		digits = digits[:len(digits)-places] + "." + digits[len(digits)-places:]
		digits = strings.TrimSuffix(strings.TrimRight(digits, "0"), ".")
	}
	if n.Sign() < 0 {
		digits = "-" + digits
	}
	return digits
}

// parseDecimal reads what decimalText writes, of any size; ok is false when it has more places.
func parseDecimal(text string, places int) (n *big.Int, ok bool) {
	whole, fraction, _ := strings.Cut(text, ".")
	if len(fraction) > places {
		return nil, false
	}
	return new(big.Int).SetString(whole+fraction+strings.Repeat("0", places-len(fraction)), 10)
}

// difference is a - b.
func difference(a, b decimal.Int128) *big.Int { return new(big.Int).Sub(a.Big(), b.Big()) }

// moneyText is the text of a known amount, nil of an unknown one.
func moneyText(known bool, amount *big.Int, scale int) *string {
	if !known {
		return nil
	}
	text := decimalText(amount, scale)
	return &text
}

func nonEmpty(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

// sums are the totals of a group.
type sums struct {
	quantity, cost, price decimal.Int128
	costKnown, priceKnown bool
}

// add adds a row; ok is false on overflow, which no ledger that fits a disk reaches.
func (s *sums) add(r *parquetfile.RollupRow) (ok bool) {
	for _, a := range [...]struct {
		sum *decimal.Int128
		n   decimal.Int128
	}{{&s.quantity, r.Quantity}, {&s.cost, r.Cost.Amount}, {&s.price, r.Price.Amount}} {
		if *a.sum, ok = a.sum.Add(a.n); !ok {
			return false
		}
	}
	s.costKnown = s.costKnown || r.Cost.Known
	s.priceKnown = s.priceKnown || r.Price.Known
	return true
}
