package ledger

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// What was computed from an event as it was seen counts only while it is so: in the store, in a sealed hour, and beside others of its Append.
func TestAmendmentsCountOnlyWhenTheirTargetIsAsItWasSeen(t *testing.T) {
	l, err := Open(Options{Directory: t.TempDir(), WriterID: "main", Manual: true, MinFreeBytes: 0})
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	event := func(id, corrects string, quantity, cost int64) usage.Event {
		e := usage.Event{ID: id, Kind: usage.KindUsage, Customer: "acme", Corrects: corrects, Timestamp: 1_700_000_000_000_000, Source: "test", Lines: []usage.Line{{Meter: "units", Quantity: usage.Units(quantity)}}}
		if corrects != "" {
			e.Kind = usage.KindCorrection
		}
		if cost != 0 {
			e.Lines[0].Cost = usage.Charge{Amount: usage.Amount(cost), Currency: "USD", Rate: "v/r"}
		}
		e.Normalize()
		return e
	}
	seen := func(quantity, cost int64) []usage.Line { return event("", "", quantity, cost).Lines }
	amend := func(list ...Amendment) Result {
		t.Helper()
		r, err := l.Amend(t.Context(), list)
		require.NoError(t, err)
		return r
	}
	refused := l.state.refused
	r, err := l.Append(t.Context(), []usage.Event{event("a", "", 5, 50), event("b", "", 5, 0), event("gone", "", 5, 50), {
		ID: "r", Kind: usage.KindRetraction, Corrects: "gone", Customer: "acme", Timestamp: 1_700_000_000_000_000, Source: "test",
	}})
	require.NoError(t, err)
	require.Equal(t, Result{Accepted: 4}, r)
	for _, wrong := range [][]usage.Line{seen(4, 50), seen(5, 51), seen(5, 0), nil, {{Meter: "other", Quantity: usage.Units(5)}}} {
		require.Equal(t, Result{Moved: 1}, amend(Amendment{event("w", "a", 0, 7), wrong}))
	}
	require.Equal(t, Result{Moved: 3}, amend(
		Amendment{event("x", "nobody", 0, 7), seen(5, 50)}, Amendment{event("y", "gone", 0, 7), seen(0, 0)}, Amendment{event("z", "b", 0, 7), seen(5, 50)}))
	require.NoError(t, l.Seal(t.Context())) // the hour is over
	first := Amendment{event("w", "a", 0, 7), seen(5, 50)}
	require.Equal(t, Result{Accepted: 1, Late: 1, Moved: 1}, amend(first, Amendment{event("w2", "a", 0, 7), seen(5, 50)}), "the second has seen what was there before the first")
	require.Equal(t, Result{Duplicates: 1}, amend(first))
	require.Equal(t, Result{Accepted: 2, Late: 2}, amend(Amendment{event("w3", "a", 0, -7), seen(5, 57)}, Amendment{event("z", "b", 0, 7), seen(5, 0)}))
	r, err = l.Append(t.Context(), []usage.Event{event("c", "a", -2, -20)})
	require.NoError(t, err)
	require.Equal(t, 1, r.Accepted)
	require.Equal(t, Result{Accepted: 1, Late: 1}, amend(Amendment{event("w4", "a", 0, 3), seen(3, 30)}))
	require.Equal(t, refused, l.state.refused, "what moved leaves no trace")
}
