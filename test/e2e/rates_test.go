package e2e

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
)

// turning is when all versions of the rates change their price.
var turning = time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)

// ratesOf are the rates of a version, in millionths: of units, two prices before and after turning; of a model's tokens, one.
func ratesOf(version int64) (before, after, token int64) { return version, 1000 + version, 3 * version }

func ratesText(version int64) string {
	before, after, token := ratesOf(version)
	return fmt.Sprintf(`catalog: 1
builtin: false
rates:
  - {id: before, book: cost, match: {meter: units}, price: "%[1]d", per: million, effective: {until: 2026-06-01}}
  - {id: after, book: cost, match: {meter: units}, price: "%[2]d", per: million, effective: {from: 2026-06-01}}
  - {id: run, book: cost, match: {meter: agent_runs}, price: "0"}
  - {id: tokens, book: cost, match: {provider: openai, model: gpt-4o}, per: million, prices: {llm_tokens_in: "%[3]d", llm_tokens_out: "%[3]d"}}
  - {id: markup, book: price, markup: "2"}
`, before, after, token)
}

// versionOf is the version of a catalogue's file, as the program tells it.
func versionOf(t *testing.T, path string) string {
	t.Helper()
	out, code := run(t, t.TempDir(), "catalog", "check", path)
	_, rest, _ := strings.Cut(out, "version ")
	version, _, found := strings.Cut(rest, ",")
	if code != 0 || !found {
		t.Fatalf("catalog check %s: %d %s", path, code, out)
	}
	return version
}

// mount is a catalogue's file as Kubernetes mounts it: a link into a folder that is a link.
type mount struct {
	t       *testing.T
	dir     string
	path    string
	folders int
}

func newMount(t *testing.T, text string) *mount {
	m := &mount{t: t, dir: t.TempDir()}
	m.path = filepath.Join(m.dir, "catalog.yaml")
	m.swap(text)
	m.must(os.Symlink(filepath.Join("..data", "catalog.yaml"), m.path))
	return m
}

func (m *mount) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

// swap exchanges the folder, as Kubernetes does.
func (m *mount) swap(text string) {
	m.folders++
	name := fmt.Sprintf("..v%d", m.folders)
	m.must(os.Mkdir(filepath.Join(m.dir, name), 0o755))
	m.must(os.WriteFile(filepath.Join(m.dir, name, "catalog.yaml"), []byte(text), 0o600))
	m.must(os.Symlink(name, filepath.Join(m.dir, "..tmp")))
	old, _ := os.Readlink(filepath.Join(m.dir, "..data"))
	m.must(os.Rename(filepath.Join(m.dir, "..tmp"), filepath.Join(m.dir, "..data")))
	if old != "" {
		m.must(os.RemoveAll(filepath.Join(m.dir, old)))
	}
}

// rename puts a new file in the place of the path, link or not.
func (m *mount) rename(text string) {
	m.must(os.WriteFile(m.path+".new", []byte(text), 0o600))
	m.must(os.Rename(m.path+".new", m.path))
}

// write writes into the file that is there.
func (m *mount) write(text string) { m.must(os.WriteFile(m.path, []byte(text), 0o600)) }

// sentBatch is events that were acknowledged, and the versions that were in force, or about to be, meanwhile.
type sentBatch struct {
	body        []byte
	first, last int64
}

// Senders of events and of spans that never stop, while the rates change in every way that files change.
func TestEachEventHasTheRateOfItsOwnTimeAndOfTheCatalogueInForce(t *testing.T) {
	m := newMount(t, ratesText(1))
	health := freePort(t)
	c := newCollector(t, "1s", "pricing: {", "pricing: {catalog: "+m.path+", reload_interval: 100ms, ",
		"\nservice:\n", "\nextensions: {health_check: {http: {endpoint: '"+health+"', status: {enabled: true, path: /}}}}\nservice:\n  extensions: [health_check]\n")
	versions := map[string]int64{} // of the catalogue's hash
	know := func(version int64) string {
		hash := versionOf(t, write(t, ratesText(version)))
		versions[hash] = version
		return hash
	}
	know(1)

	var inForce, begun atomic.Int64 // versions
	inForce.Store(1)
	begun.Store(1)
	stop := make(chan struct{})
	var senders sync.WaitGroup
	batches := make([][]sentBatch, 2)
	for s := range batches {
		senders.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				var list []string
				for i := range 10 {
					at := turning.Add(time.Duration(i-5) * time.Microsecond) // half of them on either side, by a microsecond
					list = append(list, fmt.Sprintf(`{"event_id":"e-%d-%d-%d","account_id":"customer%d","meter":"units","quantity":"%d.%06d","timestamp":%q}`,
						s, n, i, i%3, n+1, i, at.Format(time.RFC3339Nano)))
				}
				b := sentBatch{body: []byte("[" + strings.Join(list, ",") + "]"), first: inForce.Load()}
				c.insist(c.api, "/v1/events", "application/json", "", b.body)
				b.last = begun.Load()
				batches[s] = append(batches[s], b)
			}
		})
	}
	spans := map[string]int64{} // the version that was in force when a span was sent
	senders.Go(func() {
		for n := uint64(1); ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			id, body := modelCall(t, n)
			spans[id] = inForce.Load()
			c.insist(c.http, "/v1/traces", "application/x-protobuf", "", body)
		}
	})

	status := func() string {
		res, err := httpClient.Get("http://" + health + "/")
		if err != nil {
			return err.Error()
		}
		defer res.Body.Close()
		text, _ := io.ReadAll(res.Body)
		return fmt.Sprint(res.StatusCode, " ", string(text))
	}
	await := func(version int64) {
		t.Helper()
		hash := know(version)
		eventually(t, 20*time.Second, fmt.Sprintf("version %d is in force", version), func() bool {
			return c.metric("otelcol_usagebox_pricing_catalog_rates", `version="`+hash+`"`) > 0 && c.metric("otelcol_usagebox_pricing_catalog_stale") == 0
		})
		inForce.Store(version)
		sent := c.metric("otelcol_usagebox_pricing_events")
		eventually(t, 20*time.Second, "events are priced by it", func() bool { return c.metric("otelcol_usagebox_pricing_events") > sent+100 })
	}
	broken := func(line string) {
		t.Helper()
		eventually(t, 20*time.Second, "the broken catalogue is told of", func() bool {
			return c.metric("otelcol_usagebox_pricing_catalog_stale") == 1 && strings.Contains(status(), "StatusRecoverableError")
		})
		if got := status(); !strings.HasPrefix(got, "200 ") || !strings.Contains(got, m.path+":"+line) {
			t.Errorf("health: %s", got)
		}
		sent := c.metric("otelcol_usagebox_pricing_events")
		eventually(t, 20*time.Second, "events are priced by the one before", func() bool { return c.metric("otelcol_usagebox_pricing_events") > sent+100 })
	}

	eventually(t, 20*time.Second, "events are priced", func() bool { return c.metric("otelcol_usagebox_pricing_events") > 100 })
	begun.Store(2)
	m.swap(ratesText(2))
	await(2)
	m.swap(strings.Replace(ratesText(3), "price: ", "prise: ", 1)) // broken, and then away again
	broken("4:")
	m.swap(ratesText(2))
	await(2)
	begun.Store(3)
	m.rename(ratesText(3))
	await(3)
	begun.Store(4)
	text := ratesText(4)
	m.write(text[:len(text)-12]) // a writer that pauses
	broken("8:")
	m.write(text)
	await(4)
	if n := c.metric("otelcol_usagebox_pricing_reload_failures"); n != 2 {
		t.Errorf("%v failures were counted, there were 2", n)
	}
	if got := status(); !strings.Contains(got, "StatusOK") {
		t.Errorf("health after all: %s", got)
	}
	close(stop)
	senders.Wait()

	db := c.database()
	want := 0
	for _, list := range batches {
		want += 10 * len(list)
	}
	ledgerHas := func(text string) func() bool {
		return func() bool {
			return fmt.Sprint(db.query("SELECT meter, sum(events)::BIGINT FROM "+db.from("rollups")+" WHERE meter IN ('units', 'llm_requests') GROUP BY 1 ORDER BY 1")) == text
		}
	}
	all := fmt.Sprintf("[[llm_requests %d] [units %d]]", len(spans), want)
	eventually(t, 40*time.Second, "all is in the ledger", ledgerHas(all))
	bounds := map[string]sentBatch{}
	for s, list := range batches {
		for n, b := range list {
			bounds[fmt.Sprintf("e-%d-%d", s, n)] = b
		}
	}
	checkRates(t, db, versions, bounds, spans)

	// A retry after all these changes, with and without the memory of dedupe, is the same event.
	before := db.charges()
	for range 2 {
		for _, b := range [][]byte{batches[0][0].body, batches[1][0].body} {
			if code, answer, _ := c.post(c.api, "/v1/events", "application/json", "", b); code != 202 || !strings.Contains(answer, `"accepted":10`) {
				t.Errorf("a retry after the catalogue changed: %d %s", code, answer)
			}
		}
		c.kill()
		m.must(os.RemoveAll(filepath.Join(c.dir, "state", "dedupe")))
		c.start()
	}
	c.stop()
	if after := db.charges(); after != before {
		t.Errorf("retries changed the charges: %s, before %s", after, before)
	}
	if refused := db.query("SELECT * FROM " + db.from("refused")); len(refused) > 0 {
		t.Errorf("retries were refused: %v", refused)
	}
	db.rollupsAgree()
	for hash := range versions {
		if kept := versionOf(t, filepath.Join(c.dir, "state", "catalogs", hash+".json.gz")); kept != hash {
			t.Errorf("version %s is kept beside the ledger as %s", hash, kept)
		}
	}
	t.Logf("%d events and %d spans", want, len(spans))
}

// charges are the sums of all that was charged.
func (d *database) charges() string {
	d.t.Helper()
	const sums = "sum(cost)::VARCHAR, sum(price)::VARCHAR"
	events, rollups := d.query("SELECT "+sums+", count(*) FROM "+d.from("events")), d.query("SELECT "+sums+", sum(events)::BIGINT FROM "+d.from("rollups"))
	if fmt.Sprint(events) != fmt.Sprint(rollups) {
		d.t.Errorf("events come to %v, rollups to %v", events, rollups)
	}
	return fmt.Sprint(events)
}

// checkRates holds every row to the version that it names, and the version to those that were in force.
func checkRates(t *testing.T, db *database, versions map[string]int64, bounds map[string]sentBatch, spans map[string]int64) {
	t.Helper()
	seen := map[int64]int{}
	for _, r := range db.query(`SELECT event_id, coalesce(trace_id, ''), meter, (quantity * 1000000)::BIGINT, (price * 1000000000000)::BIGINT, cost_rate, currency,
		timestamp < TIMESTAMP '2026-06-01', (cost * 1000000000000)::BIGINT, list_contains(flags, 'unpriced') FROM ` + db.from("events")) {
		var quantity, cost, price int64
		for _, n := range []struct {
			text string
			into *int64
		}{{r[3], &quantity}, {r[8], &cost}, {r[4], &price}} {
			if _, err := fmt.Sscan(n.text, n.into); err != nil {
				t.Fatalf("%v: %v", r, err)
			}
		}
		hash, id, _ := strings.Cut(r[5], "/")
		version := versions[hash]
		if version == 0 || r[6] != "USD" || r[9] != "false" || price != 2*cost {
			t.Fatalf("%v is not priced by a catalogue that was in force", r)
		}
		before, after, token := ratesOf(version)
		rate := map[string]int64{"before": before, "after": after, "tokens/llm_tokens_in": token, "tokens/llm_tokens_out": token}[id]
		switch r[2] {
		case "units":
			if (id == "before") != (r[7] == "true") || rate == 0 {
				t.Fatalf("%v has a rate of another time", r)
			}
			seen[version]++
			if b := bounds[r[0][:strings.LastIndexByte(r[0], '-')]]; version < b.first || version > b.last {
				t.Fatalf("%v has version %d: it was sent when %d to %d were in force", r, version, b.first, b.last)
			}
		case "llm_requests":
			rate = 0
			if first := spans[r[1]]; first == 0 || version < first {
				t.Fatalf("%v has version %d: it was sent when %d was in force", r, version, first)
			}
		}
		if cost != quantity*rate { // millionths of units × millionths per unit are trillionths
			t.Fatalf("%v costs %d trillionths, not %d", r, cost, quantity*rate)
		}
	}
	if len(seen) != len(versions) {
		t.Errorf("%d versions were in force, events have %v", len(versions), seen)
	}
}

// modelCall is a trace that is one model call.
func modelCall(t *testing.T, n uint64) (traceID string, body []byte) {
	td := ptrace.NewTraces()
	s := td.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans().AppendEmpty()
	id := pcommon.TraceID{0: 0xfe, 14: byte(n >> 8), 15: byte(n)}
	s.SetTraceID(id)
	s.SetSpanID(pcommon.SpanID{0: 0xfe, 6: byte(n >> 8), 7: byte(n)})
	s.SetName("chat gpt-4o")
	s.SetStartTimestamp(pcommon.NewTimestampFromTime(turning))
	s.SetEndTimestamp(pcommon.NewTimestampFromTime(turning.Add(time.Second)))
	for k, v := range map[string]string{"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o"} {
		s.Attributes().PutStr(k, v)
	}
	s.Attributes().PutInt("gen_ai.usage.input_tokens", int64(n))
	s.Attributes().PutInt("gen_ai.usage.output_tokens", 7)
	body, err := ptraceotlp.NewExportRequestFromTraces(td).MarshalProto()
	if err != nil {
		t.Error(err)
	}
	return id.String(), body
}
