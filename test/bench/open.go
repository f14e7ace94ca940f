package main

import (
	"fmt"
	"strings"
	"time"
)

// pieces are the requests that the spans of an open trace come in.
const pieces = 3

// openTraces sends traces of 15 spans, each in three requests, which stay open; kills the program, starts it again on what lies there, and then lets the traces settle. Every
// trace must be open again after the crash.
func openTraces(b *bench) error {
	fmt.Printf("%d open traces of %d spans, each in %d requests with those of others between; kill -9; a start; settling for %s\n\n", b.traces, pieces*spansPerTrace, pieces, b.seconds)
	header("open, RSS MiB", "peak MiB", "facts on disk, MiB", "bytes a span", "until ready after kill -9, s", "CPU-s of the start", "RSS MiB then", "settling, spans/s", "CPU-s per million")
	stays := strings.Replace(durableConfig, defaultSettle, openSettle, 1)
	p, err := b.start(stays, "")
	if err != nil {
		return err
	}
	defer func() { p.kill() }()
	for piece := range pieces {
		if err := b.sendPiece(p, byte(piece)); err != nil {
			return err
		}
	}
	if err := p.hasOpen(b.traces); err != nil {
		return err
	}
	rss, err := p.status("VmRSS:")
	if err != nil {
		return err
	}
	peak, err := p.peakRSS()
	if err != nil {
		return err
	}
	disk, err := p.metric("attribution_facts_size")
	if err != nil {
		return err
	}
	p.kill()
	began := time.Now()
	if err := p.launch(b.binary, stays); err != nil {
		return err
	}
	ready := time.Since(began)
	if err := p.hasOpen(b.traces); err != nil {
		return err
	}
	then, err := p.status("VmRSS:")
	if err != nil {
		return err
	}
	start := p.started
	p.kill()
	settled, cost, err := b.settleFor(p)
	if err != nil {
		return err
	}
	row(fmt.Sprintf("%.0f", rss), fmt.Sprintf("%.0f", peak), fmt.Sprintf("%.0f", disk/(1<<20)), fmt.Sprintf("%.0f", disk/float64(b.traces*pieces*spansPerTrace)), fmt.Sprintf("%.1f", ready.Seconds()),
		fmt.Sprintf("%.1f", start.Seconds()), fmt.Sprintf("%.0f", then), fmt.Sprintf("%.0f", settled), fmt.Sprintf("%.1f", cost))
	return nil
}

// sendPiece sends a request of each trace.
func (b *bench) sendPiece(p *process, piece byte) error {
	each := (b.traces/tracesPerRequest + b.conns - 1) / b.conns
	b.traces = each * b.conns * tracesPerRequest
	_, _, err := sendWhile(target{
		url: "http://127.0.0.1:" + p.ports.OTLP + "/v1/traces", contentType: "application/x-protobuf", units: tracesPerRequest * spansPerTrace,
		newBody: func() body { return newPiece(0, piece) },
	}, b.conns, func(n int) bool { return n < each })
	return err
}

// hasOpen waits until a metric says that so many traces are open.
func (p *process) hasOpen(traces int) error {
	var open float64
	err := p.until(time.Minute, 100*time.Millisecond, fmt.Sprintf("%d traces are open", traces), func() (ok bool, err error) {
		open, err = p.metric("attribution_open_traces")
		return int(open) == traces, err
	})
	if err != nil {
		return fmt.Errorf("%w (%.0f are)", err, open)
	}
	return nil
}

// settleFor starts the program with a short wait, so that all that is open is due, and counts what settles and goes to the ledger meanwhile.
func (b *bench) settleFor(p *process) (spansPerSecond, cpuPerMillion float64, err error) {
	if err := p.launch(b.binary, durableConfig); err != nil {
		return 0, 0, err
	}
	settled := func() (n float64, err error) { return p.metric("attribution_settled") }
	err = p.until(time.Minute, 100*time.Millisecond, "a trace settled", func() (ok bool, err error) {
		n, err := settled()
		return n > 0, err
	})
	if err != nil {
		return 0, 0, err
	}
	before, err := settled()
	if err != nil {
		return 0, 0, err
	}
	used, err := p.cpu()
	if err != nil {
		return 0, 0, err
	}
	began := time.Now()
	time.Sleep(b.seconds)
	after, err := settled()
	if err != nil {
		return 0, 0, err
	}
	elapsed := time.Since(began)
	then, err := p.cpu()
	if err != nil {
		return 0, 0, err
	}
	spans := (after - before) * pieces * spansPerTrace
	return spans / elapsed.Seconds(), (then - used).Seconds() / spans * 1e6, nil
}
