package parquetfile

import (
	"errors"

	"github.com/usagebox/otelcol-usagebox/internal/decimal"
)

// ErrOverflow says that a sum has more than the 38 digits of its column. Nothing was written in its place.
var ErrOverflow = errors.New("a sum has more than 38 digits")

// maxSum is 10^38 - 1.
var maxSum = decimal.Int128{Hi: 0x4b3b4ca85a86c47a, Lo: 0x098a223fffffffff}

func addSum(a, b decimal.Int128) (decimal.Int128, error) {
	sum, ok := a.Add(b)
	if !ok || sum.Cmp(maxSum) > 0 || sum.Cmp(maxSum.Neg()) < 0 {
		return a, ErrOverflow
	}
	return sum, nil
}

// Money is a sum of charges. The zero Money is of none, which is not a sum of zero.
type Money struct {
	Amount decimal.Int128 // trillionths
	Known  bool
}

func (m *Money) add(v decimal.Int128) error {
	sum, err := addSum(m.Amount, v)
	if err != nil {
		return err
	}
	*m = Money{sum, true}
	return nil
}
