package catalog

import (
	"fmt"
	"math"
	"math/big"
	"math/bits"
	"strings"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// most is the largest magnitude of an amount: 18 digits.
const most = 999_999_999_999_999_999

// ratio turns millionths of a unit into trillionths of a currency unit: num/den in lowest terms, num ≥ 0, den > 0.
type ratio struct{ num, den uint64 }

// newRatio fails when numerator or denominator has more than 63 bits.
func newRatio(r *big.Rat) (ratio, error) {
	if !r.Num().IsInt64() || !r.Denom().IsInt64() {
		return ratio{}, fmt.Errorf("has too many digits to be computed exactly in 128 bits")
	}
	return ratio{r.Num().Uint64(), r.Denom().Uint64()}, nil
}

// sum128 adds up products of 64-bit numbers; it remembers that it overflowed.
type sum128 struct {
	hi, lo   uint64
	overflow bool
}

func (s *sum128) addProduct(a, b uint64) {
	hi, lo := bits.Mul64(a, b)
	var carry uint64
	s.lo, carry = bits.Add64(s.lo, lo, 0)
	s.hi, carry = bits.Add64(s.hi, hi, carry)
	s.overflow = s.overflow || carry != 0
}

// divide is s/den rounded half to even; ok is false when that has more than 18 digits.
func (s *sum128) divide(den uint64) (v uint64, ok bool) {
	if s.overflow || s.hi >= den {
		return 0, false
	}
	v, rest := bits.Div64(s.hi, s.lo, den)
	half := den - rest // rest > half is rest > den/2, without halving
	if rest > half || rest == half && v&1 == 1 {
		v++
	}
	return v, v <= most
}

// apply is q × r, rounded half to even.
func (r ratio) apply(q int64) (usage.Amount, bool) {
	var s sum128
	s.addProduct(magnitude(q), r.num)
	v, ok := s.divide(r.den)
	if q < 0 {
		return -usage.Amount(v), ok
	}
	return usage.Amount(v), ok
}

func magnitude(q int64) uint64 {
	if q < 0 {
		return -uint64(q)
	}
	return uint64(q)
}

const maxDigits = 40

// parseDecimal reads a decimal number ≥ 0 exactly.
func parseDecimal(text string) (*big.Rat, error) {
	mantissa, exponent, scientific := strings.Cut(strings.ToLower(text), "e")
	digits, points := 0, 0
	for _, c := range []byte(mantissa) {
		switch {
		case c >= '0' && c <= '9':
			digits++
		case c == '.':
			points++
		default:
			return nil, fmt.Errorf("%.32q is not a decimal number that is zero or more, such as \"0.25\"", text)
		}
	}
	e := strings.TrimLeft(exponent, "+-")
	bad := digits == 0 || points > 1 || scientific && (e == "" || len(exponent)-len(e) > 1 || strings.Trim(e, "0123456789") != "")
	if bad {
		return nil, fmt.Errorf("%.32q is not a decimal number that is zero or more, such as \"0.25\"", text)
	}
	if digits > maxDigits || len(e) > 2 {
		return nil, fmt.Errorf("%.64q has more digits than fit: at most %d", text, maxDigits)
	}
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		return nil, fmt.Errorf("%.32q is not a decimal number", text)
	}
	return r, nil
}

// formatDecimal is the shortest text of a number that parseDecimal read.
func formatDecimal(r *big.Rat) string {
	if r.IsInt() {
		return r.Num().String()
	}
	return strings.TrimRight(r.FloatString(maxDigits+99), "0")
}

func pow10(n int64) *big.Rat {
	return new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(n), nil))
}

// toFixed is r × 10^scale as an integer of at most 18 digits.
func toFixed(r *big.Rat, scale int64) (int64, error) {
	v := new(big.Rat).Mul(r, pow10(scale))
	if !v.IsInt() {
		return 0, fmt.Errorf("%s has more than %d decimals", formatDecimal(r), scale)
	}
	if !v.Num().IsInt64() || v.Num().Int64() > most {
		return 0, fmt.Errorf("%s has more than 18 digits at %d decimals", formatDecimal(r), scale)
	}
	return v.Num().Int64(), nil
}

const endless = math.MaxInt64

// Decimal is the shortest text of a decimal number ≥ 0, from any that JSON allows.
func Decimal(text string) (string, error) {
	r, err := parseDecimal(text)
	if err != nil {
		return "", err
	}
	return formatDecimal(r), nil
}
