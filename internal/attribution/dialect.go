package attribution

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

//go:embed dialects.yaml
var builtinDialects []byte

const tableVersion = 1

// table is a file of dialects, as it is written.
type table struct {
	Version  int             `yaml:"version"`
	Common   commonEntry     `yaml:"common"`
	Dialects []*dialectEntry `yaml:"dialects"`
}

type commonEntry struct {
	Tokens map[string][]string `yaml:"tokens"`
	Texts  map[string][]string `yaml:"texts"`
	Roles  []roleRule          `yaml:"roles"`
	Ranks  []rankRule          `yaml:"ranks"`
}

type dialectEntry struct {
	Name             string              `yaml:"name"`
	Signal           string              `yaml:"signal"`
	Match            matchRule           `yaml:"match"`
	Rank             int                 `yaml:"rank"`
	Roles            []roleRule          `yaml:"roles"`
	DefaultRole      string              `yaml:"default_role"`
	UnknownOperation string              `yaml:"unknown_operation"`
	Tokens           map[string][]string `yaml:"tokens"`
	Texts            map[string][]string `yaml:"texts"`
	Cache            string              `yaml:"cache"`
	Thought          string              `yaml:"thought"`
	Rest             string              `yaml:"rest"`
	Sums             string              `yaml:"sums"`
	EstimatesStreams bool                `yaml:"estimates_streams"`
	ModelAfter       string              `yaml:"model_after"`
	ContentModels    []string            `yaml:"content_models"`
}

type matchRule struct {
	Scopes []string            `yaml:"scopes"`
	Names  []string            `yaml:"names"`
	Any    []string            `yaml:"any"`
	Values map[string][]string `yaml:"values"`
	Shape  string              `yaml:"shape"`
}

type roleRule struct {
	Role      string   `yaml:"role"`
	Attribute string   `yaml:"attribute"`
	Values    []string `yaml:"values"`
	Names     []string `yaml:"names"`
	Any       []string `yaml:"any"`
}

type rankRule struct {
	Rank   int      `yaml:"rank"`
	Scopes []string `yaml:"scopes"`
}

var (
	tokenFields = map[string]Field{
		"input": FieldInput, "input_uncached": FieldInputUncached, "output": FieldOutput, "total": FieldTotal, "cache_read": FieldCacheRead,
		"cache_write": FieldCacheWrite, "reasoning": FieldReasoning, "input_audio": FieldInputAudio, "output_audio": FieldOutputAudio,
		"input_image": FieldInputImage, "output_image": FieldOutputImage,
	}
	fieldNames = func() (names [numFields]string) {
		for name, field := range tokenFields {
			names[field] = name
		}
		return names
	}()
	textFields  = []string{"operation", "provider", "model", "requested", "response_id", "call_id", "tool", "agent", "node", "cost", "finish", "refusal", "duration_ms"}
	cacheRules  = []string{"inside", "outside", "outside_anthropic"}
	thoughtRule = []string{"inside", "outside"}
	restRules   = []string{"reasoning"}
	sumRules    = []string{"all", "own"}
	signals     = []string{"span", signalLog}
)

const signalLog = "log"

// parseTable reads a file of dialects; source names it in errors.
func parseTable(source string, text []byte) (*table, error) {
	t := &table{}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(t); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("%s: is empty, expected version and dialects", source)
		}
		return nil, fmt.Errorf("%s: %s", source, strings.ReplaceAll(strings.TrimPrefix(err.Error(), "yaml: "), "\n", " "))
	}
	if t.Version != tableVersion {
		return nil, fmt.Errorf("%s: version is %d, this program reads %d", source, t.Version, tableVersion)
	}
	if err := t.Common.check(); err != nil {
		return nil, fmt.Errorf("%s: common: %w", source, err)
	}
	for i, d := range t.Dialects {
		if d == nil || d.Name == "" {
			return nil, fmt.Errorf("%s: dialects[%d]: name is missing", source, i)
		}
		if err := d.check(); err != nil {
			return nil, fmt.Errorf("%s: dialect %s: %w", source, d.Name, err)
		}
	}
	return t, nil
}

func (c *commonEntry) check() error {
	if err := checkNames("tokens", c.Tokens, keysOf(tokenFields)); err != nil {
		return err
	}
	if err := checkNames("texts", c.Texts, textFields); err != nil {
		return err
	}
	return checkRoles(c.Roles)
}

func (d *dialectEntry) check() error {
	m := &d.Match
	if len(m.Scopes)+len(m.Names)+len(m.Any)+len(m.Values) == 0 && m.Shape == "" {
		return errors.New("match has no condition, expected scopes, names, any, values or shape")
	}
	if m.Shape != "" && m.Shape != "call" {
		return oneOf("match.shape", m.Shape, []string{"call"})
	}
	if d.Sums != "" && !slices.Contains(sumRules, d.Sums) {
		return oneOf("sums", d.Sums, sumRules)
	}
	if d.Signal != "" && !slices.Contains(signals, d.Signal) {
		return oneOf("signal", d.Signal, signals)
	}
	if d.Rank < 0 || d.Rank > 100 {
		return fmt.Errorf("rank is %d, expected 0 to 100", d.Rank)
	}
	if err := checkNames("tokens", d.Tokens, keysOf(tokenFields)); err != nil {
		return err
	}
	if err := checkNames("texts", d.Texts, textFields); err != nil {
		return err
	}
	if d.Cache != "" && !slices.Contains(cacheRules, d.Cache) {
		return oneOf("cache", d.Cache, cacheRules)
	}
	if d.Thought != "" && !slices.Contains(thoughtRule, d.Thought) {
		return oneOf("thought", d.Thought, thoughtRule)
	}
	if d.Rest != "" && !slices.Contains(restRules, d.Rest) {
		return oneOf("rest", d.Rest, restRules)
	}
	for field, role := range map[string]string{"default_role": d.DefaultRole, "unknown_operation": d.UnknownOperation} {
		if role != "" && !slices.Contains(roleNames[:], role) {
			return oneOf(field, role, roleNames[:])
		}
	}
	return checkRoles(d.Roles)
}

func checkNames(field string, m map[string][]string, accepted []string) error {
	for name := range m {
		if !slices.Contains(accepted, name) {
			return oneOf(field, name, accepted)
		}
	}
	return nil
}

func checkRoles(rules []roleRule) error {
	for i, r := range rules {
		field := fmt.Sprintf("roles[%d]", i)
		if !slices.Contains(roleNames[:], r.Role) {
			return oneOf(field+".role", r.Role, roleNames[:])
		}
		if len(r.Values) > 0 && r.Attribute == "" {
			return fmt.Errorf("%s has values without an attribute", field)
		}
		if r.Attribute == "" && len(r.Names) == 0 && len(r.Any) == 0 {
			return fmt.Errorf("%s has no condition, expected attribute, names or any", field)
		}
	}
	return nil
}

func oneOf(field, got string, accepted []string) error {
	accepted = slices.Clone(accepted)
	slices.Sort(accepted)
	return fmt.Errorf("%s is %q, expected one of %s", field, got, strings.Join(accepted, ", "))
}

func keysOf[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func roleOf(name string) Role { return Role(max(0, slices.Index(roleNames[:], name))) }

// glob says whether text matches pattern: * is any text, also none; [abc] one of these bytes.
func glob(pattern, text string) bool {
	for len(pattern) > 0 {
		switch pattern[0] {
		case '*':
			pattern = pattern[1:]
			if pattern == "" {
				return true
			}
			for i := 0; i <= len(text); i++ {
				if glob(pattern, text[i:]) {
					return true
				}
			}
			return false
		case '[':
			end := strings.IndexByte(pattern, ']')
			if end < 0 || text == "" || strings.IndexByte(pattern[1:end], text[0]) < 0 {
				return false
			}
			pattern, text = pattern[end+1:], text[1:]
		default:
			if text == "" || text[0] != pattern[0] {
				return false
			}
			pattern, text = pattern[1:], text[1:]
		}
	}
	return text == ""
}

func globs(patterns []string, text string) bool {
	for _, p := range patterns {
		if glob(p, text) {
			return true
		}
	}
	return false
}
