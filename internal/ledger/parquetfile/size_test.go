package parquetfile

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// calls is n model calls as spans report them: in runs of 8 calls, every identity there, costs and prices.
func calls(n int, meters []string) []usage.Event {
	random := rand.New(rand.NewPCG(3, 4))
	events := make([]usage.Event, n)
	start := usage.Micros(1_768_003_200_000_000)
	var trace, session, customer, user string
	at := start
	for i := range events {
		if i%8 == 0 {
			trace = fmt.Sprintf("%016x%016x", random.Uint64(), random.Uint64())
			session = fmt.Sprintf("session-%08x", random.Uint32()>>8)
			customer = fmt.Sprintf("customer-%d", int(random.ExpFloat64()*200))
			user = fmt.Sprintf("user-%d", random.IntN(5000))
			at = start + usage.Micros(random.Int64N(3_500_000_000))
		}
		at += usage.Micros(random.IntN(3_000_000))
		span := fmt.Sprintf("%016x", random.Uint64())
		charge := func(book string) usage.Charge {
			return usage.Charge{Amount: usage.Amount(random.IntN(20_000) * 3_000_000), Currency: "USD", Rate: "2026-11-01/" + book + "/claude-4.5-sonnet"}
		}
		e := &events[i]
		*e = usage.Event{
			ID: usage.SpanEventID(trace, span, "llm"), Kind: usage.KindUsage, Timestamp: at, IngestedAt: at + 1_500_000 + usage.Micros(random.IntN(1_000_000)), Customer: customer, UserID: user,
			SessionID: session, ConversationID: session, Feature: "support", Step: []string{"plan", "search", "answer"}[random.IntN(3)], Agent: "planner",
			TraceID: trace, SpanID: span, RunID: trace, Operation: "chat", Provider: "anthropic", Model: "claude-4.5-sonnet", Source: usage.SourceSpan, Service: "shop",
		}
		for _, m := range meters {
			q := usage.Units(int64(random.IntN(20_000)))
			if m == usage.MeterLLMRequests {
				q = usage.Units(1)
			}
			e.Lines = append(e.Lines, usage.Line{Meter: m, Quantity: q, Cost: charge("cost"), Price: charge("price")})
		}
		e.Normalize()
	}
	Sort(events)
	return events
}

func TestAnEventWithEverythingInTheContractTakesAtMostSixtyBytes(t *testing.T) {
	const n = 50_000
	all := []string{usage.MeterLLMRequests, usage.MeterTokensIn, usage.MeterTokensCacheRead, usage.MeterTokensOut, usage.MeterTokensReasoning}
	one, five := len(written(t, 0, calls(n, all[1:2])))/n, len(written(t, 0, calls(n, all)))/n
	t.Logf("%d bytes with one meter, %d with five", one, five)
	if one > 60 || five > 110 {
		t.Errorf("%d bytes with one meter, %d with five", one, five)
	}
}
