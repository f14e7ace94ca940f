package main

import (
	"bytes"
	"fmt"
	"time"
)

const eventsPerRequest = 1000

// eventsBody is a JSON array in which every event's id is exchanged.
type eventsBody struct {
	data []byte
	ids  []int
}

const idDigits = 16

func (b *eventsBody) next(n uint64) []byte {
	const hex = "0123456789abcdef"
	for i, at := range b.ids {
		id := mix(n*eventsPerRequest + uint64(i))
		for d := range idDigits {
			b.data[at+d] = hex[id>>(60-4*d)&15]
		}
	}
	return b.data
}

func newEvents() *eventsBody {
	b := &eventsBody{}
	var text bytes.Buffer
	now := time.Now().UTC()
	for i := range eventsPerRequest {
		text.WriteString(map[bool]string{true: "[", false: ",\n"}[i == 0])
		text.WriteString(`{"event_id":"req_`)
		b.ids = append(b.ids, text.Len())
		fmt.Fprintf(&text, `%0*d","account_id":"customer-%d","meter":"llm_tokens_in","model":"claude-4.5-sonnet","quantity":%d,"timestamp":"%s","user_id":"user-%d","feature":"chat"}`,
			idDigits, 0, i%97, 1000+i, now.Add(-time.Duration(i)*time.Millisecond).Format("2006-01-02T15:04:05.000Z"), i%31)
	}
	text.WriteByte(']')
	b.data = text.Bytes()
	return b
}

type eventSubject struct {
	name    string
	config  string
	conns   int
	durable bool
	ledger  string // that is there before; empty: none
}

func (s eventSubject) String() string { return fmt.Sprintf("%s, %d connections", s.name, s.conns) }

func postedEvents(b *bench) error {
	fmt.Printf("Events posted to /v1/events, arrays of %d: the durable pipeline against usage receiver → nop\n\n", eventsPerRequest)
	header("connections", "nop, events/s", "durable, events/s", "ratio", "nop, CPU-s per million", "durable, CPU-s per million", "durable, allocations an event", "durable, peak RSS MiB", "bytes an event")
	for _, conns := range []int{1, 16} {
		nop := eventSubject{name: "nop", config: receiveConfig, conns: conns}
		full := eventSubject{name: "durable pipeline", config: durableConfig, conns: conns, durable: true}
		results, err := inTurns(b, []eventSubject{nop, full}, b.events)
		if err != nil {
			return err
		}
		base, ours := results[nop.String()], results[full.String()]
		row(fmt.Sprint(conns), spread(base, measured.rate, "%.0f"), spread(ours, measured.rate, "%.0f"), ratio(median(ours, measured.rate), median(base, measured.rate)),
			spread(base, measured.cpu, "%.1f"), spread(ours, measured.cpu, "%.1f"), spread(ours, measured.heap, "%.1f"), spread(ours, measured.peak, "%.0f"), spread(ours, measured.size, "%.1f"))
	}
	return nil
}

func (b *bench) events(s eventSubject) (m measured, err error) {
	p, err := b.startWith(s.ledger, s.config, "")
	if err != nil {
		return m, err
	}
	defer func() {
		if err != nil {
			p.kill()
		}
	}()
	t := target{
		url: "http://127.0.0.1:" + p.ports.API + "/v1/events", contentType: "application/json", units: eventsPerRequest,
		newBody: func() body { return newEvents() },
	}
	var requests int
	var elapsed time.Duration
	err = p.profiled(b.profileOf(s.durable, "events-%d.pprof", s.conns), b.seconds, func() (err error) {
		requests, elapsed, err = send(t, s.conns, b.seconds)
		return err
	})
	if err != nil {
		return m, err
	}
	if s.durable {
		err := p.profiled(b.profileOf(true, "events-%d-after.pprof", s.conns), b.seconds, func() error { return p.inLedger(requests * eventsPerRequest) })
		if err != nil {
			return m, err
		}
	}
	return p.finish(requests*t.units, requests*t.units, elapsed)
}
