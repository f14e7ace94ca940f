package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/usagebox/otelcol-usagebox/internal/ledger"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// eventsPerHour are in each hour of the ledgers that grow.
const eventsPerHour = 1_000_000

// manyIDs measures what grows with the number of events that a ledger ever had: one ledger of sealed hours is filled up to each number of -ids, and the program started
// on it. Known events are any of them, which dedupe has never seen: each is found in the ledger's store.
func manyIDs(b *bench) error {
	fmt.Printf("A ledger that grows, %d events an hour, sealed: new events and known ones in batches of %d over %d connections\n\n", eventsPerHour, eventsPerRequest, postgresConns)
	header("events before", "filled, events/s", "until ready, s", "RSS then, MiB", "new, events/s", "new, CPU-s per million", "known, events/s", "known, CPU-s per million", "peak RSS MiB",
		"state, bytes an event", "parts, bytes an event", "verified, MB/s", "verified, events/s")
	grown, err := b.grownLedger()
	if err != nil {
		return err
	}
	for _, text := range strings.Split(b.ids, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < grown.events || n%eventsPerHour != 0 {
			return fmt.Errorf("-ids is %q: it takes rising multiples of %d", b.ids, eventsPerHour)
		}
		if err := b.measureGrown(grown, n); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) measureGrown(grown *grownLedger, events int) (err error) {
	before := grown.events
	begin := time.Now()
	if err := grown.fill(events); err != nil {
		return err
	}
	home := grown.dir
	defer func() {
		err = errors.Join(err, os.Rename(grown.dir, home))
		grown.dir = home
	}()
	filled := float64(events-before) / time.Since(begin).Seconds()
	folder, err := b.folder()
	if err != nil {
		return err
	}
	usage := filepath.Join(folder, "usage")
	if err := os.Rename(grown.dir, usage); err != nil {
		return err
	}
	grown.dir = usage
	parts, err := (&process{dir: folder}).parts()
	if err != nil {
		return err
	}
	begin = time.Now()
	p, err := b.startIn(folder, durableConfig, "")
	if err != nil {
		return err
	}
	ready := time.Since(begin)
	defer func() { p.kill() }()
	rss, err := p.status("VmRSS:")
	if err != nil {
		return err
	}
	load := func(what string, newBody func() body) (perSecond, cpu float64, requests int, err error) {
		used, err := p.cpu()
		if err != nil {
			return 0, 0, 0, err
		}
		t := target{url: "http://127.0.0.1:" + p.ports.API + "/v1/events", contentType: "application/json", units: eventsPerRequest, newBody: newBody}
		var elapsed time.Duration
		err = p.profiled(b.profileOf(true, "ids-%d-%s.pprof", events, what), b.seconds, func() (err error) {
			requests, elapsed, err = send(t, postgresConns, b.seconds)
			return err
		})
		if err != nil {
			return 0, 0, 0, fmt.Errorf("%s events: %w", what, err)
		}
		then, err := p.cpu()
		units := float64(requests * eventsPerRequest)
		return units / elapsed.Seconds(), (then - used).Seconds() / units * 1e6, requests, err
	}
	known, knownCPU, asked, err := load("known", func() body { return &knownBody{ledger: grown} })
	if err != nil {
		return err
	}
	duplicates, err := p.metric("ledger_duplicates")
	if err != nil {
		return err
	}
	found, err := p.metric("dedupe_duplicates")
	if err != nil {
		return err
	}
	if got := int(duplicates + found); got != asked*eventsPerRequest {
		return fmt.Errorf("%d known events were sent, %d were called duplicates", asked*eventsPerRequest, got)
	}
	first := uint64(time.Now().UnixMilli())
	fresh, freshCPU, sent, err := load("new", func() body { return laterBody{newEvents(), first} })
	if err != nil {
		return err
	}
	if err := p.inLedger(sent * eventsPerRequest); err != nil {
		return err
	}
	peak, err := p.peakRSS()
	if err != nil {
		return err
	}
	if err := p.stop(); err != nil {
		return err
	}
	state, err := sizeOf(filepath.Join(usage, "state"), "")
	if err != nil {
		return err
	}
	begin = time.Now()
	verify := exec.Command(b.binary, "ledger", "verify", "--directory", usage)
	if out, err := verify.CombinedOutput(); err != nil {
		return fmt.Errorf("verify: %w\n%s", err, out)
	}
	verified := time.Since(begin).Seconds()
	n := float64(events)
	row(fmt.Sprint(events), fmt.Sprintf("%.0f", filled), fmt.Sprintf("%.1f", ready.Seconds()), fmt.Sprintf("%.0f", rss), fmt.Sprintf("%.0f", fresh), fmt.Sprintf("%.1f", freshCPU), fmt.Sprintf("%.0f", known), fmt.Sprintf("%.1f", knownCPU),
		fmt.Sprintf("%.0f", peak), fmt.Sprintf("%.1f", float64(state)/n), fmt.Sprintf("%.1f", float64(parts)/n), fmt.Sprintf("%.0f", float64(parts)/1e6/verified), fmt.Sprintf("%.0f", n/verified))
	return nil
}

// grownLedger is a ledger of old events, a million for each hour from a time on.
type grownLedger struct {
	dir    string
	note   string // file that says what is there
	from   time.Time
	events int
}

// grownLedger is in a folder of the run, or, when -keep says so, what another run has left there.
func (b *bench) grownLedger() (*grownLedger, error) {
	folder := b.keep
	if folder == "" {
		var err error
		if folder, err = b.folder(); err != nil {
			return nil, err
		}
	} else if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, err
	}
	g := &grownLedger{dir: filepath.Join(folder, "usage"), note: filepath.Join(folder, "events.json")}
	g.from = time.Now().UTC().Add(-1000 * time.Hour).Truncate(time.Hour)
	text, err := os.ReadFile(g.note)
	if errors.Is(err, fs.ErrNotExist) {
		return g, nil
	}
	var there grownNote
	err = errors.Join(err, json.Unmarshal(text, &there))
	g.from, g.events = there.From, there.Events
	return g, err
}

type grownNote struct {
	From   time.Time
	Events int
}

// fill brings it to so many events, all sealed. An hour seals while the next one is filled.
func (g *grownLedger) fill(events int) error {
	l, err := ledger.Open(ledger.Options{Directory: g.dir, WriterID: "main", Manual: true})
	if err != nil {
		return err
	}
	sealing := make(chan error, 1)
	sealing <- nil
	for g.events < events && err == nil {
		for range eventsPerHour / eventsPerRequest {
			if _, err = l.Append(context.Background(), g.batch()); err != nil {
				break
			}
		}
		err = errors.Join(err, <-sealing)
		go func() { sealing <- l.Seal(context.Background()) }()
	}
	if err := errors.Join(err, <-sealing, l.Seal(context.Background()), l.Close()); err != nil {
		return err
	}
	text, err := json.Marshal(grownNote{g.from, g.events})
	return errors.Join(err, os.WriteFile(g.note, text, 0o600))
}

// batch is the next events.
func (g *grownLedger) batch() []usage.Event {
	hour := g.from.Add(time.Duration(g.events/eventsPerHour) * time.Hour)
	events := ledgerEvents(g.events%eventsPerHour, hour)
	for i := range events {
		events[i].ID = oldID(g.events + i)
	}
	g.events += len(events)
	return events
}

func oldID(n int) string { return fmt.Sprintf("old_%016x", mix(uint64(n))) }

// knownBody asks for events of the ledger, any of them.
type knownBody struct {
	ledger *grownLedger
	text   bytes.Buffer
}

func (k *knownBody) next(n uint64) []byte {
	k.text.Reset()
	for i := range uint64(eventsPerRequest) {
		at := int(mix(n*eventsPerRequest+i) % uint64(k.ledger.events))
		e := ledgerEvent(at%eventsPerHour, k.ledger.from.Add(time.Duration(at/eventsPerHour)*time.Hour))
		k.text.WriteByte("[,"[min(i, 1)])
		fmt.Fprintf(&k.text, `{"event_id":"%s","account_id":"%s","meter":"%s","model":"%s","quantity":%s,"timestamp":"%s","user_id":"%s","feature":"%s"}`,
			oldID(at), e.Customer, e.Lines[0].Meter, e.Model, e.Lines[0].Quantity, e.Timestamp.Time().Format(time.RFC3339Nano), e.UserID, e.Feature)
	}
	k.text.WriteByte(']')
	return k.text.Bytes()
}

// laterBody has other ids than those of earlier runs.
type laterBody struct {
	body
	first uint64
}

func (l laterBody) next(n uint64) []byte { return l.body.next(l.first + n) }
