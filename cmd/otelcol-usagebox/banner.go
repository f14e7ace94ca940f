package main

import (
	"context"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"go.opentelemetry.io/collector/confmap"
)

// banner says, once the configuration is known and before anything starts, where to send to and how to ask. It changes nothing.
type banner struct{ to io.Writer }

func newBanner(to io.Writer) confmap.ConverterFactory {
	return confmap.NewConverterFactory(func(confmap.ConverterSettings) confmap.Converter { return &banner{to} })
}

// Convert reads the effective configuration.
func (b *banner) Convert(_ context.Context, conf *confmap.Conf) error {
	for _, line := range describe(conf.ToStringMap()) {
		if _, err := fmt.Fprintln(b.to, line); err != nil {
			return nil // nobody reads along
		}
	}
	b.to = io.Discard // said once, not at every reload
	return nil
}

// describe says what the components that pipelines use listen on and write to.
func describe(conf map[string]any) (lines []string) {
	for _, id := range used(conf, "receivers") {
		c := section(conf, "receivers", id)
		switch kind(id) {
		case "otlp":
			protocols := sub(c, "protocols")
			for _, p := range []struct{ key, name, fallback string }{{"grpc", "gRPC", "localhost:4317"}, {"http", "HTTP", "localhost:4318"}} {
				if raw, ok := protocols[p.key]; ok {
					settings, _ := raw.(map[string]any)
					lines = append(lines, fmt.Sprintf("Send spans by OTLP over %s to %s", p.name, text(settings["endpoint"], p.fallback)))
				}
			}
		case "usage":
			scheme := "http"
			if c["tls"] != nil {
				scheme = "https"
			}
			lines = append(lines, fmt.Sprintf("Post events to %s://%s/v1/events", scheme, text(c["endpoint"], "localhost:8080")))
		}
	}
	for _, id := range used(conf, "exporters") {
		if kind(id) != "usage" {
			continue
		}
		dir := text(section(conf, "exporters", id)["directory"], "./usage")
		lines = append(lines,
			"The ledger is in "+dir,
			fmt.Sprintf("Ask it with DuckDB: SELECT customer, meter, sum(quantity), sum(cost) FROM read_parquet('%s/rollups/**/*.parquet', hive_partitioning=true) GROUP BY ALL", strings.ReplaceAll(path.Clean(dir), "'", "''")))
	}
	return lines
}

// used are the ids of a class that pipelines name, sorted.
func used(conf map[string]any, class string) (ids []string) {
	for _, p := range sub(sub(conf, "service"), "pipelines") {
		pipeline, _ := p.(map[string]any)
		list, _ := pipeline[class].([]any)
		for _, id := range list {
			if s, ok := id.(string); ok && !slices.Contains(ids, s) {
				ids = append(ids, s)
			}
		}
	}
	slices.Sort(ids)
	return ids
}

func section(conf map[string]any, class, id string) map[string]any { return sub(sub(conf, class), id) }

func sub(m map[string]any, key string) map[string]any {
	s, _ := m[key].(map[string]any)
	return s
}

func kind(id string) string {
	k, _, _ := strings.Cut(id, "/")
	return k
}

func text(v any, fallback string) string {
	if s, ok := v.(string); ok && s != "" {
		return s
	}
	return fallback
}
