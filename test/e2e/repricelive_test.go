package e2e

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// A gateway that meters isn't stopped to price again: the collector takes the corrections while usage, late usage and corrections of what is priced again go on
// coming, and while the command or the collector is killed. In the end all has the new amounts, and the feed has sent the difference.
func TestRepricingBesideARunningCollectorIsExactAndTheFeedCarriesIt(t *testing.T) {
	text := ratesText(2)
	catalog := write(t, text)
	c := newCollector(t, "1s", "pricing: {", "pricing: {reload_interval: 100ms, catalog: "+catalog+", ", "seal_after: 1s}", "seal_after: 1s, feed: {receivers: {file: {}}}}")
	const customers = 5
	send := func(name string, events int, correct bool) {
		var list []string
		for i := range events {
			at := turning.Add(time.Duration(i%7-3) * time.Hour).Format(time.RFC3339)
			list = append(list, fmt.Sprintf(`{"event_id":"%s-%d","account_id":"customer%d","meter":"units","quantity":"%d.000001","timestamp":%q}`, name, i, i%customers, i+10, at))
			if correct {
				list = append(list, fmt.Sprintf(`{"event_id":"c-%s-%d","kind":"correction","corrects":"first-%d","account_id":"customer%d","meter":"units","quantity":"-0.5","timestamp":%q}`, name, i, i, i%customers, at))
			}
		}
		c.insist(c.api, "/v1/events", "application/json", "", []byte("["+strings.Join(list, ",")+"]"))
	}
	for n := range 3 {
		send([]string{"first", "second", "third"}[n], 1000, false)
	}
	eventually(t, 30*time.Second, "hours are sealed", func() bool { return c.metric("otelcol_usagebox_ledger_sealed_parts") > 0 })
	next := ratesText(5)
	if err := os.WriteFile(catalog, []byte(next), 0o600); err != nil {
		t.Fatal(err)
	}
	hash := versionOf(t, catalog)
	eventually(t, 20*time.Second, "the new rates are in force", func() bool {
		return c.metric("otelcol_usagebox_pricing_catalog_rates", `version="`+hash+`"`) > 0
	})

	stop := make(chan struct{})
	var sender sync.WaitGroup
	sender.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			case <-time.After(50 * time.Millisecond):
				send(fmt.Sprint("live", n), 10, n < 15)
			}
		}
	})
	args := []string{"--ledger", c.dir, "--from", "2026-05", "--to", "2026-07", "--catalog", catalog, "--apply"}
	killReprice(t, 0, args...)
	c.killWhile(args)
	c.start()
	killReprice(t, 1, args...)
	eventually(t, 60*time.Second, "all that was there is in force", func() bool {
		out, code := run(t, t.TempDir(), append([]string{"reprice"}, args...)...)
		if code != 0 && !strings.Contains(out, "run it again") {
			t.Fatalf("reprice ended with %d:\n%s", code, out)
		}
		return code == 0
	})
	close(stop)
	sender.Wait()
	if out, code := run(t, t.TempDir(), append([]string{"reprice"}, args...)...); code != 0 {
		t.Fatalf("reprice ended with %d:\n%s", code, out)
	}
	db := c.database()
	eventually(t, 30*time.Second, "nothing differs any more", func() bool {
		return strings.Contains(repriceWith(t, c.dir, catalog), " 0 differ by ")
	})
	if wrong := db.query(`SELECT target, sum(cost), sum(due) FROM (
			SELECT coalesce(corrects, event_id) AS target, cost, quantity * (CASE WHEN timestamp < TIMESTAMP '2026-06-01' THEN 5 ELSE 1005 END) / 1000000 AS due
			FROM ` + db.from("events") + `) GROUP BY target HAVING sum(cost)::DECIMAL(38,12) <> sum(due)::DECIMAL(38,12)`); len(wrong) > 0 {
		t.Fatalf("%d events are not at the new rates, the first: %v", len(wrong), wrong[0])
	}
	db.charges()
	c.quietFeed()
	eventually(t, 30*time.Second, "the feed has sent what rollups come to", func() bool {
		sent := db.query("SELECT customer, sum(cost)::VARCHAR, sum(price)::VARCHAR FROM read_json('" + c.dir + "/feed/file/*.ndjson', columns = {customer: 'VARCHAR', cost: 'DECIMAL(38,12)', price: 'DECIMAL(38,12)'}) GROUP BY 1 ORDER BY 1")
		has := db.query("SELECT customer, sum(cost)::VARCHAR, sum(price)::VARCHAR FROM " + db.from("rollups") + " GROUP BY 1 ORDER BY 1")
		return len(has) == customers && fmt.Sprint(sent) == fmt.Sprint(has)
	})
	c.stop()
	if out, code := run(t, c.dir, "ledger", "verify", "--directory", c.dir); code != 0 {
		t.Errorf("ledger verify: %s", out)
	}
}

// killWhile kills the collector when it has taken a part of the corrections.
func (c *collector) killWhile(args []string) {
	c.t.Helper()
	cmd := exec.Command(program(c.t), append([]string{"reprice"}, args...)...)
	progress, err := cmd.StderrPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	lines := bufio.NewScanner(progress)
	lines.Scan()
	c.kill()
	if said := lines.Text(); !strings.HasSuffix(said, "corrections are in force so far") {
		c.t.Errorf("reprice said %q", said)
	}
	for lines.Scan() {
		c.t.Logf("the collector was killed meanwhile: %s", lines.Text())
	}
	_ = cmd.Wait() // with an error, unless it was done
}
