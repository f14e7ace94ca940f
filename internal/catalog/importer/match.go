package importer

import "strings"

// matched is a condition on names as names and patterns.
type matched struct {
	equals, patterns []string
	excludes         bool // names that another model's condition takes are left out
	lost             bool // a part can't be said in patterns
}

func (m *genaiMatch) patterns() (out matched) {
	switch {
	case m.Equals != "":
		out.equals = []string{m.Equals}
	case m.StartsWith != "":
		out.patterns = []string{m.StartsWith + "*"}
	case m.EndsWith != "":
		out.patterns = []string{"*" + m.EndsWith}
	case m.Contains != "":
		out.patterns = []string{"*" + m.Contains + "*"}
	case m.Regex != "":
		out = fromRegex(m.Regex)
	case m.Or != nil:
		for i := range m.Or {
			p := m.Or[i].patterns()
			out.equals = append(out.equals, p.equals...)
			out.patterns = append(out.patterns, p.patterns...)
			out.excludes = out.excludes || p.excludes
			out.lost = out.lost || p.lost
		}
	case m.And != nil:
		out = and(m.And)
	}
	return out
}

// and carries one condition with exclusions, or texts that a name contains, in this order.
func and(all []genaiMatch) (out matched) {
	found := false
	var contained []string
	for i := range all {
		if all[i].Contains != "" {
			contained = append(contained, all[i].Contains)
			continue
		}
		p := all[i].patterns()
		switch {
		case p.excludes && p.patterns == nil:
			out.excludes = true
		case !found:
			found = true
			p.excludes = p.excludes || out.excludes
			out = p
		default:
			return matched{lost: true}
		}
	}
	switch {
	case len(contained) == 0:
	case !found:
		out.patterns = []string{"*" + strings.Join(contained, "*") + "*"}
		out.lost = len(contained) > 1 // in another order
	default:
		return matched{lost: true}
	}
	return out
}

// fromRegex translates what literals, digits and classes of single characters can say.
func fromRegex(text string) matched {
	if strings.HasPrefix(text, "^(?!") && strings.HasSuffix(text, ")") {
		return matched{excludes: true}
	}
	prefixes := []string{"*"}
	rest := text
	if strings.HasPrefix(rest, "^") {
		prefixes, rest = []string{""}, rest[1:]
	}
	end := "*"
	if strings.HasSuffix(rest, "$") && !strings.HasSuffix(rest, `\$`) {
		end, rest = "", rest[:len(rest)-1]
	}
	for rest != "" {
		var atoms []string
		switch {
		case strings.HasPrefix(rest, `\d`):
			atoms, rest = []string{"#"}, rest[2:]
		case rest[0] == '\\' && len(rest) > 1 && strings.ContainsRune(`.[](){}+*?|/-`, rune(rest[1])):
			atoms, rest = []string{rest[1:2]}, rest[2:]
		case rest[0] == '[':
			end := strings.IndexByte(rest, ']')
			if end < 0 || strings.ContainsAny(rest[1:end], `^-\`) {
				return matched{lost: true}
			}
			atoms, rest = strings.Split(rest[1:end], ""), rest[end+1:]
		case strings.ContainsRune(`.()*+?{|\`, rune(rest[0])):
			return matched{lost: true}
		default:
			atoms, rest = []string{rest[:1]}, rest[1:]
		}
		times := 1
		if len(rest) > 2 && rest[0] == '{' && rest[2] == '}' && rest[1] >= '1' && rest[1] <= '9' {
			times, rest = int(rest[1]-'0'), rest[3:]
		}
		var next []string
		for _, p := range prefixes {
			for _, a := range atoms {
				next = append(next, p+strings.Repeat(a, times))
			}
		}
		if prefixes = next; len(prefixes) > 64 {
			return matched{lost: true}
		}
	}
	for i := range prefixes {
		prefixes[i] += end
	}
	return matched{patterns: prefixes}
}
