package attribution

import (
	"strings"
)

// key is the index of an attribute's name in a table; source is where a number or text can stand.
type key int32

type source struct {
	key  key
	path []string // in JSON text or a map; nil for the attribute itself
	plus []source // parts of the same number that stand elsewhere
}

// dialect is a compiled entry of the table.
type dialect struct {
	*dialectEntry
	any        []key
	values     map[key][]string
	roles      []rule
	fallback   Role // when no rule holds and hasFallback
	unknownOp  Role
	tokens     [numFields][]source
	texts      [numTexts][]source
	isUnknown  bool
	hasDefault bool
}

type rule struct {
	role   Role
	key    key
	hasKey bool
	values []string
	names  []string
	any    []key
}

// text names what a span may say in words.
type text uint8

const (
	textOperation text = iota
	textProvider
	textModel
	textRequested
	textResponseID
	textCallID
	textTool
	textAgent
	textNode
	textCost
	textFinish
	textRefusal
	textDuration
	numTexts
)

// compiler gives every attribute's name its key.
type compiler struct{ keys map[string]key }

func (c *compiler) key(name string) key {
	k, ok := c.keys[name]
	if !ok {
		k = key(len(c.keys))
		c.keys[name] = k
	}
	return k
}

func (c *compiler) all(names []string) []key {
	keys := make([]key, len(names))
	for i, n := range names {
		keys[i] = c.key(n)
	}
	return keys
}

func (c *compiler) source(name string) source {
	name, rest, more := strings.Cut(name, " + ")
	attribute, path, found := strings.Cut(name, "#")
	s := source{key: c.key(attribute)}
	if found {
		s.path = strings.Split(path, ".")
	}
	if more {
		s.plus = []source{c.source(rest)}
	}
	return s
}

func (c *compiler) sources(names ...[]string) []source {
	var out []source
	for _, list := range names {
		for _, n := range list {
			out = append(out, c.source(n))
		}
	}
	return out
}

func (c *compiler) rules(rules []roleRule) []rule {
	out := make([]rule, len(rules))
	for i, r := range rules {
		out[i] = rule{role: roleOf(r.Role), values: r.Values, names: r.Names, any: c.all(r.Any)}
		if r.Attribute != "" {
			out[i].key, out[i].hasKey = c.key(r.Attribute), true
		}
	}
	return out
}

func (c *compiler) dialect(e *dialectEntry, common *commonEntry) *dialect {
	d := &dialect{
		dialectEntry: e,
		any:          c.all(e.Match.Any),
		values:       map[key][]string{},
		roles:        c.rules(e.Roles),
		fallback:     roleOf(e.DefaultRole),
		hasDefault:   e.DefaultRole != "",
		unknownOp:    roleOf(e.UnknownOperation),
		isUnknown:    e.Match.Shape != "",
	}
	for name, values := range e.Match.Values {
		d.values[c.key(name)] = values
	}
	for name, field := range tokenFields {
		d.tokens[field] = c.sources(e.Tokens[name], common.Tokens[name])
	}
	for i, name := range textFields {
		d.texts[i] = c.sources(e.Texts[name], common.Texts[name])
	}
	return d
}
