package attribution

import (
	"errors"
	"reflect"
	"testing"

	"pgregory.net/rapid"
)

func drawTally(t *rapid.T, name string) (y Tally) {
	number := rapid.IntRange(0, 3)
	for _, n := range y.numbers() {
		*n = number.Draw(t, name)
	}
	y.WrapperExcess = int64(number.Draw(t, name))
	for _, dialect := range []string{"a", "bc"} {
		if n := number.Draw(t, name); n > 0 {
			if y.Calls == nil {
				y.Calls = map[string]int{}
			}
			y.Calls[dialect] = n
		}
	}
	return y
}

func TestATallyIsReadAsItWasWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawTally(t, "tally")
		b := want.AppendBinary(nil)
		got, err := DecodeTally(b)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%+v, %v, want %+v", got, err, want)
		}
		for n := 1; n < len(b); n++ {
			if _, err := DecodeTally(b[:n]); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("%d bytes of %d: %v", n, len(b), err)
			}
		}
	})
}

// However often a trace is decided on, the sum of what is added is the highest of each number.
func TestWhatDecisionsOfATraceAddIsTheHighestOfEachNumber(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var counted, added, highest Tally
		for range rapid.IntRange(1, 5).Draw(t, "decisions") {
			now := drawTally(t, "now")
			var more Tally
			more, counted = now.Since(counted)
			added.Add(&more)
			sums := highest.numbers()
			for i, n := range now.numbers() {
				*sums[i] = max(*sums[i], *n)
			}
			highest.WrapperExcess = max(highest.WrapperExcess, now.WrapperExcess)
			for dialect, n := range now.Calls {
				if highest.Calls == nil {
					highest.Calls = map[string]int{}
				}
				highest.Calls[dialect] = max(highest.Calls[dialect], n)
			}
		}
		if !reflect.DeepEqual(added, highest) || !reflect.DeepEqual(counted, highest) {
			t.Fatalf("added %+v, counted %+v, want %+v", added, counted, highest)
		}
	})
}
