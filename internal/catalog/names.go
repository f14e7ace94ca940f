package catalog

import (
	"slices"
	"strings"
)

// names knows which names mean one provider or one model. All its texts are in lower case.
type names struct {
	providers map[string]string   // alias → name
	fallback  map[string][]string // provider → providers
	owners    patterns            // models → provider, for events that name none
	ownerOf   []string            // by number in owners
	models    map[string]*models  // by provider; "" is of any
}

// models are the models of one provider.
type models struct {
	aliases   map[string]string // alias or own name → name
	patterns  patterns
	patternOf []string // by number in patterns
}

// kind is how a rate's model was found.
type kind uint8

const (
	named kind = iota
	byPattern
	anyModel
)

// candidate is a name under which rates are looked up.
type candidate struct {
	kind kind
	text string
}

func (n *names) of(provider string) *models {
	if n.models == nil {
		n.models = map[string]*models{}
	}
	m := n.models[provider]
	if m == nil {
		m = &models{aliases: map[string]string{}}
		n.models[provider] = m
	}
	return m
}

// know adds a model that a rate names.
func (n *names) know(provider, model string) {
	m := n.of(provider)
	if _, ok := m.aliases[model]; !ok {
		m.aliases[model] = model
	}
}

// provider is the name of an event's provider: its own, or the one that the model's name tells.
func (n *names) provider(provider, model string) string {
	if provider == "" {
		if i := n.owners.first(model); i >= 0 {
			return n.ownerOf[i]
		}
		return ""
	}
	if name, ok := n.providers[provider]; ok {
		return name
	}
	return provider
}

// resolve is the provider whose rates count for an event's model, and the model's name without the provider's that routers and SDKs write before it: the
// provider's own as in openai/gpt-4o, or a path of resources that ends in models/.
func (n *names) resolve(provider, model string) (name, short string) {
	name, short = n.provider(provider, model), model
	if strings.IndexByte(model, '/') >= 0 && !n.knows(name, model) && !n.knows("", model) {
		name, short = n.withoutPrefix(name, model)
	}
	return n.servedBy(name, short), short
}

func (n *names) withoutPrefix(provider, model string) (name, short string) {
	if i := strings.LastIndex(model, "models/"); i == 0 || i > 0 && model[i-1] == '/' {
		return provider, model[i+len("models/"):]
	}
	prefix, rest, _ := strings.Cut(model, "/")
	owner, known := n.providers[prefix]
	if !known {
		if owner = prefix; n.models[prefix] == nil {
			return provider, model
		}
	}
	switch provider {
	case "":
		return owner, rest
	case owner:
		return provider, rest
	}
	return provider, model
}

// servedBy is the provider whose rates count for a model: the event's, or the first fallback that knows the model.
func (n *names) servedBy(provider, model string) string {
	fallbacks := n.fallback[provider]
	if len(fallbacks) == 0 || n.knows(provider, model) {
		return provider
	}
	for _, f := range fallbacks {
		if n.knows(f, model) {
			return f
		}
	}
	return provider
}

func (n *names) knows(provider, model string) bool {
	m := n.models[provider]
	if m == nil {
		return false
	}
	if _, ok := m.aliases[model]; ok {
		return true
	}
	if _, ok := m.aliases[undated(model)]; ok {
		return true
	}
	return m.patterns.first(model) >= 0
}

// candidates appends the names of a model, best first: its own, by an alias, without its date, by a pattern.
func (n *names) candidates(dst []candidate, provider, model string) []candidate {
	if model == "" {
		return dst
	}
	dst = append(dst, candidate{named, model})
	plain := undated(model)
	scopes := [...]*models{n.models[provider], n.models[""]}
	if provider == "" {
		scopes[1] = nil
	}
	for _, name := range [...]string{model, plain} {
		for _, m := range scopes {
			if m == nil {
				continue
			}
			if canonical, ok := m.aliases[name]; ok {
				dst = appendNew(dst, canonical)
			}
		}
		dst = appendNew(dst, plain)
	}
	for _, m := range scopes {
		if m == nil {
			continue
		}
		if i := m.patterns.first(model); i >= 0 {
			dst = appendNew(dst, m.patternOf[i])
		}
	}
	return dst
}

func appendNew(dst []candidate, name string) []candidate {
	c := candidate{named, name}
	if slices.Contains(dst, c) {
		return dst
	}
	return append(dst, c)
}

// undated is a model's name without the date at its end: -2025-04-14, -20250414, @20250414 or -latest.
func undated(model string) string {
	if s, ok := strings.CutSuffix(model, "-latest"); ok {
		return s
	}
	if n := len(model); n > 11 && model[n-11] == '-' && isDate(model[n-10:n-6], model[n-5:n-3], model[n-2:]) && model[n-6] == '-' && model[n-3] == '-' {
		return model[:n-11]
	}
	if n := len(model); n > 9 && (model[n-9] == '-' || model[n-9] == '@') && isDate(model[n-8:n-4], model[n-4:n-2], model[n-2:]) {
		return model[:n-9]
	}
	return model
}

func isDate(year, month, day string) bool {
	for _, s := range [...]string{year, month, day} {
		for i := range len(s) {
			if s[i] < '0' || s[i] > '9' {
				return false
			}
		}
	}
	return year[:2] == "20" && month >= "01" && month <= "12" && day >= "01" && day <= "31"
}

// compileNames reads the names of all layers, the upper first.
func compileNames(layers []*Document, problems *Problems) names {
	n := names{providers: map[string]string{}, fallback: map[string][]string{}}
	for layer, doc := range layers {
		for _, p := range doc.Providers {
			n.addProvider(layer, p, problems)
		}
	}
	for _, doc := range layers {
		own := map[[2]string]Position{}
		for _, m := range doc.Models {
			n.addModel(own, m, problems)
		}
	}
	return n
}

func (n *names) addProvider(layer int, p Provider, problems *Problems) {
	name := strings.ToLower(p.Name)
	for _, alias := range append([]string{p.Name}, p.Aliases...) {
		alias = strings.ToLower(alias)
		if other, ok := n.providers[alias]; ok && other != name {
			if layer == 0 {
				problems.add(p.at, "%q is already a name of the provider %q", alias, other)
			}
			continue // the upper catalogue's word stands
		}
		n.providers[alias] = name
	}
	for _, m := range p.Models {
		n.owners.add(strings.ToLower(m))
		n.ownerOf = append(n.ownerOf, name)
	}
	if len(p.Fallback) > 0 && n.fallback[name] == nil {
		for _, f := range p.Fallback {
			n.fallback[name] = append(n.fallback[name], strings.ToLower(f))
		}
	}
}

func (n *names) addModel(own map[[2]string]Position, m Model, problems *Problems) {
	provider, model := n.provider(strings.ToLower(m.Provider), ""), strings.ToLower(m.Model)
	of := n.of(provider)
	for _, alias := range append([]string{m.Model}, m.Aliases...) {
		alias = strings.ToLower(alias)
		if isPattern(alias) {
			problems.add(m.at, "%q is a pattern: put it under patterns", alias)
			continue
		}
		key := [2]string{provider, alias}
		if at, twice := own[key]; twice && alias == model {
			continue // more of the same model's names
		} else if twice {
			problems.add(m.at, "%q is already a name of a model at %s", alias, at)
			continue
		}
		own[key] = m.at
		if _, ok := of.aliases[alias]; !ok {
			of.aliases[alias] = model
		}
	}
	for _, p := range m.Patterns {
		of.patterns.add(strings.ToLower(p))
		of.patternOf = append(of.patternOf, model)
	}
}
