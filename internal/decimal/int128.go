package decimal

import (
	"encoding/binary"
	"math/big"
	"math/bits"
)

// Int128 is a signed 128-bit integer in two's complement: the sum of many fixed-point values of one scale.
// Its zero value is 0.
type Int128 struct {
	Hi int64
	Lo uint64
}

// FromInt64 widens v.
func FromInt64(v int64) Int128 { return Int128{Hi: v >> 63, Lo: uint64(v)} }

// Add is a+b; ok is false when the sum does not fit.
func (a Int128) Add(b Int128) (sum Int128, ok bool) {
	lo, carry := bits.Add64(a.Lo, b.Lo, 0)
	hi, _ := bits.Add64(uint64(a.Hi), uint64(b.Hi), carry)
	sum = Int128{Hi: int64(hi), Lo: lo}
	overflow := (a.Hi >= 0) == (b.Hi >= 0) && (sum.Hi >= 0) != (a.Hi >= 0)
	return sum, !overflow
}

// AddInt64 is a+v; ok is false when the sum does not fit.
func (a Int128) AddInt64(v int64) (Int128, bool) { return a.Add(FromInt64(v)) }

// Neg is -a; the smallest value is its own negative.
func (a Int128) Neg() Int128 {
	lo, borrow := bits.Sub64(0, a.Lo, 0)
	hi, _ := bits.Sub64(0, uint64(a.Hi), borrow)
	return Int128{Hi: int64(hi), Lo: lo}
}

// Cmp is -1, 0 or 1 as a is less than, equal to or greater than b.
func (a Int128) Cmp(b Int128) int {
	switch {
	case a.Hi != b.Hi:
		if a.Hi < b.Hi {
			return -1
		}
		return 1
	case a.Lo != b.Lo:
		if a.Lo < b.Lo {
			return -1
		}
		return 1
	}
	return 0
}

// IsZero says whether a is 0.
func (a Int128) IsZero() bool { return a.Hi == 0 && a.Lo == 0 }

// Sign is -1, 0 or 1.
func (a Int128) Sign() int { return a.Cmp(Int128{}) }

// Int64 narrows a; ok is false when it does not fit.
func (a Int128) Int64() (v int64, ok bool) {
	v = int64(a.Lo)
	return v, v>>63 == a.Hi
}

// Bytes is a in 16 bytes, big endian two's complement, as Parquet's FIXED_LEN_BYTE_ARRAY decimals want it.
func (a Int128) Bytes() (b [16]byte) {
	binary.BigEndian.PutUint64(b[:8], uint64(a.Hi))
	binary.BigEndian.PutUint64(b[8:], a.Lo)
	return b
}

// FromBytes reads what Bytes wrote.
func FromBytes(b [16]byte) Int128 {
	return Int128{Hi: int64(binary.BigEndian.Uint64(b[:8])), Lo: binary.BigEndian.Uint64(b[8:])}
}

// Big is a as a math/big integer.
func (a Int128) Big() *big.Int {
	v := new(big.Int).Lsh(big.NewInt(a.Hi), 64)
	return v.Add(v, new(big.Int).SetUint64(a.Lo))
}

// Append writes a, an integer of 10^-scale, in its shortest form.
func (a Int128) Append(dst []byte, scale int) []byte {
	if v, ok := a.Int64(); ok {
		return Append(dst, v, scale)
	}
	abs := a.Big()
	if abs.Sign() < 0 {
		dst = append(dst, '-')
		abs.Neg(abs)
	}
	whole, frac := new(big.Int).QuoRem(abs, big.NewInt(pow10[scale]), new(big.Int))
	dst = whole.Append(dst, 10)
	if f := frac.Int64(); f != 0 {
		dst = append(dst, Append(nil, f, scale)[1:]...) // "0.5" without its 0
	}
	return dst
}
