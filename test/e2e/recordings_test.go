package e2e

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"github.com/usagebox/otelcol-usagebox/test/judge"
	"github.com/usagebox/otelcol-usagebox/usage"
)

func recordings(t *testing.T) (all []judge.Capture, expect []*judge.Expectation) {
	t.Helper()
	all, err := judge.Load("../testdata/captures")
	if err != nil {
		t.Fatal(err)
	}
	for i := range all {
		expect = append(expect, &all[i].Expect)
	}
	return all, expect
}

type request struct {
	contentType, encoding string
	body                  []byte
}

func whole(c judge.Capture) (out []request) {
	for _, q := range c.Requests {
		if q.Path == "/v1/traces" {
			out = append(out, request{q.ContentType, q.Encoding, q.Body})
		}
	}
	return out
}

func decode(t *testing.T, q request) ptraceotlp.ExportRequest {
	t.Helper()
	e, body := ptraceotlp.NewExportRequest(), q.body
	if q.encoding == "gzip" {
		z, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if body, err = io.ReadAll(z); err != nil {
			t.Fatal(err)
		}
	}
	unmarshal := e.UnmarshalProto
	if strings.Contains(q.contentType, "json") {
		unmarshal = e.UnmarshalJSON
	}
	if err := unmarshal(body); err != nil {
		t.Fatal(err)
	}
	return e
}

// apart makes a request of every span.
func apart(t *testing.T, c judge.Capture) (out []request) {
	t.Helper()
	for _, q := range whole(c) {
		e := decode(t, q)
		for _, rs := range e.Traces().ResourceSpans().All() {
			for _, ss := range rs.ScopeSpans().All() {
				for _, s := range ss.Spans().All() {
					one := ptrace.NewTraces()
					to := one.ResourceSpans().AppendEmpty()
					rs.Resource().CopyTo(to.Resource())
					scope := to.ScopeSpans().AppendEmpty()
					ss.Scope().CopyTo(scope.Scope())
					s.CopyTo(scope.Spans().AppendEmpty())
					b, err := ptraceotlp.NewExportRequestFromTraces(one).MarshalProto()
					if err != nil {
						t.Fatal(err)
					}
					out = append(out, request{"application/x-protobuf", "", b})
				}
			}
		}
	}
	return out
}

// events reads the ledger's events as the judge wants them, and checks that they lie in their hour.
func (d *database) events() (rows []judge.Row) {
	d.t.Helper()
	for _, r := range d.query(`SELECT event_id, corrects, customer, feature, step, agent, trace_id, span_id, operation, provider, model, meter,
		CAST(quantity AS VARCHAR), epoch_us(timestamp), array_to_string(flags, ','), strftime(timestamp, '%Y-%m-%d %H') = CAST(date AS VARCHAR) || ' ' || lpad(CAST(hour AS VARCHAR), 2, '0')
		FROM ` + d.from("events")) {
		q, err := usage.ParseQuantity(r[12])
		if err != nil {
			d.t.Fatal(err)
		}
		at, err := strconv.ParseInt(r[13], 10, 64)
		if err != nil {
			d.t.Fatal(err)
		}
		if r[15] != "true" {
			d.t.Errorf("event %s lies in another hour than its own", r[0])
		}
		row := judge.Row{
			EventID: r[0], Corrects: r[1], Customer: r[2], Feature: r[3], Step: r[4], Agent: r[5], TraceID: r[6], SpanID: r[7],
			Operation: r[8], Provider: r[9], Model: r[10], Meter: r[11], Quantity: q, At: usage.Micros(at).Time(),
		}
		if r[14] != "" {
			row.Flags = strings.Split(r[14], ",")
		}
		rows = append(rows, row)
	}
	return rows
}

// rollupsAgree compares events and rollups, part by part and key by key. A part that appears between the looks at the two is not there yet.
func (d *database) rollupsAgree() {
	d.t.Helper()
	const keys = "customer, feature, step, agent, operation, provider, model, meter, unit, currency, price_currency"
	var bad [][]string
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) { // parts come with time
		bad = d.query(fmt.Sprintf(`SELECT part, %[1]s, sum(q), sum(c), sum(n) FROM (
			SELECT regexp_extract(filename, '[^/]*/[^/]*/[^/]*/[^/]*$') AS part, %[1]s, quantity::DECIMAL(38,6) AS q, coalesce(cost, 0)::DECIMAL(38,12) AS c, 1 AS n FROM read_parquet('%[2]s/events/**/*.parquet', hive_partitioning=true, filename=true)
			UNION ALL
			SELECT regexp_extract(filename, '[^/]*/[^/]*/[^/]*/[^/]*$'), %[1]s, -quantity, -coalesce(cost, 0), -events FROM read_parquet('%[2]s/rollups/**/*.parquet', hive_partitioning=true, filename=true)
			) GROUP BY ALL HAVING sum(q) <> 0 OR sum(c) <> 0 OR sum(n) <> 0`, keys, d.dir))
		if len(bad) == 0 {
			return
		}
	}
	d.t.Errorf("%d keys of rollups differ from their events, the first: %v", len(bad), bad[0])
}

// exact waits until nothing is missing, and judges.
func (d *database) exact(expect []*judge.Expectation) {
	d.t.Helper()
	var verdicts []judge.Verdict
	var foreign []string
	for deadline := time.Now().Add(40 * time.Second); ; time.Sleep(300 * time.Millisecond) { // settlement is a matter of time
		verdicts, foreign = judge.Judge(d.events(), expect...)
		wrong := 0
		for _, v := range verdicts {
			if !v.Exact() {
				wrong++
			}
		}
		if wrong == 0 && len(foreign) == 0 || time.Now().After(deadline) {
			break
		}
	}
	for _, v := range verdicts {
		if !v.Exact() {
			d.t.Error(v)
		}
	}
	if len(foreign) > 0 {
		d.t.Errorf("events of nothing that was sent: %v", foreign)
	}
	d.rollupsAgree()
}

func TestAllRecordingsInOneLedgerAreExact(t *testing.T) {
	all, expect := recordings(t)
	for name, requests := range map[string]func(judge.Capture) []request{
		"as they came": whole,
		"span by span, shuffled, with copies": func(c judge.Capture) []request {
			out := apart(t, c)
			random := rand.New(rand.NewPCG(7, uint64(len(out))))
			for range len(out) / 3 {
				out = append(out, out[random.IntN(len(out))])
			}
			random.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
			return out
		},
		"everything twice": func(c judge.Capture) []request { return append(whole(c), whole(c)...) },
	} {
		t.Run(name, func(t *testing.T) {
			c := newCollector(t, "2s")
			var senders sync.WaitGroup
			for _, capture := range all {
				senders.Go(func() {
					for _, q := range requests(capture) {
						c.insist(c.http, "/v1/traces", q.contentType, q.encoding, q.body)
					}
				})
			}
			senders.Wait()
			c.database().exact(expect)
			c.stop()
		})
	}
}

func TestHalvesThatSettleOneByOneAreExactInTheEnd(t *testing.T) {
	all, expect := recordings(t)
	c := newCollector(t, "1h")
	random := rand.New(rand.NewPCG(11, 12))
	var second []request
	for _, capture := range all {
		spans := apart(t, capture)
		random.Shuffle(len(spans), func(i, j int) { spans[i], spans[j] = spans[j], spans[i] })
		for _, q := range spans[:len(spans)/2] {
			c.insist(c.http, "/v1/traces", q.contentType, q.encoding, q.body)
		}
		second = append(second, spans[len(spans)/2:]...)
	}
	db := c.database()
	eventually(t, 30*time.Second, "the first halves are settled", func() bool { return c.metric("otelcol_usagebox_attribution_open_traces") == 0 })
	for _, q := range second {
		c.insist(c.http, "/v1/traces", q.contentType, q.encoding, q.body)
	}
	db.exact(expect)
	if corrections := db.one("SELECT count(*) FROM " + db.from("events") + " WHERE kind <> 'usage'"); corrections == "0" {
		t.Error("nothing was corrected: the halves did not settle one by one")
	}
}

func TestKillsInTheMiddleOfEachRecordingChangeNothing(t *testing.T) {
	all, expect := recordings(t)
	c := newCollector(t, "1s")
	var senders sync.WaitGroup
	requests := make(chan request)
	for range 3 {
		senders.Go(func() {
			for q := range requests {
				c.insist(c.http, "/v1/traces", q.contentType, q.encoding, q.body)
			}
		})
	}
	for _, capture := range all {
		spans := apart(t, capture)
		for i, q := range spans {
			requests <- q
			if i == len(spans)/2 {
				c.kill()
				c.start()
			}
		}
	}
	close(requests)
	senders.Wait()
	c.database().exact(expect)
}

// metric is a sample of the program's own metrics, summed over those with the label; -1 when there is none.
func (c *collector) metric(name string, label ...string) float64 {
	res, err := httpClient.Get("http://" + c.metrics + "/metrics")
	if err != nil {
		return -1
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return -1
	}
	sum, found := 0.0, false
	for line := range strings.Lines(string(text)) {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || rest == "" || rest[0] != '{' && rest[0] != ' ' && !strings.HasPrefix(rest, "_total") ||
			len(label) > 0 && !strings.Contains(rest, label[0]) {
			continue
		}
		fields := strings.Fields(line)
		v, err := strconv.ParseFloat(fields[len(fields)-1], 64)
		if err == nil {
			sum, found = sum+v, true
		}
	}
	if !found {
		return -1
	}
	return sum
}
