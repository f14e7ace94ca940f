package usage

import (
	"reflect"
	"testing"

	"go.opentelemetry.io/collector/pdata/plog"
)

func TestARefusalComesBackFromItsRecordAndIsNoEvent(t *testing.T) {
	quantity, err := ParseQuantity("-1")
	if err != nil {
		t.Fatal(err)
	}
	want := []Refusal{
		{Event: Event{}, Reason: ReasonInvalidJSON, Detail: "the body is no JSON"},
		{
			Event: Event{
				ID: "e1", Customer: "acme", Service: "jobs", Kind: KindUsage, Timestamp: 1_700_000_000_000_000, Source: SourceAPI, Model: "m",
				TraceID: "0102030405060708090a0b0c0d0e0f10", SpanID: "0102030405060708", Dimensions: []Dimension{{"region", "eu"}},
				Lines: []Line{{Meter: "llm_tokens_in", Unit: "token", Quantity: quantity}},
			},
			Reason: ReasonNegativeQuantity, Detail: "quantity -1 is negative",
		},
	}
	ld := plog.NewLogs()
	EncodeRefusals(want, ld)
	if got := DecodeRefusals(ld); len(got) != 2 || !reflect.DeepEqual(got[1], want[1]) || got[0].Reason != want[0].Reason || got[0].Detail != want[0].Detail {
		t.Fatalf("%+v, want %+v", got, want)
	}
	if events, foreign, err := DecodeLogs(ld); len(events) != 0 || foreign != 0 || err != nil {
		t.Fatalf("taken for %d events and %d foreign records, %v", len(events), foreign, err)
	}
	EncodeRefusals(nil, ld)
	if ld.LogRecordCount() != 2 {
		t.Fatal("no refusals made records")
	}
}
