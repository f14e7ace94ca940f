package decimal

import (
	"errors"
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParseTakesWhatFitsAndSaysWhyNot(t *testing.T) {
	for _, c := range []struct {
		text string
		want int64
		err  error
	}{
		{"12450", 12450_000000, nil},
		{"-0.000001", -1, nil},
		{"+1.5", 1_500000, nil},
		{".5", 500000, nil},
		{"5.", 5_000000, nil},
		{"1e3", 1000_000000, nil},
		{"1.25E-4", 125, nil},
		{"1.0000000000", 1_000000, nil},
		{"0e99999999999", 0, nil},
		{"0.0000000", 0, nil},
		{"999999999999.999999", 999999999999_999999, nil},
		{"1000000000000", 0, ErrRange},
		{"1e400", 0, ErrRange},
		{"1e99999999999999999999", 0, ErrRange},
		{"0.0000001", 0, ErrPrecision},
		{"1.0000001", 0, ErrPrecision},
		{"1e-7", 0, ErrPrecision},
		{"", 0, ErrSyntax},
		{"-", 0, ErrSyntax},
		{".", 0, ErrSyntax},
		{"e5", 0, ErrSyntax},
		{"1e", 0, ErrSyntax},
		{"1e+", 0, ErrSyntax},
		{"1 ", 0, ErrSyntax},
		{"0x10", 0, ErrSyntax},
		{"1_000", 0, ErrSyntax},
		{"1.2.3", 0, ErrSyntax},
		{"NaN", 0, ErrSyntax},
		{"Infinity", 0, ErrSyntax},
		{"١", 0, ErrSyntax},
	} {
		got, err := Parse(c.text, 6, 18)
		if got != c.want || !errors.Is(err, c.err) {
			t.Errorf("%q: got %d, %v; want %d, %v", c.text, got, err, c.want, c.err)
		}
	}
}

func TestParseAgreesWithRationals(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`-?[0-9]{1,20}(\.[0-9]{0,20})?([eE][-+]?[0-9]{1,2})?`).Draw(t, "text")
		exact, ok := new(big.Rat).SetString(text)
		if !ok {
			t.Fatalf("%q is no number", text)
		}
		exact.Mul(exact, new(big.Rat).SetInt64(1_000_000))
		got, err := Parse([]byte(text), 6, 18)
		limit := big.NewRat(1_000_000_000_000_000_000, 1)
		switch {
		case new(big.Rat).Abs(exact).Cmp(limit) >= 0 || !exact.IsInt():
			if err == nil {
				t.Fatalf("%s was taken as %d", text, got)
			}
		case err != nil || new(big.Rat).SetInt64(got).Cmp(exact) != 0:
			t.Fatalf("%s: got %d, %v", text, got, err)
		}
	})
}

func TestAppendIsReadBackExactly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.Int64Range(-999_999_999_999_999_999, 999_999_999_999_999_999).Draw(t, "v")
		text := string(Append(nil, v, 12))
		if got, err := Parse(text, 12, 18); got != v || err != nil {
			t.Fatalf("%d became %s became %d, %v", v, text, got, err)
		}
		if strings.Contains(text, ".") && strings.HasSuffix(text, "0") {
			t.Fatalf("%s is not the shortest form", text)
		}
	})
}

func TestInt128AddsLikeBigIntegers(t *testing.T) {
	anyInt128 := rapid.Custom(func(t *rapid.T) Int128 {
		return Int128{rapid.Int64().Draw(t, "hi"), rapid.Uint64().Draw(t, "lo")}
	})
	limit := new(big.Int).Lsh(big.NewInt(1), 127)
	rapid.Check(t, func(t *rapid.T) {
		a, b := anyInt128.Draw(t, "a"), anyInt128.Draw(t, "b")
		sum, ok := a.Add(b)
		exact := new(big.Int).Add(a.Big(), b.Big())
		fits := exact.Cmp(limit) < 0 && exact.Cmp(new(big.Int).Neg(limit)) >= 0
		if ok != fits || ok && sum.Big().Cmp(exact) != 0 {
			t.Fatalf("%v + %v = %v, %v", a.Big(), b.Big(), sum.Big(), ok)
		}
		if a.Cmp(b) != a.Big().Cmp(b.Big()) || FromBytes(a.Bytes()) != a {
			t.Fatal("order or bytes")
		}
		rat := new(big.Rat).SetFrac(a.Big(), big.NewInt(1_000_000))
		back, _ := new(big.Rat).SetString(string(a.Append(nil, 6)))
		if back.Cmp(rat) != 0 {
			t.Fatalf("%v is written as %s", rat, a.Append(nil, 6))
		}
	})
	if got := string(FromInt64(-5).Append(nil, 6)); got != "-0.000005" {
		t.Fatal(got)
	}
}
