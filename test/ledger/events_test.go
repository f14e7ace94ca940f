package ledger

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/usagebox/otelcol-usagebox/internal/ledger/parquetfile"
	"github.com/usagebox/otelcol-usagebox/usage"
)

const maxDecimal = 999_999_999_999_999_999

// hourOfTest is 2026-05-16 18:00 UTC.
const hourOfTest = usage.Hour(1_778_954_400 / 3600)

// mixedEvents are n events of an hour in order: model calls in runs, API events, corrections and retractions, numbers up to the
// limits, absent and odd values.
func mixedEvents(seed uint64, hour usage.Hour, n int) []usage.Event {
	random := rand.New(rand.NewPCG(seed, uint64(hour)))
	oneOf := func(values ...string) string { return values[random.IntN(len(values))] }
	charge := func(negative bool) usage.Charge {
		switch random.IntN(8) {
		case 0, 1:
			return usage.Charge{}
		case 2:
			return usage.Charge{Amount: maxDecimal, Currency: "EUR", Rate: "r"}
		case 3:
			return usage.Charge{Amount: 0, Currency: "USD", Rate: "free"}
		}
		amount := usage.Amount(random.Int64N(1e15))
		if negative {
			amount = -amount
		}
		return usage.Charge{Amount: amount, Currency: "USD", Rate: "2026-11-01/anthropic/claude-4.5-sonnet"}
	}
	events := make([]usage.Event, n)
	for i := range events {
		e := &events[i]
		*e = usage.Event{
			ID: fmt.Sprintf("event-%d-%d", seed, i), Kind: usage.KindUsage,
			Timestamp: hour.Start() + usage.Micros(random.Int64N(int64(usage.MicrosPerHour))), IngestedAt: hour.Start() + usage.Micros(random.Int64N(1e10)),
			Customer: oneOf("acme", "globex", "initech", "Ünïcode & söhne", usage.Unattributed), Feature: oneOf("", "support", "search"), Step: oneOf("", "plan", "answer"),
			Agent: oneOf("", "planner"), Operation: oneOf("", "chat"), Provider: oneOf("", "anthropic", "openai"), Model: oneOf("", "claude-4.5-sonnet", "gpt-5"),
			UserID: oneOf("", "ann", "bob"), Source: usage.SourceSpan, Service: oneOf("", "shop"),
		}
		if random.IntN(2) == 0 {
			e.TraceID = fmt.Sprintf("%032x", 1+random.IntN(50))
			e.SpanID = fmt.Sprintf("%016x", 1+random.Uint32())
			e.RunID = e.TraceID
		}
		meters := []string{usage.MeterLLMRequests, usage.MeterTokensIn, usage.MeterTokensCacheRead, usage.MeterTokensOut}
		switch random.IntN(6) {
		case 0:
			meters = []string{usage.MeterToolCalls}
		case 1:
			meters = []string{usage.MeterAgentRuns, usage.MeterAgentSeconds}
			if random.IntN(2) == 0 {
				e.Flags = append(e.Flags, usage.FlagSubAgent)
			}
			if random.IntN(3) == 0 {
				e.Flags = append(e.Flags, usage.FlagError)
			}
		case 2:
			meters = []string{"gpu_seconds"}
			e.Source = usage.SourceAPI
			e.Dimensions = []usage.Dimension{{Key: "region", Value: oneOf("eu", "us")}, {Key: "team", Value: ""}}
		}
		negative := false
		switch random.IntN(10) {
		case 0:
			e.Kind, e.Corrects, negative = usage.KindCorrection, "event-1-1", random.IntN(2) == 0
		case 1:
			e.Kind, e.Corrects, negative = usage.KindRetraction, "event-1-2", true
		}
		for _, m := range meters {
			q := usage.Quantity(random.Int64N(50_000_000_000))
			if random.IntN(50) == 0 {
				q = maxDecimal
			}
			if negative {
				q = -q
			}
			e.Lines = append(e.Lines, usage.Line{Meter: m, Quantity: q, Cost: charge(negative), Price: charge(negative)})
		}
		e.Normalize()
	}
	parquetfile.Sort(events)
	return slices.CompactFunc(events, func(a, b usage.Event) bool { return parquetfile.Compare(&a, &b) == 0 })
}
