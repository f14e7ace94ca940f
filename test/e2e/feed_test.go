package e2e

import (
	"encoding/json"
	"fmt"
	"math/big"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/usagebox/otelcol-usagebox/test/billers"
)

// biller is a receiver of the feed with the server that it goes to.
type biller struct {
	name   string // in the configuration
	kind   string // of the server
	config string
	per    int64
	server *billers.Server
}

// feedConfig is the key feed of the usage exporter for billers that run beside the test.
func feedConfig(t *testing.T, all []*biller, lies bool) string {
	var receivers strings.Builder
	receivers.WriteString("file: {}")
	for i, b := range all {
		var random *rand.Rand
		if lies {
			random = rand.New(rand.NewPCG(uint64(i), 5))
		}
		b.server = billers.New(b.kind, time.Now, 24*time.Hour, random)
		b.server.Wrong = true
		web := httptest.NewServer(b.server)
		t.Cleanup(web.Close)
		fmt.Fprintf(&receivers, ", %s: {endpoint: %q, retry: {initial_interval: 20ms, max_interval: 200ms}, unattributed: true%s}",
			b.name, web.URL, strings.ReplaceAll(b.config, "ENDPOINT", web.URL))
	}
	return "feed: {every: 1s, receivers: {" + receivers.String() + "}}"
}

func everyBiller() []*biller {
	const stripe = ", api_key: key, stream_endpoint: ENDPOINT, meters: [{meter: units, name: tokens, per: 10}]"
	return []*biller{
		{name: "stripe", kind: "stripe", config: stripe, per: 10},
		{name: "stripe/stream", kind: "stripe", config: stripe + ", api: v2", per: 10},
		{name: "metronome", kind: "metronome", config: ", api_key: key", per: 1},
		{name: "openmeter", kind: "openmeter", config: ", api_key: key", per: 1},
		{name: "lago", kind: "lago", config: ", api_key: key", per: 1},
		{name: "orb", kind: "orb", config: ", api_key: key", per: 1},
		{name: "flexprice", kind: "flexprice", config: ", api_key: key", per: 1},
		{name: "webhook/erp", kind: "webhook", config: ", secret: whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", per: 1},
	}
}

// receiverStatus is what `feed status --json` says.
type receiverStatus struct {
	Receiver  string `json:"receiver"`
	Pending   int    `json:"pending"`
	Dead      int    `json:"dead"`
	Uncertain int    `json:"uncertain"`
	Hours     int    `json:"hours_waiting"`
}

// quietFeed waits until nothing is left to be sent.
func (c *collector) quietFeed() {
	c.t.Helper()
	eventually(c.t, 60*time.Second, "the feed has sent everything", func() bool {
		out, err := exec.Command(program(c.t), "feed", "status", "--json", "--directory", c.dir).Output()
		var all []receiverStatus
		if err != nil || json.Unmarshal(out, &all) != nil {
			return false
		}
		for _, s := range all {
			if s.Pending > 0 || s.Hours > 0 {
				return false
			}
		}
		return len(all) > 0
	})
}

// reporter posts a biller's reports of what it found wrong later to the program, each twice, as often as it takes.
type reporter struct {
	c       *collector
	server  *billers.Server
	address string
}

func (r *reporter) post(report billers.Report) {
	body := fmt.Sprintf(`{"id":%q,"object":"v2.core.event","type":"v1.billing.meter.error_report_triggered","data":{"reason":{"error_count":1,"error_types":[
		{"code":"archived_meter","error_count":1,"sample_errors":[{"error_message":"the meter is archived","request":{"identifier":%q}}]}]}}}`, report.Event, report.ID)
	for range 3000 {
		if postReport(r.c.t, r.address, body, "whsec_reports") == http.StatusOK {
			return
		}
		time.Sleep(20 * time.Millisecond) // the collector is being started again, or the record is on its way
	}
	r.c.t.Errorf("the report of %s was never taken", report.ID)
}

// run posts reports from the one at done on, until there are no more after stop.
func (r *reporter) run(stop <-chan struct{}) {
	for done := 0; ; time.Sleep(20 * time.Millisecond) {
		over := false
		select {
		case <-stop:
			over = true
		default:
		}
		for _, report := range r.server.Reports()[done:] {
			r.post(report)
			r.post(report)
			done++
		}
		if over {
			return
		}
	}
}

// Usage, late and corrected, goes to every kind of biller, all of which lie, are away for a third of the time, and say later that they refuse what they took, while the
// program is killed again and again: in the end each would bill what the ledger has, for every customer and hour.
func TestWhatBillersBillIsWhatTheLedgerHas(t *testing.T) {
	all := everyBiller()
	reports, stream := freePort(t), all[1]
	stream.config += fmt.Sprintf(", error_reports: {endpoint: %q, secret: whsec_reports}", reports)
	c := newCollector(t, "1s", "seal_after: 1s}", "seal_after: 1s, "+feedConfig(t, all, true)+"}")
	told := make(chan struct{})
	var telling sync.WaitGroup
	reporter := &reporter{c, stream.server, reports}
	telling.Go(func() { reporter.run(told) })
	stop := make(chan struct{})
	var senders sync.WaitGroup
	base := time.Now().UTC().Truncate(time.Hour)
	for s := range 2 {
		senders.Go(func() {
			random := rand.New(rand.NewPCG(uint64(s), 4))
			for batch := 0; ; batch++ {
				select {
				case <-stop:
					return
				default:
				}
				var body []string
				for i := range 10 {
					at := base.Add(-time.Duration(random.IntN(5)) * time.Hour)
					id, customer, hour := fmt.Sprintf("e-%d-%d-%d", s, batch, i), random.IntN(3), at.Format(time.RFC3339)
					body = append(body, fmt.Sprintf(`{"event_id":%q,"account_id":"customer%d","meter":"units","quantity":%d,"timestamp":%q}`, id, customer, 1+random.IntN(40), hour))
					if random.IntN(4) == 0 {
						body = append(body, fmt.Sprintf(`{"event_id":"c%s","kind":"correction","corrects":%q,"account_id":"customer%d","meter":"units","quantity":-1,"timestamp":%q}`, id, id, customer, hour))
					}
				}
				c.insist(c.api, "/v1/events", "application/json", "", []byte("["+strings.Join(body, ",")+"]"))
				time.Sleep(20 * time.Millisecond) // usage goes on through all kills
			}
		})
	}
	random := rand.New(rand.NewPCG(3, 3))
	rounds := min(20, kills())
	for round := range rounds {
		for i, b := range all { // one after the other, a third of the time each: hundreds of its longest waits
			from := i * rounds * 2 / 3 / len(all)
			b.server.Away(round >= from && round < from+rounds/3)
		}
		time.Sleep(time.Duration(random.IntN(900)) * time.Millisecond) // the moment is the test's matter
		c.kill()
		c.start()
	}
	close(stop)
	senders.Wait()
	for _, b := range all {
		b.server.Away(false)
		b.server.TellTheTruth()
		if b.server.Missed() == 0 && rounds >= 3 {
			t.Errorf("%s was never away", b.name)
		}
	}
	c.quietFeed()
	close(told)
	telling.Wait()
	c.retryReported(reporter)
	db := c.database()
	before := ""
	eventually(t, 30*time.Second, "the ledger is quiet", func() bool {
		now := db.one("SELECT count(*) FROM " + db.from("events"))
		defer func() { before = now }()
		return now == before
	})
	time.Sleep(1200 * time.Millisecond) // one round of the feed
	c.quietFeed()
	rows := db.query("SELECT customer, strftime(hour_start, '%Y-%m-%dT%H:00:00Z'), CAST(sum(quantity) AS BIGINT) FROM " + db.from("rollups") + " GROUP BY ALL")
	if len(rows) == 0 {
		t.Fatal("the ledger is empty")
	}
	for _, b := range all {
		b.check(t, rows)
	}
	lines := "read_json('" + c.dir + "/feed/file/*.ndjson', columns = {customer: 'VARCHAR', hour: 'VARCHAR', quantity: 'DECIMAL(38,6)', id: 'VARCHAR'})"
	for _, row := range rows {
		if got := db.one(fmt.Sprintf("SELECT CAST(sum(quantity) AS BIGINT) FROM %s WHERE customer = '%s' AND hour = '%s'", lines, row[0], row[1])); got != row[2] {
			t.Errorf("feed/file has %s units of %s in %s, the ledger %s", got, row[0], row[1], row[2])
		}
	}
	for _, b := range all {
		out, err := exec.Command(program(t), "feed", "reconcile", "--directory", c.dir, "--receiver", b.name).CombinedOutput()
		if err != nil || !strings.Contains(string(out), " 0 differ") {
			t.Errorf("feed reconcile --receiver %s: %v\n%s", b.name, err, tail(string(out), 1000))
		}
	}
	c.stop()
}

// retryReported sends what was reported again, which is there once then, and reports it all once more, which has no effect.
func (c *collector) retryReported(r *reporter) {
	c.t.Helper()
	ids := map[string]bool{}
	for _, report := range r.server.Reports() {
		ids[report.ID] = true
	}
	if len(ids) == 0 {
		if kills() >= 20 {
			c.t.Error("nothing was found wrong later")
		}
		return
	}
	c.t.Logf("%d records were found wrong later, by %d reports", len(ids), len(r.server.Reports()))
	c.wantFeed(fmt.Sprintf(`"dead":%d`, len(ids)), "status", "--json")
	c.wantFeed(fmt.Sprintf("%d records are sent again", len(ids)), "retry", "--receiver", "stripe/stream", "--reason", "archived_meter")
	c.quietFeed()
	for _, report := range r.server.Reports() {
		r.post(report)
	}
	out, _ := c.feedCommand("status", "--json")
	if strings.Contains(strings.ReplaceAll(out, `"dead":0`, ""), `"dead"`) {
		c.t.Errorf("reports of before set records aside again: %s", out)
	}
}

// check compares what would be billed with the rollups, hour by hour where the receiver's unit is the ledger's, and as a whole up to what is carried where it isn't.
func (b *biller) check(t *testing.T, rows [][]string) {
	t.Helper()
	for _, e := range b.server.Errors() {
		t.Errorf("%s: the vendor does not document what was sent: %s", b.name, e)
	}
	if twice := b.server.Twice(); len(twice) > 0 {
		t.Errorf("%s counted %d ids twice", b.name, len(twice))
	}
	billed := b.server.Billed()
	sums := map[string]*big.Rat{}
	for a, n := range billed {
		if sums[a.Customer] == nil {
			sums[a.Customer] = new(big.Rat)
		}
		sums[a.Customer].Add(sums[a.Customer], n)
	}
	wants := map[string]*big.Rat{}
	for _, row := range rows {
		want, _ := new(big.Rat).SetString(row[2])
		if wants[row[0]] == nil {
			wants[row[0]] = new(big.Rat)
		}
		wants[row[0]].Add(wants[row[0]], want)
		hour, _ := time.Parse(time.RFC3339, row[1])
		if got := billed[billers.Account{Customer: row[0], Meter: "units", Hour: hour}]; b.per == 1 && (got == nil || got.Cmp(want) != 0) {
			t.Errorf("%s would bill %v units of %s in %s, the ledger has %s", b.name, got, row[0], row[1], row[2])
		}
	}
	for customer, want := range wants {
		got := new(big.Rat)
		if sums[customer] != nil {
			got.Mul(sums[customer], new(big.Rat).SetInt64(b.per))
		}
		if rest := new(big.Rat).Sub(want, got); rest.Abs(rest).Cmp(new(big.Rat).SetInt64(b.per)) >= 0 {
			t.Errorf("%s would bill %s of %s, the ledger has %s", b.name, got.FloatString(0), customer, want.FloatString(0))
		}
	}
}
