package importer

import (
	"errors"
	"io"
	"maps"
	"slices"

	"github.com/usagebox/otelcol-usagebox/internal/catalog"
)

// openrouterKeys are fields of pricing: the meter, and how many of it a price is turned to.
var openrouterKeys = map[string]struct{ meter, per string }{
	"prompt":             {"llm_tokens_in", "million"},
	"completion":         {"llm_tokens_out", "million"},
	"internal_reasoning": {"llm_tokens_reasoning", "million"},
	"input_cache_read":   {"llm_tokens_cache_read", "million"},
	"input_cache_write":  {"llm_tokens_cache_write", "million"},
	"audio":              {"llm_tokens_in_audio", "million"},
	"audio_output":       {"llm_tokens_out_audio", "million"},
	"image_token":        {"llm_tokens_in_image", "million"},
	"image_output":       {"llm_tokens_out_image", "million"},
	"request":            {"llm_requests", ""},
	"image":              {"input_images", ""},
	"web_search":         {"web_searches", ""},
}

// zeroMeansNone are fields in which OpenRouter writes 0 for what has no price of its own.
var zeroMeansNone = []string{"internal_reasoning", "input_cache_read", "input_cache_write", "audio", "audio_output", "image_token", "image_output", "request", "image", "web_search"}

// OpenRouter reads the answer of GET /api/v1/models.
func OpenRouter(in io.Reader, source catalog.Source) (*Result, error) {
	var answer struct {
		Data []struct {
			ID        string         `json:"id"`
			Canonical string         `json:"canonical_slug"`
			Pricing   map[string]any `json:"pricing"`
		} `json:"data"`
	}
	if err := decode(in, &answer); err != nil {
		return nil, err
	}
	r := newResult(source)
	names := taken{}
	for _, m := range answer.Data {
		names.take("openrouter", m.ID)
	}
	ids := taken{}
	for _, m := range answer.Data {
		if m.ID == "" || !ids.take("openrouter", m.ID) {
			r.note(m.ID, "is there twice, or has no id: left out")
			continue
		}
		e := catalog.Entry{
			ID: "openrouter/" + m.ID, Book: catalog.BookCost, Currency: "USD", Source: source.ID, Prices: map[string]catalog.Terms{},
			Match: catalog.Match{Fields: map[string][]string{"provider": {"openrouter"}, "model": {m.ID}}},
		}
		for _, key := range slices.Sorted(maps.Keys(m.Pricing)) {
			k, known := openrouterKeys[key]
			text, ok := decimalOf(m.Pricing[key])
			switch {
			case known && ok && text == "0" && slices.Contains(zeroMeansNone, key):
			case !known || !ok:
				r.note(m.ID, "%s %v can't be carried over", key, m.Pricing[key])
			case k.per == "million":
				e.Prices[k.meter] = catalog.Terms{Price: times(text, 1_000_000), Per: k.per}
			default:
				e.Prices[k.meter] = catalog.Terms{Price: text}
			}
		}
		if len(e.Prices) == 0 {
			r.note(m.ID, "has no price that can be carried over")
			continue
		}
		r.Models++
		r.add(e)
		if m.Canonical != "" && m.Canonical != m.ID && names.take("openrouter", m.Canonical) {
			r.Document.Models = append(r.Document.Models, catalog.Model{Provider: "openrouter", Model: m.ID, Aliases: []string{m.Canonical}})
		}
	}
	if r.Models == 0 {
		return nil, errors.New("the file lists no models with prices")
	}
	return r, nil
}
