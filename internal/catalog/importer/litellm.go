package importer

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/usagebox/otelcol-usagebox/internal/catalog"
)

// litellmStems are fields without their suffixes: the meter, and how many of it a price is turned to.
var litellmStems = map[string]struct{ meter, per string }{
	"input_cost_per_token":                  {"llm_tokens_in", "million"},
	"output_cost_per_token":                 {"llm_tokens_out", "million"},
	"cache_read_input_token_cost":           {"llm_tokens_cache_read", "million"},
	"input_cost_per_token_cache_hit":        {"llm_tokens_cache_read", "million"},
	"cache_creation_input_token_cost":       {"llm_tokens_cache_write", "million"},
	"output_cost_per_reasoning_token":       {"llm_tokens_reasoning", "million"},
	"input_cost_per_audio_token":            {"llm_tokens_in_audio", "million"},
	"output_cost_per_audio_token":           {"llm_tokens_out_audio", "million"},
	"input_cost_per_image_token":            {"llm_tokens_in_image", "million"},
	"output_cost_per_image_token":           {"llm_tokens_out_image", "million"},
	"input_cost_per_video_token":            {"llm_tokens_in_video", "million"},
	"output_cost_per_video_token":           {"llm_tokens_out_video", "million"},
	"cache_read_input_audio_token_cost":     {"llm_tokens_cache_read_audio", "million"},
	"cache_read_input_image_token_cost":     {"llm_tokens_cache_read_image", "million"},
	"cache_creation_input_audio_token_cost": {"llm_tokens_cache_write_audio", "million"},
	"input_cost_per_second":                 {"input_seconds", ""},
	"output_cost_per_second":                {"output_seconds", ""},
	"input_cost_per_audio_per_second":       {"input_audio_seconds", ""},
	"input_cost_per_video_per_second":       {"input_video_seconds", ""},
	"output_cost_per_video_per_second":      {"output_video_seconds", ""},
	"input_cost_per_query":                  {"queries", ""},
	"input_cost_per_request":                {"llm_requests", ""},
	"input_cost_per_image":                  {"input_images", ""},
	"output_cost_per_image":                 {"output_images", ""},
	"input_cost_per_character":              {"input_characters", "million"},
	"output_cost_per_character":             {"output_characters", "million"},
	"input_cost_per_pixel":                  {"input_pixels", "million"},
	"output_cost_per_pixel":                 {"output_pixels", "million"},
	"ocr_cost_per_page":                     {"input_document_pages", ""},
	"annotation_cost_per_page":              {"input_annotated_document_pages", ""},
	"code_interpreter_cost_per_session":     {"code_interpreter_sessions", ""},
}

var (
	litellmSuffix = regexp.MustCompile(`_(batches|flex|priority|above_1hr|above_(\d+)k_tokens)$`)
	awsRegion     = regexp.MustCompile(`^[a-z]{2}(-gov)?-[a-z]+-\d$`)
)

// litellmField is a field taken apart.
type litellmField struct {
	meter, per  string
	batch, hour bool
	tier        string // of service
	above       int    // tokens of the call's context
}

func parseLiteLLMField(name string) (f litellmField, ok bool) {
	for {
		if stem, known := litellmStems[name]; known {
			f.meter, f.per = stem.meter, stem.per
			return f, true
		}
		m := litellmSuffix.FindStringSubmatch(name)
		if m == nil {
			return f, false
		}
		name = strings.TrimSuffix(name, m[0])
		switch {
		case m[1] == "batches":
			f.batch = true
		case m[1] == "above_1hr":
			f.hour = true
		case m[2] != "":
			if _, err := fmt.Sscanf(m[2], "%d", &f.above); err != nil || f.above == 0 || f.above > 1_000_000 {
				return f, false
			}
			f.above *= 1000
		default:
			f.tier = m[1]
		}
	}
}

// LiteLLM reads model_prices_and_context_window.json.
func LiteLLM(in io.Reader, source catalog.Source) (*Result, error) {
	var list map[string]any
	if err := decode(in, &list); err != nil {
		return nil, err
	}
	r := newResult(source)
	seen := map[string]*catalog.Entry{}
	used := map[string]bool{}
	names := taken{}
	for _, key := range slices.Sorted(maps.Keys(list)) {
		m, isModel := list[key].(map[string]any)
		provider, _ := m["litellm_provider"].(string)
		if key == "sample_spec" || !isModel {
			continue
		}
		if provider == "" {
			r.note(key, "names no provider and is left out")
			continue
		}
		r.litellmModel(key, provider, m, source.ID, seen, used, names)
	}
	if r.Models == 0 {
		return nil, errors.New("the file lists no models with prices")
	}
	for _, id := range slices.Sorted(maps.Keys(providers)) {
		if p := providers[id]; used[p.name] {
			r.Document.Providers = append(r.Document.Providers, catalog.Provider{Name: p.name, Aliases: p.aliases, Models: p.models})
		}
	}
	return r, nil
}

// litellmName is a model's provider, name and region.
func litellmName(key, provider string) (name, model, region string) {
	short, _, _ := strings.Cut(provider, "-") // vertex_ai-language-models
	if _, known := providers[short]; !known && providerName(short) == short {
		short = provider
	}
	model = key
	for _, prefix := range []string{provider, short, "bedrock"} {
		model = strings.TrimPrefix(model, prefix+"/")
	}
	if first, rest, ok := strings.Cut(model, "/"); ok && awsRegion.MatchString(first) {
		region, model = first, rest
	}
	return providerName(short), model, region
}

func (r *Result) litellmModel(key, provider string, m map[string]any, source string, seen map[string]*catalog.Entry, used map[string]bool, names taken) {
	name, model, region := litellmName(key, provider)
	fields := map[string][]string{"provider": {name}, "model": {model}}
	id := name + "/" + model
	if region != "" {
		fields["region"] = []string{region}
		id += "@" + region
	}
	if url, ok := m["source"].(string); ok && url != "" && len(url) < 1000 {
		source = url
	}
	entries := r.litellmEntries(key, m)
	if len(entries) == 0 {
		r.note(key, "has no price that can be carried over")
		return
	}
	for variant, e := range entries {
		e.ID, e.Book, e.Currency, e.Source = strings.TrimSuffix(id+"/"+variant, "/"), catalog.BookCost, "USD", source
		e.Match.Fields = maps.Clone(fields)
		if strings.Contains(variant, "batch") {
			e.Match.Fields["batch"] = []string{"true"}
		}
		for _, tier := range []string{"flex", "priority"} {
			if strings.Contains(variant, tier) {
				e.Match.Fields["service_tier"] = []string{tier}
			}
		}
	}
	for _, variant := range slices.Sorted(maps.Keys(entries)) {
		e := entries[variant]
		lower := strings.ToLower(e.ID)
		if other := seen[lower]; other != nil {
			if !reflect.DeepEqual(other.Prices, e.Prices) {
				r.note(key, "has other prices than another entry for the same provider and model: the first, by name, is taken")
			}
			continue
		}
		seen[lower] = e
		r.Document.Rates = append(r.Document.Rates, *e)
	}
	used[name] = true
	r.Models++
	if key != model && names.take(name, key) && names.take(name, model) {
		r.Document.Models = append(r.Document.Models, catalog.Model{Provider: name, Model: model, Aliases: []string{key}})
	}
}

// litellmPrice is a price from a length of the context on.
type litellmPrice struct {
	above int // tokens
	text  string
}

// litellmPrices are a model's, by variant ("" or of batch, flex, priority and cache for an hour) and by meter.
type litellmPrices map[string]map[litellmField][]litellmPrice

// add adds the prices among an object's fields, which hold above a length of the context.
func (prices litellmPrices) add(r *Result, key string, fields map[string]any, above int) {
	for _, field := range slices.Sorted(maps.Keys(fields)) {
		if !strings.Contains(field, "cost") && !strings.Contains(field, "pricing") || fields[field] == nil || field == litellmTiers {
			continue
		}
		f, known := parseLiteLLMField(field)
		text, isNumber := decimalOf(fields[field])
		if !known || !isNumber {
			if field != "search_context_cost_per_query" && (!isNumber || text != "0") {
				r.note(key, "%s can't be carried over", field)
			}
			continue
		}
		if f.per == "million" {
			text = times(text, 1_000_000)
		}
		var variant []string
		for _, v := range []struct {
			set  bool
			name string
		}{{f.batch, "batch"}, {f.tier != "", f.tier}, {f.hour, "cache-1h"}} {
			if v.set {
				variant = append(variant, v.name)
			}
		}
		name := strings.Join(variant, "-")
		if prices[name] == nil {
			prices[name] = map[litellmField][]litellmPrice{}
		}
		from := max(above, f.above)
		same := litellmField{meter: f.meter, per: f.per}
		if !slices.ContainsFunc(prices[name][same], func(p litellmPrice) bool { return p.above == from }) {
			prices[name][same] = append(prices[name][same], litellmPrice{from, text})
		}
	}
}

// litellmTiers has prices by the length of the call's context: a list of objects with a range, and the fields that a model has otherwise.
const litellmTiers = "tiered_pricing"

// addTiers adds the prices of tiers. All of a call's tokens are of the tier that its context is in.
func (prices litellmPrices) addTiers(r *Result, key string, m map[string]any) {
	list, _ := m[litellmTiers].([]any)
	if m[litellmTiers] != nil && len(list) == 0 {
		r.note(key, "%s can't be carried over", litellmTiers)
	}
	for _, entry := range list {
		tier, _ := entry.(map[string]any)
		bounds, _ := tier["range"].([]any)
		above := -1
		if len(bounds) == 2 {
			if text, ok := decimalOf(bounds[0]); ok {
				if n, err := strconv.Atoi(text); err == nil {
					above = n
				}
			}
		}
		if above < 0 {
			r.note(key, "a tier of %s has no range and can't be carried over", litellmTiers)
			continue
		}
		prices.add(r, key, tier, above)
	}
}

// litellmEntries are the prices of a model, by variant.
func (r *Result) litellmEntries(key string, m map[string]any) map[string]*catalog.Entry {
	prices := litellmPrices{}
	prices.addTiers(r, key, m)
	prices.add(r, key, m, 0)
	entries := map[string]*catalog.Entry{}
	for variant, byMeter := range prices {
		e := &catalog.Entry{Prices: map[string]catalog.Terms{}}
		for f, list := range byMeter {
			slices.SortFunc(list, func(a, b litellmPrice) int { return a.above - b.above })
			if variant == "flex" || variant == "priority" {
				list = withThresholds(list, prices[""][f])
			}
			if list[0].above != 0 {
				// Below the threshold the variant has the price of the plain one.
				base := prices[""][f]
				if i := slices.IndexFunc(base, func(p litellmPrice) bool { return p.above == 0 }); i >= 0 {
					list = append([]litellmPrice{base[i]}, list...)
				} else {
					r.note(key, "%s has a price above %d tokens only", f.meter, list[0].above)
					continue
				}
			}
			t := catalog.Terms{Price: list[0].text, Per: f.per}
			if len(list) > 1 {
				t.Price, t.Tiers = "", &catalog.Tiers{Mode: "volume", Over: "context"}
				for i, p := range list {
					s := catalog.Step{Price: p.text}
					if i+1 < len(list) {
						s.UpTo = fmt.Sprint(list[i+1].above)
					}
					t.Tiers.Steps = append(t.Tiers.Steps, s)
				}
			}
			e.Prices[f.meter] = t
		}
		if strings.Contains(variant, "cache-1h") {
			e.Match.Dimensions = map[string][]string{"cache_ttl": {"1h"}}
		}
		if len(e.Prices) > 0 {
			entries[variant] = e
		}
	}
	r.litellmSearches(m, entries)
	return entries
}

// withThresholds are the prices of a service tier with those of the plain prices that hold above a length of the context which the tier doesn't name: there the
// highest threshold counts, whosever it is, and at one threshold the tier's own price.
func withThresholds(list, plain []litellmPrice) []litellmPrice {
	list = slices.Clone(list)
	for _, p := range plain {
		if p.above > 0 && !slices.ContainsFunc(list, func(own litellmPrice) bool { return own.above == p.above }) {
			list = append(list, p)
		}
	}
	slices.SortFunc(list, func(a, b litellmPrice) int { return a.above - b.above })
	return list
}

// litellmSearches carries prices of a web search by the size of its context, which is a dimension.
func (r *Result) litellmSearches(m map[string]any, entries map[string]*catalog.Entry) {
	sizes, _ := m["search_context_cost_per_query"].(map[string]any)
	for _, size := range []string{"low", "medium", "high"} {
		if text, ok := decimalOf(sizes["search_context_size_"+size]); ok {
			entries["search-"+size] = &catalog.Entry{
				Match:  catalog.Match{Dimensions: map[string][]string{"search_context_size": {size}}},
				Prices: map[string]catalog.Terms{"web_searches": {Price: text}},
			}
		}
	}
}

// times is a decimal times n, exactly.
func times(text string, n int64) string {
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		return text
	}
	r.Mul(r, new(big.Rat).SetInt64(n))
	out, err := catalog.Decimal(strings.TrimRight(strings.TrimRight(r.FloatString(60), "0"), "."))
	if err != nil {
		return text
	}
	return out
}
