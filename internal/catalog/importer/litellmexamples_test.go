package importer

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/usagebox/otelcol-usagebox/internal/catalog"
)

// The numbers are those of LiteLLM's own tests of its calculation, test_threshold_cost_selection.py, test_tiered_pricing.py and test_openai_cache_write_cost.py in
// tests/test_litellm/litellm_core_utils/llm_cost_calc: fields and usage there, and the price per token that each asserts.
func TestLiteLLMsPublishedExamplesCostTheSame(t *testing.T) {
	const (
		in, out, read, write = "llm_tokens_in", "llm_tokens_out", "llm_tokens_cache_read", "llm_tokens_cache_write"
		base                 = `"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6, "cache_read_input_token_cost": 5e-7`
		both                 = base + `, "output_cost_per_token_above_200k_tokens": 1e-6, "output_cost_per_token_above_200k_tokens_priority": 1.5e-6`
		reads                = `"input_cost_per_token": 1e-6, "cache_read_input_token_cost": 2e-7, "cache_read_input_token_cost_above_200k_tokens": 3e-7, "cache_read_input_token_cost_above_200k_tokens_priority": 4e-7`
		writes               = `"input_cost_per_token": 5e-6, "input_cost_per_token_priority": 1e-5, "input_cost_per_token_flex": 2.5e-6, "input_cost_per_token_above_272k_tokens": 1e-5, "output_cost_per_token": 3e-5,
			"cache_creation_input_token_cost": 6.25e-6, "cache_creation_input_token_cost_priority": 1.25e-5, "cache_creation_input_token_cost_flex": 3.125e-6, "cache_creation_input_token_cost_above_272k_tokens": 1.25e-5`
	)
	for name, x := range map[string]struct {
		fields, tier string
		qs           qs
		want         string // of all meters, exact
	}{
		"a threshold of output alone":                   {base + `, "output_cost_per_token_above_32k_tokens": 18e-6`, "", qs{in: 40_000, out: 1000}, "0.058"},
		"a threshold of cache reads alone":              {base + `, "cache_read_input_token_cost_above_32k_tokens": 4e-6`, "", qs{in: 30_000, read: 10_000, out: 1000}, "0.072"},
		"thresholds of their own":                       {base + `, "input_cost_per_token_above_128k_tokens": 9e-6, "output_cost_per_token_above_32k_tokens": 18e-6`, "", qs{in: 40_000, out: 1000}, "0.058"},
		"the tier at one threshold":                     {both, "priority", qs{in: 250_000, out: 1000}, "0.2515"},
		"the tier's cache reads at one threshold":       {reads, "priority", qs{in: 240_000, read: 10_000}, "0.244"},
		"no tier at one threshold":                      {both, "", qs{in: 250_000, out: 1000}, "0.251"},
		"another tier at one threshold":                 {both, "flex", qs{in: 250_000, out: 1000}, "0.251"},
		"the higher threshold, though it is the plain":  {base + `, "output_cost_per_token_above_200k_tokens": 1e-6, "output_cost_per_token_above_128k_tokens_priority": 1.5e-6`, "priority", qs{in: 250_000, out: 1000}, "0.251"},
		"a threshold of a tier alone":                   {base + `, "output_cost_per_token_above_200k_tokens_priority": 1.5e-6`, "priority", qs{in: 250_000, out: 1000}, "0.2515"},
		"a threshold of a tier for cache reads alone":   {base + `, "cache_read_input_token_cost_above_200k_tokens_priority": 4e-7`, "priority", qs{in: 240_000, read: 10_000}, "0.244"},
		"a threshold of a tier, in no tier":             {base + `, "output_cost_per_token_above_200k_tokens_priority": 1.5e-6`, "", qs{in: 250_000, out: 1000}, "0.252"},
		"a threshold of a tier, in another":             {base + `, "output_cost_per_token_above_200k_tokens_priority": 1.5e-6`, "flex", qs{in: 250_000, out: 1000}, "0.252"},
		"a tier's cache reads are free":                 {`"tiered_pricing": [{"range": [0, 100000], "input_cost_per_token": 1e-6, "cache_read_input_token_cost": 0.0}]`, "", qs{read: 10_000}, "0"},
		"and beyond the last tier":                      {`"tiered_pricing": [{"range": [0, 100000], "input_cost_per_token": 1e-6, "cache_read_input_token_cost": 0.0}]`, "", qs{read: 150_000}, "0"},
		"a tier without a price of cache reads":         {`"tiered_pricing": [{"range": [0, 100000], "input_cost_per_token": 1e-6}]`, "", qs{read: 10_000}, "0.01"},
		"cache writes":                                  {writes, "", qs{in: 3, write: 12_314, out: 5}, "0.0771275"},
		"cache writes at priority":                      {writes, "priority", qs{in: 1000, write: 99_000}, "1.2475"},
		"cache writes at flex":                          {writes, "flex", qs{in: 1000, write: 99_000}, "0.311875"},
		"cache writes above 272k":                       {writes, "", qs{in: 1000, write: 299_000}, "3.7475"},
		"what is not of a tier has the plain price":     {writes, "flex", qs{out: 100}, "0.003"},
		"a tier above the threshold of the plain price": {writes, "flex", qs{in: 1000, write: 299_000}, "3.7475"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := LiteLLM(strings.NewReader(fmt.Sprintf(`{"m": {"litellm_provider": "openai", %s}}`, x.fields)), catalog.Source{ID: "litellm"})
			require.NoError(t, err)
			require.Empty(t, r.Notes)
			var d dims
			if x.tier != "" {
				d = dims{"service_tier": x.tier}
			}
			got, missing := cost(compiled(t, r), "openai", "m", d, x.qs)
			require.Empty(t, missing)
			require.Equal(t, x.want, got)
		})
	}
}
