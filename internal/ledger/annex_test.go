package ledger

import (
	"errors"
	"testing"
	"time"

	"github.com/usagebox/otelcol-usagebox/internal/ledger/parquetfile"
)

func TestTheAnnexIsKeptAcrossARestartAndAFailedUpdateChangesNothing(t *testing.T) {
	h := newHarness(t)
	update := func(f func(View, Batch) error) error { t.Helper(); return h.Update(f) }
	if err := update(func(_ View, b Batch) error {
		b.Set([]byte("a"), []byte("1"))
		b.Set([]byte("b"), []byte("2"))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	refused := errors.New("refused")
	if err := update(func(_ View, b Batch) error { b.Delete([]byte("a")); return refused }); !errors.Is(err, refused) {
		t.Fatal(err)
	}
	h.restart()
	if err := h.View(func(v View) error {
		value, found, err := v.Get([]byte("a"))
		if err != nil || !found || string(value) != "1" {
			t.Errorf("%q, %v, %v", value, found, err)
		}
		var seen string
		err = v.Scan([]byte("a"), []byte("z"), func(key, value []byte) error {
			seen += string(key) + string(value)
			return ErrStop
		})
		if err != nil || seen != "a1" {
			t.Errorf("%q, %v", seen, err)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

func TestAScanOfTheAnnexPassesOverWhatIsBeforeAKey(t *testing.T) {
	h := newHarness(t)
	if err := h.Update(func(_ View, b Batch) error {
		for _, key := range []string{"a1", "a2", "b1", "b2", "b3", "c1", "d1"} {
			b.Set([]byte(key), nil)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := h.View(func(v View) error {
		seen := ""
		err := v.Scan([]byte("a"), []byte("d"), func(key, _ []byte) error {
			seen += string(key)
			return SkipTo{[]byte{key[0] + 1}}
		})
		if err != nil || seen != "a1b1c1" {
			t.Errorf("%q, %v", seen, err)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

func TestAnHourChangesAgainWhenItIsSealed(t *testing.T) {
	h := newHarness(t)
	at := h.clock.now
	h.accept(event("acme", "a", 1, at), event("beta", "b", 2, at))
	h.flush()
	open, err := h.Changes(0, 10)
	if err != nil || len(open) != 1 || open[0].Sealed || open[0].Open != 2 {
		t.Fatalf("%+v, %v", open, err)
	}
	h.clock.now = at.Add(3 * time.Hour)
	h.seal()
	sealed, err := h.Changes(open[0].Change, 10)
	if err != nil || len(sealed) != 1 || !sealed[0].Sealed || sealed[0].Open != 0 || sealed[0].Hour != open[0].Hour {
		t.Fatalf("%+v, %v", sealed, err)
	}
	if err := h.View(func(v View) error {
		var customers []string
		err := v.Totals(sealed[0].Hour, "acme", func(row *parquetfile.RollupRow) error {
			customers = append(customers, row.Customer)
			return nil
		})
		if err != nil || len(customers) != 1 || customers[0] != "beta" {
			t.Errorf("%v, %v", customers, err)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}
