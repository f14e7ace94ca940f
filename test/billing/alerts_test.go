package billing

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/template"
)

const (
	alertsFile = "../../examples/alerts.yaml"
	scrape     = time.Minute // between samples, and between evaluations of a rule
	alive      = "otelcol_usagebox_ledger_open_hours 0x400"
)

// alerts are the rules of the example, as Prometheus reads them.
func alerts(t *testing.T) map[string]rulefmt.Rule {
	t.Helper()
	groups, errs := rulefmt.ParseFile(alertsFile, false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	for _, err := range errs {
		t.Error(err)
	}
	if t.Failed() {
		t.FailNow()
	}
	all := map[string]rulefmt.Rule{}
	for _, g := range groups.Groups {
		for _, r := range g.Rules {
			if _, twice := all[r.Alert]; twice || r.Alert == "" {
				t.Fatalf("a rule is no alert, or there twice: %+v", r)
			}
			if r.Labels["severity"] == "" || r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
				t.Errorf("%s has no severity, summary or description", r.Alert)
			}
			all[r.Alert] = r
		}
	}
	return all
}

// Each line of series is in the notation of promtool: a sample a minute, the first at minute 0.
var alertCases = []struct {
	name   string
	series []string
	alert  string // the only one that fires; "" when none does
	minute int    // at which it first fires
	has    string // label=value of what fires
}{
	{"all is well", []string{
		`otelcol_usagebox_feed_down{receiver="stripe"} 0x400`, `otelcol_usagebox_feed_lag{receiver="stripe"} 3600x400`,
		`otelcol_usagebox_feed_dead{receiver="stripe"} 0x400`, `otelcol_usagebox_feed_uncertain{receiver="stripe"} 0x400`,
		`otelcol_usagebox_feed_unnamed_errors{receiver="stripe"} 0x400`, `otelcol_usagebox_ledger_seal_lag 3600x400`,
		`otelcol_usagebox_ledger_accepted 0+1000x400`, `otelcol_usagebox_ledger_unattributed 0x400`, `otelcol_usagebox_attribution_outbox 5x400`,
		`otelcol_usagebox_attribution_usage_missing 0x400`, `otelcol_usagebox_attribution_unknown_dialect 0x400`, `otelcol_usagebox_attribution_sampled 0x400`,
		`otelcol_usagebox_dedupe_conflicts 0x400`, `otelcol_usagebox_pricing_catalog_stale 0x400`, `otelcol_usagebox_feed_retries{receiver="stripe"} 0+5x400`,
	}, "", 0, ""},

	{"the collector is gone", []string{"otelcol_usagebox_ledger_open_hours 3x10 stale _x60"}, "UsageBoxAbsent", 16, ""},
	{"the collector starts again", []string{"otelcol_usagebox_ledger_open_hours 3x10 stale _x3 3x60"}, "", 0, ""},

	{"a receiver is down", []string{`otelcol_usagebox_feed_down{receiver="stripe"} 0x4 1x60`}, "UsageBoxFeedReceiverDown", 20, "receiver=stripe"},
	{"a receiver was down for ten minutes", []string{`otelcol_usagebox_feed_down{receiver="stripe"} 0x4 1x9 0x60`}, "", 0, ""},
	{"records wait for more than an hour", []string{`otelcol_usagebox_feed_lag{receiver="lago"} 0+60x100`}, "UsageBoxFeedLag", 66, "receiver=lago"},
	{"records wait for an hour", []string{`otelcol_usagebox_feed_lag{receiver="lago"} 0+60x60 0x60`}, "", 0, ""},
	{"more and more records wait", []string{`otelcol_usagebox_feed_pending{receiver="orb"} 1+10x300`}, "UsageBoxFeedFallsBehind", 135, "receiver=orb"},
	{"every hour's records are sent", []string{`otelcol_usagebox_feed_pending{receiver="orb"} 500-50x10 0x50 600-60x10 0x50 700-70x10 0x50 800-80x10 0x50 900-90x10 0x50`}, "", 0, ""},
	{"many records get fewer", []string{`otelcol_usagebox_feed_pending{receiver="orb"} 9000-10x300`}, "", 0, ""},
	{"a record is dead", []string{`otelcol_usagebox_feed_dead{receiver="stripe"} 0x10 1x60`}, "UsageBoxFeedDeadLetters", 16, "receiver=stripe"},
	{"a dead record is retried at once", []string{`otelcol_usagebox_feed_dead{receiver="stripe"} 0x10 1x3 0x60`}, "", 0, ""},
	{"a record is uncertain", []string{`otelcol_usagebox_feed_uncertain{receiver="webhook/erp"} 0x10 2x60`}, "UsageBoxFeedUncertain", 16, "receiver=webhook/erp"},
	{"uncertain records are decided", []string{`otelcol_usagebox_feed_uncertain{receiver="webhook/erp"} 0x10 2x3 0x60`}, "", 0, ""},
	{"errors without names, for the first time", []string{`otelcol_usagebox_feed_unnamed_errors{receiver="stripe"} _x29 4x60`}, "UsageBoxFeedUnnamedErrors", 29, "receiver=stripe"},
	{"more errors without names", []string{`otelcol_usagebox_feed_unnamed_errors{receiver="stripe"} 0x29 4x60`}, "UsageBoxFeedUnnamedErrors", 30, "receiver=stripe"},
	{"no errors without names", []string{`otelcol_usagebox_feed_unnamed_errors{receiver="stripe"} 0x90`}, "", 0, ""},

	{"the ledger fails for the first time", []string{`otelcol_usagebox_ledger_failed _x29 1x60`}, "UsageBoxLedgerFailed", 29, ""},
	{"the ledger fails again", []string{`otelcol_usagebox_ledger_failed 0x29 1x60`}, "UsageBoxLedgerFailed", 30, ""},
	{"the ledger never fails", []string{`otelcol_usagebox_ledger_failed 0x90`}, "", 0, ""},
	{"a round fails for the first time", []string{`otelcol_usagebox_ledger_failures _x29 1x60`}, "UsageBoxLedgerRoundsFail", 29, ""},
	{"no round fails", []string{`otelcol_usagebox_ledger_failures 0x90`}, "", 0, ""},
	{"an hour is not sealed", []string{`otelcol_usagebox_ledger_seal_lag 0+60x100`}, "UsageBoxLedgerSealLag", 66, ""},
	{"hours are sealed", []string{`otelcol_usagebox_ledger_seal_lag 0+60x20 0x40 0+60x20 0x40`}, "", 0, ""},
	{"an event is refused", []string{`otelcol_usagebox_ledger_rejected{reason="conflict"} _x29 1x60`, `otelcol_usagebox_ledger_rejected{reason="invalid_quantity"} 0x90`}, "UsageBoxUsageRefused", 29, "reason=conflict"},
	{"nothing is refused", []string{`otelcol_usagebox_ledger_rejected{reason="conflict"} 0x90`}, "", 0, ""},
	{"an id is used twice", []string{`otelcol_usagebox_dedupe_conflicts 0x29 1x60`}, "UsageBoxUsageConflicts", 30, ""},
	{"events come again", []string{`otelcol_usagebox_dedupe_conflicts 0x90`, `otelcol_usagebox_dedupe_duplicates 0+10x90`}, "", 0, ""},
	{"a post is refused", []string{`otelcol_usagebox_receiver_rejected{reason="missing_field"} _x29 1x60`}, "UsageBoxPostsRefused", 29, "reason=missing_field"},
	{"posts are taken", []string{`otelcol_usagebox_receiver_rejected{reason="missing_field"} 0x90`, `otelcol_usagebox_receiver_accepted 0+10x90`}, "", 0, ""},
	{"usage of nobody goes on", []string{`otelcol_usagebox_ledger_unattributed 0x29 1+1x60`}, "UsageBoxUnattributed", 45, ""},
	{"nobody's usage came once", []string{`otelcol_usagebox_ledger_unattributed 0x29 1x60`}, "", 0, ""},

	{"spans are not taken", []string{`otelcol_usagebox_attribution_held _x29 1x60`}, "UsageBoxSpansHeld", 29, ""},
	{"spans are taken", []string{`otelcol_usagebox_attribution_held 0x90`, `otelcol_usagebox_attribution_accepted 0+10x90`}, "", 0, ""},
	{"the pipeline does not take events", []string{`otelcol_usagebox_attribution_outbox_failures _x29 1+1x60`}, "UsageBoxOutboxFailing", 34, ""},
	{"the pipeline takes events", []string{`otelcol_usagebox_attribution_outbox_failures 0x90`}, "", 0, ""},
	{"the outbox grows", []string{`otelcol_usagebox_attribution_outbox 1+1x90`}, "UsageBoxOutboxGrows", 35, ""},
	{"the outbox is worked off", []string{`otelcol_usagebox_attribution_outbox 100+1x10 0x5 100+1x10 0x5 200+1x10 0x60`}, "", 0, ""},
	{"calls have no usage", []string{`otelcol_usagebox_attribution_usage_missing 0+1x90`}, "UsageBoxCallsWithoutUsage", 16, ""},
	{"calls are of no known dialect", []string{`otelcol_usagebox_attribution_unknown_dialect 0+1x90`}, "UsageBoxCallsWithoutUsage", 16, ""},
	{"calls had no usage once", []string{`otelcol_usagebox_attribution_usage_missing 7x90`}, "", 0, ""},
	{"spans are sampled", []string{`otelcol_usagebox_attribution_sampled 0+1x90`}, "UsageBoxSpansSampled", 16, ""},
	{"spans are not sampled", []string{`otelcol_usagebox_attribution_sampled 7x90`}, "", 0, ""},

	{"a model has no rate", []string{
		`otelcol_usagebox_pricing_unpriced_lines{book="cost", meter="tool_calls", reason="rate"} 0+1x90`,
		`otelcol_usagebox_pricing_unpriced_lines{book="cost", meter="llm_tokens_in", model="new", provider="p", reason="rate"} _x29 3x60`,
	}, "UsageBoxTokensWithoutRate", 34, "model=new"},
	{"tools have no rate", []string{`otelcol_usagebox_pricing_unpriced_lines{book="cost", meter="tool_calls", reason="rate"} 0+1x90`}, "", 0, ""},
	{"an amount is too large", []string{`otelcol_usagebox_pricing_unpriced_lines{book="price", meter="tool_calls", reason="overflow"} _x29 1x60`}, "UsageBoxAmountUnknown", 29, "reason=overflow"},
	{"amounts are known", []string{`otelcol_usagebox_pricing_unpriced_lines{book="price", meter="tool_calls", reason="overflow"} 0x90`}, "", 0, ""},
	{"the catalogue is broken", []string{`otelcol_usagebox_pricing_catalog_stale 0x10 1x60`}, "UsageBoxCatalogStale", 16, ""},
	{"the catalogue is mended", []string{`otelcol_usagebox_pricing_catalog_stale 0x10 1x3 0x60`}, "", 0, ""},
}

func TestEachAlertFiresWhenItShouldAndElseNot(t *testing.T) {
	rules := alerts(t)
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 1_000_000, Timeout: time.Minute})
	t.Cleanup(func() { _ = engine.Close() })
	fired, silent := map[string]bool{}, map[string]bool{}
	for _, c := range alertCases {
		t.Run(c.name, func(t *testing.T) {
			lines := c.series
			if !strings.HasPrefix(lines[0], "otelcol_usagebox_ledger_open_hours") {
				lines = append([]string{alive}, lines...)
			}
			data, end := load(t, lines)
			for name, rule := range rules {
				minute, of := firstFires(t, engine, data, rule, end)
				switch {
				case name != c.alert && minute >= 0:
					t.Errorf("%s fires at minute %d: %s", name, minute, of)
				case name == c.alert && minute != c.minute:
					t.Errorf("%s fires first at minute %d, want %d", name, minute, c.minute)
				case name == c.alert:
					fired[name] = true
					if label, value, _ := strings.Cut(c.has, "="); c.has != "" && of.Get(label) != value {
						t.Errorf("%s fires for %s, want %s", name, of, c.has)
					}
				case c.alert == "" && slices.ContainsFunc(c.series, func(line string) bool { return names(t, rule.Expr)[seriesName(line)] }):
					silent[name] = true
				}
			}
		})
	}
	for name := range rules {
		if !fired[name] || !silent[name] {
			t.Errorf("%s: no case in which it fires, or none with its metric in which it doesn't", name)
		}
	}
}

// firstFires evaluates a rule each minute: it fires for labels that its expression has had at every minute of its `for`. -1: it never does.
func firstFires(t *testing.T, engine *promql.Engine, data storage.Queryable, rule rulefmt.Rule, end int) (minute int, of labels.Labels) {
	t.Helper()
	query, err := engine.NewRangeQuery(t.Context(), data, nil, rule.Expr, now, now.Add(time.Duration(end)*scrape), scrape)
	if err != nil {
		t.Fatal(err)
	}
	defer query.Close()
	matrix, err := query.Exec(t.Context()).Matrix()
	if err != nil {
		t.Fatal(err)
	}
	active := map[string]promql.Series{} // by what an alert has of an expression's labels: all but the name
	for _, series := range matrix {
		own := labels.NewBuilder(series.Metric).Del(labels.MetricName).Labels()
		points := append(active[own.String()].Floats, series.Floats...)
		slices.SortFunc(points, func(a, b promql.FPoint) int { return cmp.Compare(a.T, b.T) })
		active[own.String()] = promql.Series{Metric: own, Floats: points}
	}
	minute = -1
	for _, series := range active {
		since, last := int64(0), int64(-1)
		for _, p := range series.Floats {
			if last < 0 || p.T != last+scrape.Milliseconds() {
				since = p.T
			}
			last = p.T
			at := int(time.UnixMilli(p.T).Sub(now) / scrape)
			if p.T-since < time.Duration(rule.For).Milliseconds() || minute >= 0 && at >= minute {
				continue
			}
			minute, of = at, series.Metric
			expand(t, rule, series.Metric, p.F)
			break
		}
	}
	return minute, of
}

// expand reads a rule's texts as Prometheus does when it fires.
func expand(t *testing.T, rule rulefmt.Rule, of labels.Labels, value float64) {
	t.Helper()
	for name, text := range rule.Annotations {
		data := template.AlertTemplateData(of.Map(), nil, "", promql.Sample{F: value})
		said, err := template.NewTemplateExpander(context.Background(), "{{$labels := .Labels}}{{$value := .Value}}"+text, rule.Alert, data, 0, nil, nil, nil).Expand()
		if err != nil || strings.Contains(said, "no value") || strings.Contains(said, "{{") || strings.TrimSpace(said) == "" {
			t.Errorf("%s, %s: %q, %v", rule.Alert, name, said, err)
		}
	}
}

func seriesName(line string) string { return line[:strings.IndexAny(line, "{ ")] }

// names are the metrics of an expression.
func names(t *testing.T, expr string) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	for _, s := range selectors(t, expr) {
		all[s.Name] = true
	}
	return all
}

func selectors(t *testing.T, expr string) (all []*parser.VectorSelector) {
	t.Helper()
	parsed, err := parser.NewParser(parser.Options{}).ParseExpr(expr)
	if err != nil {
		t.Fatal(err)
	}
	parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
		if s, ok := node.(*parser.VectorSelector); ok {
			all = append(all, s)
		}
		return nil
	})
	return all
}

// Each metric and label that a rule asks for is one that a component documents, from the same source as its code.
func TestAlertsAskForMetricsThatThereAre(t *testing.T) {
	documented := map[string]map[string]bool{} // labels by metric
	files, err := filepath.Glob("../../*/*/documentation.md")
	if err != nil || len(files) == 0 {
		t.Fatalf("no documentation: %v", err)
	}
	label := regexp.MustCompile(`(?m)^\| (\w+) \| .* \| .* \| .* \|$`)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, section := range strings.Split(string(text), "\n### ")[1:] {
			name, rest, _ := strings.Cut(section, "\n")
			documented[name] = map[string]bool{}
			for _, found := range label.FindAllStringSubmatch(rest, -1) {
				documented[name][found[1]] = true
			}
		}
	}
	for name, rule := range alerts(t) {
		for _, s := range selectors(t, rule.Expr) {
			of, there := documented[s.Name]
			if !there {
				t.Errorf("%s asks for %s, which no component has", name, s.Name)
			}
			for _, m := range s.LabelMatchers {
				if m.Name != labels.MetricName && !of[m.Name] {
					t.Errorf("%s asks for %s by %s, a label that it doesn't have", name, s.Name, m.Name)
				}
			}
			used := regexp.MustCompile(`\$labels\.(\w+)`).FindAllStringSubmatch(fmt.Sprint(rule.Annotations), -1)
			for _, u := range used {
				if !of[u[1]] {
					t.Errorf("%s speaks of the label %s, which %s doesn't have", name, u[1], s.Name)
				}
			}
		}
	}
}
