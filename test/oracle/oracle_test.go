package oracle

import (
	"bufio"
	"bytes"
	"encoding/json"
	"maps"
	"math/big"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/usagebox/otelcol-usagebox/internal/catalog"
	"github.com/usagebox/otelcol-usagebox/internal/catalog/importer"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// node runs a script of this folder with the pinned package, which it installs when it is not there.
func node(t *testing.T, script string) []byte {
	t.Helper()
	if _, err := exec.LookPath("node"); err != nil {
		t.Skip("the independent calculation needs Node.js 20 or later, which is not installed")
	}
	if _, err := os.Stat("node_modules"); err != nil {
		out, err := exec.Command("npm", "ci", "--no-audit", "--no-fund").CombinedOutput()
		require.NoError(t, err, "npm ci: %s", out)
	}
	var stderr bytes.Buffer
	cmd := exec.Command("node", script)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, stderr.String())
	return out
}

// call is one line of cases.mjs.
type call struct {
	Provider string           `json:"provider"`
	Served   string           `json:"served"`
	Model    string           `json:"model"`
	PricedAs string           `json:"priced_as"`
	Kind     string           `json:"kind"`
	At       time.Time        `json:"at"`
	Usage    map[string]int64 `json:"usage"`
	Total    string           `json:"total"`
}

// parts are counts that are included in another one there, and meters of their own here.
var parts = []struct{ part, meter, whole string }{
	{"cache_read_tokens", usage.MeterTokensCacheRead, "input_tokens"},
	{"cache_write_tokens", usage.MeterTokensCacheWrite, "input_tokens"},
	{"input_audio_tokens", usage.MeterTokensInAudio, "input_tokens"},
	{"input_image_tokens", usage.MeterTokensInImage, "input_tokens"},
	{"output_reasoning_tokens", usage.MeterTokensReasoning, "output_tokens"},
	{"output_audio_tokens", usage.MeterTokensOutAudio, "output_tokens"},
	{"output_image_tokens", usage.MeterTokensOutImage, "output_tokens"},
}

func (c *call) event() *usage.Event {
	rest := maps.Clone(c.Usage)
	e := &usage.Event{ID: "e", Kind: usage.KindUsage, Customer: "c", Provider: c.Provider, Model: c.Model, Timestamp: usage.MicrosOf(c.At)}
	add := func(meter string, n int64) {
		if n != 0 {
			e.Lines = append(e.Lines, usage.Line{Meter: meter, Unit: usage.UnitOf(meter), Quantity: usage.Units(n)})
		}
	}
	if rest["cache_write_1h_tokens"] > 0 {
		e.Dimensions = []usage.Dimension{{Key: "cache_ttl", Value: "1h"}}
		delete(rest, "cache_write_1h_tokens")
	}
	for _, p := range parts {
		add(p.meter, rest[p.part])
		rest[p.whole] -= rest[p.part]
		delete(rest, p.part)
	}
	add(usage.MeterTokensIn, rest["input_tokens"])
	add(usage.MeterTokensOut, rest["output_tokens"])
	delete(rest, "input_tokens")
	delete(rest, "output_tokens")
	for key, n := range rest {
		add(key, n)
	}
	add(usage.MeterLLMRequests, 1)
	e.Normalize()
	return e
}

// agree says whether an exact amount is a sum of floats, at 12 decimals and the precision of a float.
func agree(ours *big.Rat, theirs string) bool {
	their, ok := new(big.Rat).SetString(theirs)
	if !ok {
		return false
	}
	half := big.NewRat(1, 2_000_000_000_000)
	tolerance := new(big.Rat).Add(half, new(big.Rat).Mul(their, big.NewRat(1, 1<<50)))
	difference := new(big.Rat).Sub(ours, their)
	return difference.Abs(difference).Cmp(tolerance) <= 0
}

// difference is why our cost of a call is another one, or empty.
func difference(c *call, e *usage.Event, missing []catalog.Missing) string {
	var sum big.Rat
	ids := map[string]bool{}
	for _, l := range e.Lines {
		sum.Add(&sum, big.NewRat(int64(l.Cost.Amount), 1_000_000_000_000))
		if l.Cost.Known() {
			_, id, _ := strings.Cut(l.Cost.Rate, "/")
			ids[id[:strings.LastIndexByte(id, '/')]] = true
		}
	}
	switch {
	case agree(&sum, c.Total) && len(missing) == 0:
		return ""
	case agree(&sum, c.Total):
		return "no price for a part of it: zero there, unpriced here"
	case c.Provider == "groq" && c.Usage["audio_seconds"]+c.Usage["input_audio_seconds"] > 0:
		return "Groq's minimum of ten seconds is a rule in code there"
	case len(ids) > 0 && !strings.Contains(strings.Join(slices.Collect(maps.Keys(ids)), " ")+" ", "/"+c.PricedAs):
		return "the name is another model's too: the first in the list there, the exact name before a pattern here"
	}
	return "unexplained"
}

// allowed is how many models at most may differ for each reason.
var allowed = map[string]int{
	"no price for a part of it: zero there, unpriced here":                                               300,
	"the name is another model's too: the first in the list there, the exact name before a pattern here": 10,
}

func TestCostsAreThoseOfAnIndependentCalculation(t *testing.T) {
	r, err := importer.GenAIPrices(bytes.NewReader(node(t, "data.mjs")), catalog.Source{ID: "genai-prices"})
	require.NoError(t, err)
	var text bytes.Buffer
	require.NoError(t, catalog.WriteYAML(&text, r.Document))
	c, err := catalog.Parse("imported.yaml", text.Bytes())
	require.NoError(t, err)

	models, kinds, same := map[string]bool{}, map[string]int{}, 0
	differ := map[string]map[string]bool{}
	lines := bufio.NewScanner(bytes.NewReader(node(t, "cases.mjs")))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var one call
		require.NoError(t, json.Unmarshal(lines.Bytes(), &one))
		e := one.event()
		missing := c.Price(e, nil)
		models[one.Provider+"/"+one.PricedAs] = true
		why := difference(&one, e, missing)
		if why == "" {
			same++
			kinds[one.Kind]++
			continue
		}
		if differ[why] == nil {
			differ[why] = map[string]bool{}
		}
		differ[why][one.Provider+"/"+one.Model] = true
		if why == "unexplained" && len(differ[why]) <= 20 {
			t.Errorf("%s: ours %v, missing %v", lines.Text(), e.Lines, missing)
		}
	}
	require.NoError(t, lines.Err())
	require.Greater(t, len(models), 1000)
	t.Logf("%d models, %d calls cost the same: %v", len(models), same, kinds)
	for why, names := range differ {
		list := slices.Sorted(maps.Keys(names))
		t.Logf("%d models differ: %s (%s, …)", len(list), why, strings.Join(list[:min(len(list), 12)], ", "))
		require.LessOrEqual(t, len(list), allowed[why], why)
	}
}

func TestBuiltInCatalogueIsTheImportedList(t *testing.T) {
	r, err := importer.GenAIPrices(bytes.NewReader(node(t, "data.mjs")), catalog.Source{})
	require.NoError(t, err)
	builtin, err := catalog.Builtin()
	require.NoError(t, err)
	require.Len(t, builtin.Document().Base.Rates, len(r.Document.Rates))
}
