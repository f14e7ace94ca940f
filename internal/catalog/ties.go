package catalog

// ties reports every two rates of one rank that could fit one line at one time. It compares what can meet only: rates with equal keys,
// patterns with the same other fields, and shapes of one rank whose dimensions differ.
func (b *builder) ties() {
	reported := map[[2]*Rate]bool{}
	for i := range b.c.books {
		for _, g := range b.c.books[i].groups {
			for k, shapes := range g.byKind {
				for n, x := range shapes {
					b.tiesBetween(x, x, kind(k), reported)
					for _, y := range shapes[n+1:] {
						if compareShapes(x, y) == 0 {
							b.tiesBetween(x, y, kind(k), reported)
						}
					}
				}
			}
		}
	}
}

func (b *builder) tiesBetween(x, y *shape, k kind, reported map[[2]*Rate]bool) {
	groupKey := func(e *indexed) string {
		if k == byPattern {
			return e.key.rest
		}
		return e.key.model + "\x00" + e.key.rest
	}
	byKey := make(map[string][]*indexed, len(b.entries[x]))
	for i := range b.entries[x] {
		e := &b.entries[x][i]
		byKey[groupKey(e)] = append(byKey[groupKey(e)], e)
	}
	for i := range b.entries[y] {
		e := &b.entries[y][i]
		for _, o := range byKey[groupKey(e)] {
			if o == e || x == y && reported[[2]*Rate{e.rate, o.rate}] || !b.tie(x, y, o, e) {
				continue
			}
			if reported[[2]*Rate{o.rate, e.rate}] {
				continue
			}
			reported[[2]*Rate{o.rate, e.rate}], reported[[2]*Rate{e.rate, o.rate}] = true, true
			first, second := o.rate, e.rate
			if first.At.File > second.At.File || first.At.File == second.At.File && first.At.Line > second.At.Line {
				first, second = second, first
			}
			b.problems.add(second.At, "rate %q ties with rate %q at %s: both fit the same lines at the same time, and neither names more", second.ID, first.ID, first.At)
		}
	}
}

// tie says whether two rates under equal keys, but for patterns and dimensions, can fit one line.
func (b *builder) tie(x, y *shape, o, e *indexed) bool {
	if o.rate == e.rate || !o.rate.span.overlaps(&e.rate.span) {
		return false
	}
	if o.rate.Unit != "" && e.rate.Unit != "" && o.rate.Unit != e.rate.Unit {
		return false
	}
	if o.key.pattern && o.key.model != e.key.model && (literal(o.key.model) != literal(e.key.model) || !intersect(o.key.model, e.key.model)) {
		return false
	}
	for i, d := range x.dims {
		for j, other := range y.dims {
			if d == other && o.key.dims[i] != e.key.dims[j] {
				return false
			}
		}
	}
	return true
}
