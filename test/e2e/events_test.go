package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const curlEvent = `{"event_id": "req_8x42jk", "account_id": "acme-co", "meter": "llm_tokens_in", "model": "claude-4.5-sonnet", "quantity": 12450, "timestamp": "2026-05-16T18:42:11Z"}`

func TestTheCommandThatUsersCopyWorks(t *testing.T) {
	c := newCollector(t, "1s")
	for range 2 {
		out, err := exec.Command("curl", "-s", "-w", " %{http_code}", "-X", "POST", c.api+"/v1/events", "-H", "Authorization: Bearer key", "-d", curlEvent).CombinedOutput()
		if err != nil || strings.Join(strings.Fields(string(out)), " ") != `{"accepted":1} 202` {
			t.Fatalf("%s %v", out, err)
		}
	}
	db := c.database()
	eventually(t, 10*time.Second, "the event is in the rollups", func() bool {
		return db.one("SELECT CAST(sum(quantity) AS VARCHAR) FROM "+db.from("rollups")+" WHERE customer = 'acme-co' AND meter = 'llm_tokens_in'") == "12450.000000"
	})
	if n := db.one("SELECT count(*) FROM " + db.from("events")); n != "1" {
		t.Fatalf("%s rows", n)
	}
}

func TestTheFirstPayloadWinsAndOneIDMayBeOfTwoCustomers(t *testing.T) {
	c := newCollector(t, "1s")
	c.insist(c.api, "/v1/events", "application/json", "", []byte(curlEvent))
	status, answer, _ := c.post(c.api, "/v1/events", "application/json", "", []byte(strings.Replace(curlEvent, "12450", "1", 1)))
	if status != http.StatusBadRequest || !strings.Contains(answer, `"reason":"conflict"`) || !strings.Contains(answer, "req_8x42jk") {
		t.Fatalf("%d %s", status, answer)
	}
	c.insist(c.api, "/v1/events", "application/json", "", []byte(strings.Replace(curlEvent, "acme-co", "globex", 1)))
	db := c.database()
	eventually(t, 15*time.Second, "both events and the conflict are there", func() bool {
		return fmt.Sprint(db.query("SELECT customer, CAST(sum(quantity) AS BIGINT) FROM "+db.from("rollups")+" GROUP BY 1 ORDER BY 1")) == "[[acme-co 12450] [globex 12450]]" &&
			fmt.Sprint(db.query("SELECT customer, event_id, reason FROM "+db.from("refused"))) == "[[acme-co req_8x42jk conflict]]"
	})
	eventually(t, 15*time.Second, "the hour is sealed", func() bool { return c.metric("otelcol_usagebox_ledger_sealed_parts") > 0 })
	c.kill()
	c.start()
	status, answer, _ = c.post(c.api, "/v1/events", "application/json", "", []byte(strings.Replace(curlEvent, "12450", "1", 1)))
	if status != http.StatusBadRequest || !strings.Contains(answer, `"reason":"conflict"`) {
		t.Fatalf("after the seal: %d %s", status, answer)
	}
	c.insist(c.api, "/v1/events", "application/json", "", []byte(curlEvent))
	if n := db.one("SELECT count(*) FROM " + db.from("events")); n != "2" {
		t.Fatalf("%s rows", n)
	}
}

// reader asks in a loop, as a dashboard does, and holds every answer against what can be true.
type reader struct {
	sent    *atomic.Int64 // units that senders have begun to send
	queries int
	done    sync.WaitGroup
}

func (r *reader) run(t *testing.T, d *database, stop <-chan struct{}) {
	var before int64
	for {
		select {
		case <-stop:
			return
		default:
		}
		for _, q := range []string{
			"SELECT CAST(coalesce(sum(quantity), 0) AS BIGINT) FROM " + d.from("rollups") + " WHERE meter = 'units'",
			"SELECT CAST(coalesce(sum(quantity), 0) AS BIGINT) FROM " + d.from("events") + " WHERE meter = 'units'",
		} {
			rows, err := d.try(q)
			if err != nil {
				if !strings.Contains(err.Error(), "Cannot open file") && !strings.Contains(err.Error(), "No files found") {
					t.Errorf("a reader was told: %v", err)
				}
				continue
			}
			r.queries++
			most := r.sent.Load()
			total, _ := strconv.ParseInt(rows[0][0], 10, 64)
			if total > most {
				t.Errorf("a reader saw %d units of %d that were sent", total, most)
			}
			if strings.Contains(q, "rollups") {
				if total < before {
					t.Errorf("a reader saw %d units after %d", total, before)
				}
				before = total
			}
		}
		for _, q := range []string{
			"SELECT event_id, quantity FROM " + d.from("events") + " ORDER BY event_id LIMIT 5",
			"SELECT customer FROM " + d.from("rollups"),
			"SELECT max(quantity) FROM " + d.from("events"),
		} {
			rows, err := d.try(q)
			if err != nil && !strings.Contains(err.Error(), "Cannot open file") && !strings.Contains(err.Error(), "No files found") {
				t.Errorf("a reader was told: %v", err)
			}
			for _, row := range rows {
				if !strings.HasPrefix(row[0], "customer") && !strings.HasPrefix(row[0], "e-") && !strings.HasPrefix(row[0], "0000000") && row[0] != strconv.Itoa(callTokens) && row[0] != runSeconds && row[0] != "1" && row[0] != "" && !strings.HasPrefix(row[0], "1.") && !strings.HasPrefix(row[0], "{") {
					t.Errorf("a reader saw the row %v", row)
				}
			}
		}
	}
}

// kills is how often the program is killed under load.
func kills() int {
	if n, err := strconv.Atoi(os.Getenv("UBX_KILLS")); err == nil {
		return n
	}
	return 100
}

// callTokens is what a call of agentTrace reads.
const callTokens = 7

// runSeconds is how long a run of agentTrace takes: the largest quantity of all.
const runSeconds = "8"

// agentTrace is a run of an agent that called its model twice, as requests of a span each.
func agentTrace(sender, n int) (requests [][]byte) {
	id := fmt.Sprintf("%08x%024x", sender+1, n+1)
	begin := time.Date(2026, 5, 16, n%6, n/6%60, 0, 0, time.UTC).UnixNano()
	span := func(number int, parent, name, attributes string) {
		requests = append(requests, fmt.Appendf(nil, `{"resourceSpans":[{"resource":{"attributes":[{"key":"customer.id","value":{"stringValue":"customer%d"}}]},"scopeSpans":[{"spans":[`+
			`{"traceId":"%s","spanId":"%016x","parentSpanId":"%s","name":"%s","kind":3,"startTimeUnixNano":"%d","endTimeUnixNano":"%d","attributes":[%s]}]}]}]}`,
			n%3, id, number, parent, name, begin+int64(number)*1e9, begin+int64(10-number)*1e9, attributes))
	}
	const root = "0000000000000001"
	for call := range 2 {
		span(2+call, root, "chat gpt-4o", `{"key":"gen_ai.operation.name","value":{"stringValue":"chat"}},{"key":"gen_ai.provider.name","value":{"stringValue":"openai"}},`+
			`{"key":"gen_ai.request.model","value":{"stringValue":"gpt-4o"}},{"key":"gen_ai.usage.input_tokens","value":{"intValue":"`+strconv.Itoa(callTokens)+`"}}`)
	}
	span(1, "", "invoke_agent planner", `{"key":"gen_ai.operation.name","value":{"stringValue":"invoke_agent"}},{"key":"gen_ai.agent.name","value":{"stringValue":"planner"}}`)
	return requests
}

// Senders of events and of spans that insist, on hours that are open, sealed and sealed again, a program that is killed at random, and a reader: nothing is lost,
// nothing is there twice, and no answer was ever wrong.
func TestKillsUnderLoadLoseNothingAndCountNothingTwice(t *testing.T) {
	c := newCollector(t, "1s")
	var sent, acknowledged, runs atomic.Int64
	stop := make(chan struct{})
	var senders sync.WaitGroup
	base := time.Date(2026, 5, 16, 0, 0, 0, 0, time.UTC)
	for s := range 2 {
		senders.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				for i, request := range agentTrace(s, n) {
					c.insist(c.http, "/v1/traces", "application/json", "", request)
					if n%4 == i { // a retry whose answer was lost
						c.insist(c.http, "/v1/traces", "application/json", "", request)
					}
				}
				runs.Add(1)
			}
		})
	}
	for s := range 3 {
		senders.Go(func() {
			random := rand.New(rand.NewPCG(uint64(s), 99))
			for batch := 0; ; batch++ {
				select {
				case <-stop:
					return
				default:
				}
				var body []string
				for i := range 20 {
					at := base.Add(time.Duration(random.IntN(6)) * time.Hour).Add(time.Duration(random.IntN(3600)) * time.Second)
					body = append(body, fmt.Sprintf(`{"event_id":"e-%d-%d-%d","account_id":"customer%d","meter":"units","quantity":1,"timestamp":%q}`, s, batch, i, random.IntN(3), at.Format(time.RFC3339)))
				}
				text := []byte("[" + strings.Join(body, ",") + "]")
				sent.Add(int64(len(body)))
				c.insist(c.api, "/v1/events", "application/json", "", text)
				if random.IntN(3) == 0 { // a retry whose answer was lost
					c.insist(c.api, "/v1/events", "application/json", "", text)
				}
				acknowledged.Add(int64(len(body)))
			}
		})
	}
	db, looker := c.database(), c.database()
	r := &reader{sent: &sent}
	readerStop := make(chan struct{})
	r.done.Go(func() { r.run(t, looker, readerStop) })

	random := rand.New(rand.NewPCG(1, 2))
	for range kills() {
		time.Sleep(time.Duration(random.IntN(400)) * time.Millisecond) // the moment is the test's matter
		c.kill()
		c.start()
	}
	close(stop)
	senders.Wait()
	want := acknowledged.Load()
	eventually(t, 30*time.Second, fmt.Sprintf("all %d acknowledged units are in the ledger", want), func() bool {
		return db.one("SELECT CAST(sum(quantity) AS BIGINT) FROM "+db.from("rollups")+" WHERE meter = 'units'") == strconv.FormatInt(want, 10)
	})
	wantUsage := fmt.Sprintf("[[agent_runs %d] [llm_requests %d] [llm_tokens_in %d]]", runs.Load(), 2*runs.Load(), 2*callTokens*runs.Load())
	usageOfSpans := func() string {
		return fmt.Sprint(db.query("SELECT meter, CAST(sum(quantity) AS BIGINT) FROM " + db.from("rollups") + " WHERE meter IN ('agent_runs', 'llm_requests', 'llm_tokens_in') GROUP BY 1 ORDER BY 1"))
	}
	for deadline := time.Now().Add(40 * time.Second); usageOfSpans() != wantUsage && time.Now().Before(deadline); {
		time.Sleep(100 * time.Millisecond) // traces settle with time
	}
	if got := usageOfSpans(); got != wantUsage {
		t.Errorf("spans have the usage %s, want %s", got, wantUsage)
	}
	close(readerStop)
	r.done.Wait()
	if got := db.one("SELECT count(DISTINCT event_id) FROM " + db.from("events") + " WHERE meter = 'units'"); got != strconv.FormatInt(want, 10) {
		t.Errorf("%s events are there, %d were acknowledged", got, want)
	}
	if twice := db.query("SELECT customer, event_id, meter FROM " + db.from("events") + " GROUP BY ALL HAVING count(*) > 1"); len(twice) > 0 {
		t.Errorf("%d events are there twice, the first: %v", len(twice), twice[0])
	}
	db.rollupsAgree()
	t.Logf("%d events and %d runs of agents, %d kills, %d totals read", want, runs.Load(), kills(), r.queries)
	c.stop()
	if out, err := exec.Command(program(t), "ledger", "verify", "--directory", c.dir).CombinedOutput(); err != nil {
		t.Errorf("ledger verify: %v\n%s", err, tail(string(out), 2000))
	}
}

// 40 ids in requests of 50 events, three times: 36 are new, four are never valid; five events of a request come twice in it, four with another quantity.
func TestAcceptedDuplicatesConflictsAndRejectedAreWhatWasReceived(t *testing.T) {
	c := newCollector(t, "1h")
	var body []map[string]any
	for i := range 50 {
		e := map[string]any{"event_id": fmt.Sprint("e", i%40), "account_id": "acme", "meter": "units", "quantity": 1 + i/45, "timestamp": "2026-05-16T18:42:11Z"}
		if i%10 == 9 {
			e["quantity"] = -1
		}
		body = append(body, e)
	}
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if status, answer, _ := c.post(c.api, "/v1/events", "application/json", "", text); status != http.StatusMultiStatus || !strings.Contains(answer, `"accepted":41`) {
			t.Fatalf("%d %s", status, answer)
		}
	}
	m := func(name string, label ...string) float64 {
		return max(0, c.metric("otelcol_usagebox_"+name, label...))
	} // what never happened has no sample
	for _, q := range []struct {
		what      string
		got, want float64
	}{
		{"received", m("receiver_received"), 150},
		{"accepted", m("ledger_accepted"), 36},
		{"duplicates", m("dedupe_duplicates") + m("ledger_duplicates"), 5 + 2*41},
		{"conflicts", m("ledger_rejected", `reason="conflict"`), 3 * 4},
		{"rejected", m("receiver_rejected") - m("ledger_rejected"), 3 * 5},
		{"failed", m("receiver_failed") + m("dedupe_failed") + m("ledger_failed"), 0},
		{"answered by the receiver", m("receiver_accepted") + m("receiver_rejected"), m("receiver_received")},
		{"answered by dedupe", m("dedupe_passed") + m("dedupe_duplicates") + m("dedupe_rejected"), m("dedupe_received")},
		{"answered by the ledger", m("ledger_accepted") + m("ledger_duplicates") + m("ledger_rejected"), m("ledger_received")},
	} {
		if q.got != q.want {
			t.Errorf("%s: %v, want %v", q.what, q.got, q.want)
		}
	}
}
