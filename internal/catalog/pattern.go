package catalog

import "strings"

// A pattern is a name in which * stands for any text, ? for any one byte and # for any one digit. Names and patterns are compared in
// lower case.

func isPattern(s string) bool { return strings.ContainsAny(s, "*?#") }

// literal is how many bytes of a pattern stand for themselves.
func literal(p string) int {
	return len(p) - strings.Count(p, "*") - strings.Count(p, "?") - strings.Count(p, "#")
}

// prefix is the text before a pattern's first wildcard.
func prefix(p string) string {
	if i := strings.IndexAny(p, "*?#"); i >= 0 {
		return p[:i]
	}
	return p
}

func fits(p, c byte) bool { return p == c || p == '?' || p == '#' && c >= '0' && c <= '9' }

// matches takes time of at most len(p)×len(s).
func matches(p, s string) bool {
	i, j := 0, 0
	star, from := -1, 0
	for j < len(s) {
		switch {
		case i < len(p) && p[i] == '*':
			star, from = i, j
			i++
		case i < len(p) && fits(p[i], s[j]):
			i++
			j++
		case star >= 0:
			from++
			i, j = star+1, from
		default:
			return false
		}
	}
	return strings.Trim(p[i:], "*") == ""
}

// contains says whether every name that matches narrow matches wide; it is sure only of yes. It takes time like matches.
func contains(wide, narrow string) bool {
	i, j := 0, 0
	star, from := -1, 0
	for j < len(narrow) {
		switch {
		case i < len(wide) && wide[i] == '*':
			star, from = i, j
			i++
		case i < len(wide) && narrow[j] != '*' && fits(wide[i], narrow[j]):
			i++
			j++
		case star >= 0:
			from++
			i, j = star+1, from
		default:
			return false
		}
	}
	return strings.Trim(wide[i:], "*") == ""
}

// intersect says whether some name matches both.
func intersect(a, b string) bool {
	if pa, pb := prefix(a), prefix(b); !strings.HasPrefix(pa, pb) && !strings.HasPrefix(pb, pa) {
		return false
	}
	// reach[j]: what was read of a and b[:j] can be the same text.
	reach := make([]bool, len(b)+1)
	reach[0] = true
	for j := 1; j <= len(b) && b[j-1] == '*'; j++ {
		reach[j] = true
	}
	for i := 1; i <= len(a); i++ {
		next := make([]bool, len(b)+1)
		next[0] = reach[0] && a[i-1] == '*'
		for j := 1; j <= len(b); j++ {
			x, y := a[i-1], b[j-1]
			switch {
			case x == '*':
				next[j] = reach[j] || next[j-1]
			case y == '*':
				next[j] = reach[j] || next[j-1]
			default:
				next[j] = reach[j-1] && meet(x, y)
			}
		}
		reach = next
	}
	return reach[len(b)]
}

func meet(x, y byte) bool { return fits(x, y) || fits(y, x) || x == '#' && y == '#' }

// patterns finds those that match a name in time that grows with the number of different lengths of prefixes, not of patterns.
type patterns struct {
	byPrefix map[string][]int
	lengths  []int // of prefixes, each once
	texts    []string
}

func (x *patterns) add(p string) {
	if x.byPrefix == nil {
		x.byPrefix = map[string][]int{}
	}
	head := prefix(p)
	known := false
	for _, n := range x.lengths {
		known = known || n == len(head)
	}
	if !known {
		x.lengths = append(x.lengths, len(head))
	}
	x.byPrefix[head] = append(x.byPrefix[head], len(x.texts))
	x.texts = append(x.texts, p)
}

// each calls found with the number, in the order of add, of every pattern that matches.
func (x *patterns) each(name string, found func(int)) {
	for _, n := range x.lengths {
		if n > len(name) {
			continue
		}
		for _, i := range x.byPrefix[name[:n]] {
			if matches(x.texts[i], name) {
				found(i)
			}
		}
	}
}

// first is the one that was added first, or -1.
func (x *patterns) first(name string) int {
	best := -1
	x.each(name, func(i int) {
		if best < 0 || i < best {
			best = i
		}
	})
	return best
}
