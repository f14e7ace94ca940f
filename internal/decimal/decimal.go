// Package decimal reads, writes and adds exact fixed-point decimals. Nothing in it goes through a float.
//
// A value is an integer and a scale that its type fixes: 1.5 at scale 6 is 1500000.
package decimal

import (
	"errors"
	"strconv"
)

// Errors of Parse. They say what is wrong with the text, never what happened to the data.
var (
	ErrSyntax    = errors.New("not a decimal number")
	ErrPrecision = errors.New("has more decimal places than fit")
	ErrRange     = errors.New("has more digits than fit")
)

const maxExponent = 1 << 20

// pow10 holds 10^0 to 10^18.
var pow10 = func() (p [19]int64) {
	p[0] = 1
	for i := 1; i < len(p); i++ {
		p[i] = p[i-1] * 10
	}
	return p
}()

// Pow10 is 10^n for n from 0 to 18.
func Pow10(n int) int64 { return pow10[n] }

// Parse reads the text of a JSON number (a leading '+' or a leading '.' is allowed too) as an integer of 10^-scale.
// It never rounds: a value with more decimal places than scale is ErrPrecision, one of more than digits digits
// (at most 18) is ErrRange, anything else that is not a number is ErrSyntax.
func Parse[T ~string | ~[]byte](text T, scale, digits int) (int64, error) {
	i, n := 0, len(text)
	negative := false
	if i < n && (text[i] == '-' || text[i] == '+') {
		negative = text[i] == '-'
		i++
	}
	mantissa := i
	point, exponent := -1, 0
	sawDigit := false
	end := n
scan:
	for ; i < n; i++ {
		switch c := text[i]; {
		case c >= '0' && c <= '9':
			sawDigit = true
		case c == '.' && point < 0:
			point = i
		case (c == 'e' || c == 'E') && sawDigit:
			end = i
			e, err := parseExponent(text[i+1:])
			if err != nil {
				return 0, err
			}
			exponent = e
			break scan
		default:
			return 0, ErrSyntax
		}
	}
	if !sawDigit {
		return 0, ErrSyntax
	}
	if point < 0 {
		point = end
	}
	return assemble(text[mantissa:end], point-mantissa, exponent, negative, scale, digits)
}

// assemble turns mantissa digits with a decimal point before index point into an integer of 10^-scale.
func assemble[T ~string | ~[]byte](mantissa T, point, exponent int, negative bool, scale, digits int) (int64, error) {
	limit := pow10[digits]
	// A digit k places after the point weighs 10^(exponent-k); it must not weigh less than 10^-scale unless it is 0.
	var v int64
	weight := point - 1 + exponent + scale // power of ten of the first digit, in units of 10^-scale
	last := -1                             // weight of the last digit added
	for i := 0; i < len(mantissa); i++ {
		if mantissa[i] == '.' {
			continue
		}
		d := int64(mantissa[i] - '0')
		if d != 0 || v != 0 {
			switch {
			case weight < 0:
				if d != 0 {
					return 0, ErrPrecision
				}
			case v >= limit/10:
				return 0, ErrRange
			default:
				v = v*10 + d
				last = weight
			}
		}
		weight--
	}
	for ; v != 0 && last > 0; last-- {
		if v >= limit/10 {
			return 0, ErrRange
		}
		v *= 10
	}
	if negative {
		v = -v
	}
	return v, nil
}

func parseExponent[T ~string | ~[]byte](text T) (int, error) {
	i, negative := 0, false
	if len(text) > 0 && (text[0] == '-' || text[0] == '+') {
		negative = text[0] == '-'
		i = 1
	}
	if i == len(text) {
		return 0, ErrSyntax
	}
	e := 0
	for ; i < len(text); i++ {
		if text[i] < '0' || text[i] > '9' {
			return 0, ErrSyntax
		}
		if e < maxExponent {
			e = e*10 + int(text[i]-'0')
		}
	}
	if negative {
		e = -e
	}
	return e, nil
}

// Append writes v, an integer of 10^-scale, in its shortest form: no exponent, no trailing zeros after the point.
func Append(dst []byte, v int64, scale int) []byte {
	u := uint64(v)
	if v < 0 {
		dst = append(dst, '-')
		u = -u
	}
	unit := uint64(pow10[scale])
	dst = strconv.AppendUint(dst, u/unit, 10)
	frac := u % unit
	if frac == 0 {
		return dst
	}
	dst = append(dst, '.')
	for frac != 0 {
		unit /= 10
		dst = append(dst, byte('0'+frac/unit))
		frac %= unit
	}
	return dst
}
