// Package importer turns price lists of others into catalogues. Numbers are read from their text; what can't be carried over is named.
package importer

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/usagebox/otelcol-usagebox/internal/catalog"
)

// Note is something that was not carried over, or not as it stood.
type Note struct {
	Subject string // provider/model, or empty
	Message string
}

func (n Note) String() string {
	if n.Subject == "" {
		return n.Message
	}
	return n.Subject + ": " + n.Message
}

// Result is a catalogue and what is missing in it.
type Result struct {
	Document *catalog.Document
	Notes    []Note
	Models   int // models that were carried over
}

func newResult(source catalog.Source) *Result {
	return &Result{Document: &catalog.Document{Catalog: catalog.FormatVersion, Sources: []catalog.Source{source}}}
}

func (r *Result) note(subject, format string, args ...any) {
	r.Notes = append(r.Notes, Note{subject, fmt.Sprintf(format, args...)})
}

const maxInput = 256 << 20

// decode reads JSON with its numbers as text.
func decode(in io.Reader, into any) error {
	d := json.NewDecoder(io.LimitReader(in, maxInput))
	d.UseNumber()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("the file is not JSON of this kind: %w", err)
	}
	return nil
}

// decimalOf is the text of a number ≥ 0, or of a string that is one.
func decimalOf(v any) (string, bool) {
	var text string
	switch v := v.(type) {
	case json.Number:
		text = v.String()
	case string:
		text = v
	default:
		return "", false
	}
	out, err := catalog.Decimal(text)
	return out, err == nil
}

// providers are the names that this program's events have for those of price lists. Others keep theirs.
var providers = map[string]struct {
	name    string
	aliases []string
	models  []string // patterns of those whose name alone tells the provider
}{
	"aws":         {"aws.bedrock", []string{"aws", "bedrock", "aws_bedrock", "amazon-bedrock", "bedrock_converse"}, nil},
	"azure":       {"azure.ai.openai", []string{"azure", "azure.ai.inference", "az.ai.openai", "az.ai.inference", "azure_openai", "azure_ai"}, nil},
	"google":      {"gcp.gemini", []string{"google", "gemini", "gcp.vertex_ai", "gcp.gen_ai", "vertex_ai", "vertexai", "google_genai", "google-genai", "google.generative-ai", "google.vertex", "gcp_vertexai"}, nil},
	"mistral":     {"mistral_ai", []string{"mistral", "mistralai"}, []string{"mistral*", "codestral*", "devstral*", "magistral*", "ministral*", "mixtral*", "pixtral*", "voxtral*", "open-mi?tral*"}},
	"x-ai":        {"x_ai", []string{"x-ai", "xai"}, nil},
	"moonshotai":  {"moonshot_ai", []string{"moonshotai", "moonshot"}, nil},
	"together":    {"together", []string{"together_ai", "together-ai"}, nil},
	"fireworks":   {"fireworks", []string{"fireworks_ai", "fireworks-ai"}, nil},
	"anthropic":   {"anthropic", []string{"anthropic_messages"}, nil},
	"openai":      {"openai", []string{"openai_chat", "openai.responses", "openai.chat"}, []string{"text-embedding-*", "chatgpt-*"}},
	"cohere":      {"cohere", []string{"cohere_chat"}, nil},
	"voyageai":    {"voyageai", []string{"voyage"}, nil},
	"huggingface": {"huggingface", nil, nil},
}

func providerName(id string) string {
	id = strings.ToLower(id)
	if p, ok := providers[id]; ok {
		return p.name
	}
	for _, p := range providers {
		for _, alias := range p.aliases {
			if alias == id {
				return p.name
			}
		}
	}
	return id
}

// taken are names that one provider's models have already.
type taken map[[2]string]bool

func (t taken) take(provider, name string) bool {
	key := [2]string{provider, strings.ToLower(name)}
	if t[key] {
		return false
	}
	t[key] = true
	return true
}
