package main

import (
	"fmt"
	"strings"
)

// pricingAgainstNone posts events to the durable pipeline with the built-in catalogue, and without prices.
func pricingAgainstNone(b *bench) error {
	off := eventSubject{name: "no prices", config: strings.Replace(durableConfig, "[dedupe, pricing]", "[dedupe]", 1), conns: 4, durable: true}
	on := eventSubject{name: "built-in catalogue", config: durableConfig, conns: 4, durable: true}
	fmt.Printf("Events posted to /v1/events, arrays of %d, 4 connections: with the built-in catalogue against no pricing\n\n", eventsPerRequest)
	return compareEvents(b, off, on)
}

// compareEvents prints two durable subjects side by side.
func compareEvents(b *bench, off, on eventSubject) error {
	header(off.name+", events/s", on.name+", events/s", "ratio", off.name+", CPU-s per million", on.name+", CPU-s per million")
	results, err := inTurns(b, []eventSubject{off, on}, b.events)
	if err != nil {
		return err
	}
	base, ours := results[off.String()], results[on.String()]
	row(spread(base, measured.rate, "%.0f"), spread(ours, measured.rate, "%.0f"), ratio(median(ours, measured.rate), median(base, measured.rate)),
		spread(base, measured.cpu, "%.1f"), spread(ours, measured.cpu, "%.1f"))
	return nil
}
