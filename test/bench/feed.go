package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
)

// feedAgainstNone posts events to the durable pipeline with and without a billing feed that sends open hours each second to a file and to a receiver that takes
// everything.
func feedAgainstNone(b *bench) error {
	taker := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	defer taker.Close()
	const exporter = "flush_interval: 5s"
	feed := fmt.Sprintf("%s, feed: {every: 1s, receivers: {file: {}, openmeter: {endpoint: %q}}}", exporter, taker.URL)
	off := eventSubject{name: "no feed", config: durableConfig, conns: 4, durable: true}
	on := eventSubject{name: "feed", config: strings.Replace(durableConfig, exporter, feed, 1), conns: 4, durable: true}
	fmt.Printf("Events posted to /v1/events, arrays of %d, 4 connections: with a billing feed of open hours, each second, against none\n\n", eventsPerRequest)
	return compareEvents(b, off, on)
}
