package feed

import (
	"context"
	"math"
	"testing"
	"time"

	"github.com/usagebox/otelcol-usagebox/internal/decimal"
	"github.com/usagebox/otelcol-usagebox/internal/ledger/parquetfile"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// From its change to its delivery an hour may not leave the ledger.
func TestAnHourIsKeptUntilAllReceiversHaveIt(t *testing.T) {
	s := newSim(t, 1)
	s.calm(true)
	s.every = 0
	want := func(what string, hour usage.Hour) {
		t.Helper()
		if first, err := s.feed.KeepFrom(); err != nil || first != hour {
			t.Fatalf("%s: kept from %d, %v, want %d", what, first, err, hour)
		}
	}
	s.survive(func() { want("nothing was counted", math.MaxUint32) })
	hour := usage.MicrosOf(s.clock).Hour()
	at := hour.Start()
	s.books.count(parquetfile.RollupRow{HourStart: at, Customer: "acme", Meter: "llm_tokens_in", Unit: "token", Quantity: decimal.FromInt64(5_000_000), Events: 1, FirstAt: at, LastAt: at})
	want("it changed", hour)
	for _, r := range s.feed.receivers {
		if err := r.planNow(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	want("it waits for its seal", hour)
	for h := range s.books.totals {
		s.books.seal(h)
	}
	s.clock = s.clock.Add(time.Hour)
	for _, r := range s.feed.receivers {
		if err := r.planNow(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	want("it is in the outbox", hour)
	if err := s.settle(); err != nil {
		t.Fatal(err)
	}
	want("it was delivered", math.MaxUint32)
}
