package importer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/usagebox/otelcol-usagebox/internal/catalog"
)

type genaiProvider struct {
	ID         string       `json:"id"`
	ModelMatch genaiMatch   `json:"model_match"`
	Fallback   []string     `json:"fallback_model_providers"`
	Models     []genaiModel `json:"models"`
}

type genaiModel struct {
	ID     string          `json:"id"`
	Match  genaiMatch      `json:"match"`
	Prices json.RawMessage `json:"prices"`
}

type genaiMatch struct {
	Or         []genaiMatch `json:"or"`
	And        []genaiMatch `json:"and"`
	Equals     string       `json:"equals"`
	StartsWith string       `json:"starts_with"`
	EndsWith   string       `json:"ends_with"`
	Contains   string       `json:"contains"`
	Regex      string       `json:"regex"`
}

type genaiPrices struct {
	Constraint *struct {
		StartDate string `json:"start_date"`
		StartTime string `json:"start_time"`
		EndTime   string `json:"end_time"`
	} `json:"constraint"`
	Prices map[string]any `json:"prices"`
}

// genaiKeys are price keys: meter and per.
var genaiKeys = map[string]struct{ meter, per string }{
	"input_mtok":                      {"llm_tokens_in", "million"},
	"output_mtok":                     {"llm_tokens_out", "million"},
	"cache_read_mtok":                 {"llm_tokens_cache_read", "million"},
	"cache_write_mtok":                {"llm_tokens_cache_write", "million"},
	"output_reasoning_mtok":           {"llm_tokens_reasoning", "million"},
	"input_audio_mtok":                {"llm_tokens_in_audio", "million"},
	"output_audio_mtok":               {"llm_tokens_out_audio", "million"},
	"input_image_mtok":                {"llm_tokens_in_image", "million"},
	"output_image_mtok":               {"llm_tokens_out_image", "million"},
	"input_video_mtok":                {"llm_tokens_in_video", "million"},
	"output_video_mtok":               {"llm_tokens_out_video", "million"},
	"output_citation_mtok":            {"llm_tokens_out_citation", "million"},
	"cache_audio_read_mtok":           {"llm_tokens_cache_read_audio", "million"},
	"cache_image_read_mtok":           {"llm_tokens_cache_read_image", "million"},
	"requests_kcount":                 {"llm_requests", "thousand"},
	"web_searches_kcount":             {"web_searches", "thousand"},
	"storage_searches_kcount":         {"storage_searches", "thousand"},
	"input_text_messages_kcount":      {"input_text_messages", "thousand"},
	"input_document_kpages":           {"input_document_pages", "thousand"},
	"input_annotated_document_kpages": {"input_annotated_document_pages", "thousand"},
	"audio_hours":                     {"audio_seconds", "hour"},
	"input_audio_hours":               {"input_audio_seconds", "hour"},
}

// GenAIPrices reads data.json of genai-prices. source is the id of the source that its rates name.
func GenAIPrices(in io.Reader, source catalog.Source) (*Result, error) {
	var list []genaiProvider
	if err := decode(in, &list); err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, errors.New("the file lists no providers")
	}
	r := newResult(source)
	for _, p := range list {
		r.genaiProvider(p, source.ID)
	}
	return r, nil
}

func (r *Result) genaiProvider(p genaiProvider, source string) {
	name := providerName(p.ID)
	out := catalog.Provider{Name: name, Aliases: providers[p.ID].aliases}
	if name != p.ID && !slices.Contains(out.Aliases, p.ID) {
		out.Aliases = append(slices.Clip(out.Aliases), p.ID)
	}
	matched := p.ModelMatch.patterns()
	out.Models = slices.Concat(matched.equals, matched.patterns, providers[p.ID].models)
	if matched.lost {
		r.note(p.ID, "which models are its own can't all be carried over: events of the others need a provider")
	}
	for _, f := range p.Fallback {
		out.Fallback = append(out.Fallback, providerName(f))
	}
	if out.Aliases != nil || out.Models != nil || out.Fallback != nil {
		r.Document.Providers = append(r.Document.Providers, out)
	}
	names := taken{}
	for _, m := range p.Models {
		names.take(name, m.ID)
	}
	var last []catalog.Model // whose exclusions are carried by their place: the others are tried before
	ids := taken{}
	for _, m := range p.Models {
		if !ids.take(name, m.ID) {
			r.note(p.ID+"/"+m.ID, "is listed twice but for capitals: the first is taken")
			continue
		}
		subject := p.ID + "/" + m.ID
		matched := m.Match.patterns()
		if matched.lost {
			r.note(subject, "a part of how its names are recognized can't be carried over")
		}
		model := catalog.Model{Provider: name, Model: m.ID, Patterns: matched.patterns}
		for _, alias := range matched.equals {
			if names.take(name, alias) {
				model.Aliases = append(model.Aliases, alias)
			} else if !strings.EqualFold(alias, m.ID) {
				r.note(subject, "its name %q is another model's", alias)
			}
		}
		switch {
		case matched.excludes:
			last = append(last, model)
		case model.Aliases != nil || model.Patterns != nil:
			r.Document.Models = append(r.Document.Models, model)
		}
		r.genaiModel(name, subject, m, source)
	}
	r.Document.Models = append(r.Document.Models, last...)
}

func (r *Result) genaiModel(provider, subject string, m genaiModel, source string) {
	var list []genaiPrices
	if err := unmarshal(m.Prices, &list); err != nil {
		var one map[string]any
		if err := unmarshal(m.Prices, &one); err != nil {
			r.note(subject, "its prices can't be read: %v", err)
			return
		}
		list = []genaiPrices{{Prices: one}}
	}
	before := len(r.Document.Rates)
	for i, p := range list {
		e := catalog.Entry{
			ID: provider + "/" + m.ID, Book: catalog.BookCost, Currency: "USD", Source: source,
			Match: catalog.Match{Fields: map[string][]string{"provider": {provider}, "model": {m.ID}}},
		}
		if i > 0 {
			e.ID = fmt.Sprintf("%s~%d", e.ID, i+1)
		}
		if p.Constraint != nil && p.Constraint.StartTime != "" {
			from, ok1 := clockUTC(p.Constraint.StartTime)
			until, ok2 := clockUTC(p.Constraint.EndTime)
			if !ok1 || !ok2 {
				r.note(subject, "prices from %s to %s are not in UTC and can't be carried over", p.Constraint.StartTime, p.Constraint.EndTime)
				continue
			}
			e.Effective.Hours = &catalog.Hours{From: from, Until: until}
		}
		if p.Constraint != nil {
			e.Effective.From = p.Constraint.StartDate
		}
		for _, later := range list[i+1:] { // the last that holds counts
			if c := later.Constraint; c != nil && c.StartDate != "" && (e.Effective.Until == "" || c.StartDate < e.Effective.Until) {
				e.Effective.Until = c.StartDate
			}
		}
		if e.Effective.Until != "" && e.Effective.From >= e.Effective.Until {
			continue // never in force
		}
		r.genaiEntry(subject, e, p.Prices)
	}
	if len(r.Document.Rates) > before {
		r.Models++
	}
}

func clockUTC(text string) (string, bool) {
	clock, utc := strings.CutSuffix(text, "Z")
	return clock, utc && len(clock) == len("15:04:05")
}

func unmarshal(text []byte, into any) error { return decode(strings.NewReader(string(text)), into) }

func (r *Result) genaiEntry(subject string, e catalog.Entry, prices map[string]any) {
	e.Prices = map[string]catalog.Terms{}
	hour := catalog.Terms{} // of cache that is kept for an hour
	for key, v := range prices {
		k, known := genaiKeys[key]
		if key == "cache_write_1h_mtok" {
			k, known = genaiKeys["cache_write_mtok"], true
		}
		if !known {
			r.note(subject, "%s can't be carried over", key)
			continue
		}
		t, ok := genaiTerms(v)
		if !ok {
			r.note(subject, "%s is not a price", key)
			continue
		}
		t.Per = k.per
		if key == "cache_write_1h_mtok" {
			hour = t
		} else {
			e.Prices[k.meter] = t
		}
	}
	if hour != (catalog.Terms{}) {
		h := e
		h.ID += "/cache-1h"
		h.Match.Dimensions = map[string][]string{"cache_ttl": {"1h"}}
		h.Prices = map[string]catalog.Terms{"llm_tokens_cache_write": hour}
		r.add(h)
	}
	if len(e.Prices) > 0 {
		r.add(e)
	}
}

// add puts what most prices are per on the entry.
func (r *Result) add(e catalog.Entry) {
	counts := map[string]int{}
	for _, t := range e.Prices {
		counts[t.Per]++
	}
	for _, per := range []string{"million", "thousand", "hour"} {
		if e.Per == "" || counts[per] > counts[e.Per] {
			if counts[per] > 0 {
				e.Per = per
			}
		}
	}
	for meter, t := range e.Prices {
		if t.Per == e.Per {
			t.Per = ""
		}
		e.Prices[meter] = t
	}
	r.Document.Rates = append(r.Document.Rates, e)
}

func genaiTerms(v any) (catalog.Terms, bool) {
	if m, ok := v.(map[string]any); ok {
		base, ok := decimalOf(m["base"])
		tiers, isList := m["tiers"].([]any)
		if !ok || !isList || len(tiers) == 0 {
			return catalog.Terms{}, false
		}
		t := &catalog.Tiers{Mode: "volume", Over: "context"}
		price := base
		for _, tier := range tiers {
			m, _ := tier.(map[string]any)
			start, ok1 := decimalOf(m["start"])
			next, ok2 := decimalOf(m["price"])
			if !ok1 || !ok2 {
				return catalog.Terms{}, false
			}
			t.Steps = append(t.Steps, catalog.Step{UpTo: start, Price: price})
			price = next
		}
		t.Steps = append(t.Steps, catalog.Step{Price: price})
		return catalog.Terms{Tiers: t}, true
	}
	price, ok := decimalOf(v)
	return catalog.Terms{Price: price}, ok
}
