package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

func example(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("../../examples", name))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// agent is the example's program.
func agent(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "agent")
	build := exec.Command("go", "build", "-o", binary, "./examples/agent")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return binary
}

// spent holds the ledger to what agents say that they used, each as much as the one whose words these are.
func (d *database) spent(agents int64, says string) {
	d.t.Helper()
	lines := regexp.MustCompile(`(?m)^  (\w+) +(.*)$`).FindAllStringSubmatch(says, -1)
	if len(lines) != 2 {
		d.t.Fatalf("the agent says %s", says)
	}
	for _, line := range lines {
		for _, part := range strings.Split(line[2], ", ") {
			meter, number, _ := strings.Cut(part, " ")
			used, err := strconv.ParseInt(number, 10, 64)
			if err != nil {
				d.t.Fatal(err)
			}
			eventually(d.t, 30*time.Second, fmt.Sprintf("%s has %d × %d %s in the rollups", line[1], agents, used, meter), func() bool {
				return d.one(fmt.Sprintf("SELECT CAST(sum(quantity) AS BIGINT) FROM %s WHERE customer = '%s' AND meter = '%s'", d.from("rollups"), line[1], meter)) == fmt.Sprint(agents*used)
			})
		}
	}
}

func TestTheExampleAgentsSpendIsRightToTheToken(t *testing.T) {
	binary := agent(t)
	c := newCollector(t, "1h")
	cmd := exec.Command(binary)
	cmd.Env = append(os.Environ(), "OTEL_EXPORTER_OTLP_ENDPOINT=http://"+c.grpc)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	db := c.database()
	db.spent(1, string(out))
	runs := fmt.Sprint(db.query("SELECT customer, feature, agent, CAST(sum(llm_calls) AS INT), CAST(sum(tool_calls) AS INT), CAST(sum(sub_agents) AS INT), any_value(status) FROM " + db.from("runs") + " GROUP BY run_id, customer, feature, agent ORDER BY customer"))
	if runs != "[[acme refund-assistant planner 3 2 1 ok] [globex ticket-triage planner 3 2 1 ok]]" {
		t.Errorf("runs: %s", runs)
	}
	queries, err := os.ReadFile(example(t, "queries.sql"))
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range strings.Split(string(queries), ";") {
		if !strings.Contains(q, "SELECT") {
			continue
		}
		if rows := db.query(strings.ReplaceAll(q, "'usage/", "'"+c.dir+"/")); len(rows) == 0 {
			t.Errorf("no rows for %s", q)
		}
	}
}

func TestThePostingScriptPosts(t *testing.T) {
	c := newCollector(t, "1h")
	post := func(timestamp string) (string, error) {
		cmd := exec.Command(example(t, "post-event.sh"), "acme", "gpu_seconds", "12.5")
		cmd.Env = append(os.Environ(), "URL=http://"+c.api, "EVENT_ID=job-1", "TIMESTAMP="+timestamp)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	for range 2 {
		if out, err := post("2026-05-16T18:42:11Z"); err != nil || strings.TrimSpace(out) != `{"accepted":1}` {
			t.Fatalf("%v %s", err, out)
		}
	}
	if out, err := post("2026-05-16T18:42:12Z"); err == nil || !strings.Contains(out, "conflict") {
		t.Fatalf("another event under the same id: %v %s", err, out)
	}
	db := c.database()
	eventually(t, 10*time.Second, "the event is in the ledger", func() bool {
		return db.one("SELECT CAST(sum(quantity) AS VARCHAR) FROM "+db.from("rollups")+" WHERE meter = 'gpu_seconds'") == "12.500000"
	})
}

// A job on eight GPUs posts what it took, again after its answer was lost; the model that it served had two million tokens: the query says what a million cost.
func TestAGPUJobIsPostedOnceAndItsModelsTokensHaveACost(t *testing.T) {
	c := newCollector(t, "1h", "state/catalogs'}", fmt.Sprintf("state/catalogs', catalog: '%s'}", example(t, "catalog.yaml")))
	job := func() {
		t.Helper()
		cmd := exec.Command(example(t, "gpu-job.sh"), "42", "sleep", "1.1")
		cmd.Env = append(os.Environ(), "URL=http://"+c.api, "ACCOUNT=platform", "GPUS=8", "MODEL=llama-70b")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	job()
	c.insist(c.api, "/v1/events", "application/json", "", fmt.Appendf(nil,
		`{"event_id":"t","account_id":"acme","meter":"llm_tokens_out","quantity":2000000,"model":"llama-70b","timestamp":%q}`, time.Now().UTC().Format(time.RFC3339)))
	db := c.database()
	eventually(t, 30*time.Second, "both are in the ledger", func() bool {
		return db.one("SELECT count(DISTINCT meter) FROM "+db.from("rollups")) == "2"
	})
	seconds := db.one("SELECT CAST(sum(quantity) AS BIGINT) FROM " + db.from("events") + " WHERE meter = 'gpu_seconds'")
	if seconds != "8" && seconds != "16" {
		t.Fatalf("the job took %s GPU seconds", seconds)
	}
	query, err := os.ReadFile(example(t, "self-hosted.sql"))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(strings.TrimRight(strings.TrimSpace(string(query)), ";"), "'usage/", "'"+c.dir+"/")
	rows := db.query("SELECT model, CAST(round(sum(gpu_cost), 6) AS VARCHAR), CAST(sum(tokens) AS BIGINT), CAST(round(sum(gpu_cost) / sum(tokens) * 1e6, 6) AS VARCHAR) FROM (" + text + ") GROUP BY model")
	n, _ := strconv.ParseFloat(seconds, 64)
	cost := n * 2.49 / 3600
	if len(rows) != 1 || rows[0][0] != "llama-70b" || rows[0][2] != "2000000" || rows[0][1] != fmt.Sprintf("%.6f", cost) || !strings.HasPrefix(fmt.Sprintf("%.6f", cost/2), rows[0][3]) {
		t.Fatalf("%v, want %.6f for %s GPU seconds", rows, cost, seconds)
	}
}

func TestTheExampleConfigurationsAreValid(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"sidecar.yaml", "gateway.yaml", "stripe.yaml"} {
		cmd := exec.Command(program(t), "validate", "--config", example(t, name))
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "UBX_KEY=k", "TLS_CERT=c", "TLS_KEY=k", "STRIPE_API_KEY=sk", "LEDGER="+dir)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

// Several sidecars' worth of senders over TLS with a token; without one nothing gets in.
func TestKnownFault14TheGatewayTakesWhatHasATokenOverTLS(t *testing.T) {
	dir := t.TempDir()
	key, cert := filepath.Join(dir, "server.key"), filepath.Join(dir, "server.crt")
	if out, err := exec.Command("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", cert,
		"-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1").CombinedOutput(); err != nil {
		t.Skipf("openssl makes no certificate here: %v %s", err, out)
	}
	text, err := os.ReadFile(example(t, "gateway.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	config := string(text)
	api, grpc, ledger := freePort(t), freePort(t), filepath.Join(dir, "ledger")
	for from, to := range map[string]string{"0.0.0.0:4317": grpc, "0.0.0.0:4318": freePort(t), "0.0.0.0:8080": api, "0.0.0.0:13133": freePort(t)} {
		config = strings.ReplaceAll(config, from, to)
	}
	config += "  telemetry: {metrics: {level: none}}\n"
	cmd := exec.Command(program(t), "--config", write(t, config))
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "UBX_KEY=secret", "TLS_CERT="+cert, "TLS_KEY="+key, "LEDGER="+ledger)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	curl := func(token string) string {
		out, _ := exec.Command("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--cacert", cert, "-H", "Authorization: Bearer "+token, "-d", curlEvent, "https://"+api+"/v1/events").Output()
		return string(out)
	}
	eventually(t, 30*time.Second, "the gateway answers", func() bool { return curl("secret") == "202" })
	if code := curl("wrong"); code != "401" {
		t.Fatalf("a wrong token is answered with %s", code)
	}

	const senders = 3
	binary := agent(t)
	send := func(token string) (string, error) {
		cmd := exec.Command(binary)
		cmd.Env = append(os.Environ(), "OTEL_EXPORTER_OTLP_ENDPOINT=https://"+grpc, "OTEL_EXPORTER_OTLP_CERTIFICATE="+cert, "OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20"+token)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	said := make(chan string, senders)
	for range senders {
		go func() {
			out, err := send("secret")
			if err != nil {
				t.Error(err, out)
			}
			said <- out
		}()
	}
	var says string
	for range senders {
		says = <-said
	}
	if out, _ := send("wrong"); !strings.Contains(out, "Unauthenticated") {
		t.Errorf("spans with a wrong token: %s", out)
	}
	of := &collector{t: t, dir: ledger}
	of.database().spent(senders, says)
}
