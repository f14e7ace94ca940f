package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"syscall"
	"testing"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/exporter/exportertest"
	"go.opentelemetry.io/collector/processor/processortest"
	"go.opentelemetry.io/collector/receiver/receivertest"

	"github.com/usagebox/otelcol-usagebox/exporter/usageexporter"
	"github.com/usagebox/otelcol-usagebox/processor/dedupeprocessor"
	"github.com/usagebox/otelcol-usagebox/processor/pricingprocessor"
	"github.com/usagebox/otelcol-usagebox/receiver/usagereceiver"
)

// pipeline is the default configuration's way from POST /v1/events to the ledger, in this process. It gives the URL to post to.
func pipeline(b *testing.B) string {
	ctx, host := context.Background(), componenttest.NewNopHost()
	check := func(err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
	dir := b.TempDir()
	var started []component.Component
	exporters := usageexporter.NewFactory()
	ledger := exporters.CreateDefaultConfig().(*usageexporter.Config)
	ledger.Directory = filepath.Join(dir, "usage")
	exp, err := exporters.CreateLogs(ctx, exportertest.NewNopSettings(exporters.Type()), ledger)
	check(err)
	started = append(started, exp)
	var next consumer.Logs = exp
	pricings := pricingprocessor.NewFactory()
	prices := pricings.CreateDefaultConfig().(*pricingprocessor.Config)
	prices.Directory = filepath.Join(dir, "pricing")
	pricing, err := pricings.CreateLogs(ctx, processortest.NewNopSettings(pricings.Type()), prices, next)
	check(err)
	started = append(started, pricing)
	dedupes := dedupeprocessor.NewFactory()
	known := dedupes.CreateDefaultConfig().(*dedupeprocessor.Config)
	known.Directory = filepath.Join(dir, "dedupe")
	dedupe, err := dedupes.CreateLogs(ctx, processortest.NewNopSettings(dedupes.Type()), known, pricing)
	check(err)
	started = append(started, dedupe)
	receivers := usagereceiver.NewFactory()
	api := receivers.CreateDefaultConfig().(*usagereceiver.Config)
	port, err := freePort()
	check(err)
	api.ServerConfig.NetAddr.Endpoint = net.JoinHostPort("127.0.0.1", port)
	rcv, err := receivers.CreateLogs(ctx, receivertest.NewNopSettings(receivers.Type()), api, dedupe)
	check(err)
	started = append(started, rcv)
	for i, c := range started {
		check(c.Start(ctx, host))
		b.Cleanup(func() { check(started[i].Shutdown(ctx)) })
	}
	return "http://" + api.ServerConfig.NetAddr.Endpoint + "/v1/events"
}

// BenchmarkPosted posts arrays of 1,000 events to the default pipeline over four connections. Its CPU time is that of pipeline and client.
func BenchmarkPosted(b *testing.B) {
	url := pipeline(b)
	cpu := func() float64 {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e3
	}
	const conns = 4
	var counts [conns]uint64
	free := make(chan int, conns)
	bodies := [conns]*eventsBody{}
	for c := range conns {
		bodies[c] = newEvents()
		free <- c
	}
	begin := cpu()
	b.ReportAllocs()
	b.ResetTimer()
	b.SetParallelism(conns)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			c := <-free
			data := bodies[c].next(counts[c]*conns + uint64(c))
			counts[c]++
			resp, err := http.Post(url, "application/json", bytes.NewReader(data))
			free <- c
			if err != nil {
				b.Error(err)
				return
			}
			answer, _ := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusAccepted {
				b.Errorf("%s: %s", resp.Status, answer)
			}
		}
	})
	b.StopTimer()
	events := float64(b.N) * eventsPerRequest
	b.ReportMetric((cpu()-begin)/events, "CPU-µs/event")
	b.ReportMetric(events/b.Elapsed().Seconds(), "events/s")
}
