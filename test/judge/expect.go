// Package judge compares what a ledger counted with what a meter that saw only the recorded requests can know. The
// recordings and their truth lie in test/testdata/captures.
package judge

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"time"
)

// Vector is tokens in disjoint buckets: uncached input, cache read, cache write, output without reasoning, reasoning.
type Vector [5]int64

func (v Vector) plus(w Vector) Vector {
	for i := range v {
		v[i] += w[i]
	}
	return v
}

func (v Vector) zero() bool { return v == Vector{} }

// Expectation is one recording's expect.json.
type Expectation struct {
	Capture    string          `json:"capture"`
	Traces     []string        `json:"traces"`
	Units      []Unit          `json:"units"`
	Tools      []Tool          `json:"tools"`
	Phantoms   []Span          `json:"phantom_tools"`
	Aggregates json.RawMessage `json:"aggregates_not_to_bill"`
}

// Unit is one model call, or what stands in for it.
type Unit struct {
	Seqs        []int     `json:"seqs"`
	Class       string    `json:"class"` // counted, visible_without_usage, failed_attempt, wrapper_only
	Kind        string    `json:"kind"`
	Model       string    `json:"model"`
	ModelAccept []string  `json:"model_accept"`
	Events      []int     `json:"events"` // how many events there may be
	Requests    []int64   `json:"llm_requests"`
	End         time.Time `json:"end"`
	Customer    Named     `json:"customer"`
	Feature     Named     `json:"feature"`
	Truth       *Vector   `json:"truth"`
	Best        *Vector   `json:"best"`
	Accept      []struct {
		V Vector `json:"v"`
	} `json:"accept"`
	Spans []Span `json:"spans"`
	Parts []Span `json:"parts"`
}

// Tool is one tool that ran.
type Tool struct {
	Name     string `json:"tool"`
	Visible  bool   `json:"visible"`
	Required bool   `json:"required"`
	Customer Named  `json:"customer"`
	Feature  Named  `json:"feature"`
	Spans    []Span `json:"spans"`
}

// Named is who something belongs to: any of Accept; Alt is right by the default order only.
type Named struct {
	Accept []string `json:"accept"`
	Alt    []string `json:"alt"`
}

// Span is a place in a trace.
type Span struct {
	TraceID string `json:"trace_id"`
	SpanID  string `json:"span_id"`
}

// Request is one recorded OTLP request.
type Request struct {
	Path        string `json:"path"`
	ContentType string `json:"content_type"`
	Encoding    string `json:"content_encoding"`
	File        string `json:"file"`
	Body        []byte `json:"-"`
}

// Capture is a recording.
type Capture struct {
	Name     string
	Expect   Expectation
	Requests []Request // in the order of arrival
}

// Load reads every recording below dir, by name.
func Load(dir string) ([]Capture, error) {
	folders, err := filepath.Glob(filepath.Join(dir, "*", "expect.json"))
	if err != nil {
		return nil, err
	}
	if len(folders) == 0 {
		return nil, fmt.Errorf("%s has no recordings", dir)
	}
	sort.Strings(folders)
	captures := make([]Capture, len(folders))
	for i, file := range folders {
		if captures[i], err = load(filepath.Dir(file)); err != nil {
			return nil, err
		}
	}
	return captures, nil
}

func load(dir string) (Capture, error) {
	c := Capture{Name: filepath.Base(dir)}
	if err := readJSON(filepath.Join(dir, "expect.json"), &c.Expect); err != nil {
		return c, err
	}
	if err := readJSON(filepath.Join(dir, "index.json"), &c.Requests); err != nil {
		return c, err
	}
	for i := range c.Requests {
		body, err := os.ReadFile(filepath.Join(dir, c.Requests[i].File))
		if err != nil {
			return c, err
		}
		c.Requests[i].Body = body
	}
	return c, nil
}

func readJSON(file string, into any) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}
