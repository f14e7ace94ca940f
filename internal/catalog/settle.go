package catalog

import (
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// Versions are the versions of catalogues that were kept in a folder. It is for one goroutine.
type Versions struct {
	Directory string
	// Broken is told of a kept version that can't be used.
	Broken func(version string, err error)

	loaded []*Catalog // the last one that was asked for first
}

// maxLoaded is how many versions stay in memory.
const maxLoaded = 4

var versionText = regexp.MustCompile(`^[0-9a-f]{16}$`)

// get is a version, or nil.
func (v *Versions) get(version string) *Catalog {
	if i := slices.IndexFunc(v.loaded, func(c *Catalog) bool { return c.Version == version }); i >= 0 {
		c := v.loaded[i]
		copy(v.loaded[1:i+1], v.loaded[:i])
		v.loaded[0] = c
		return c
	}
	if !versionText.MatchString(version) { // it is a part of a path, and comes from an event
		return nil
	}
	c, err := kept(v.Directory, version)
	if err == nil && c.Version != version {
		err = fmt.Errorf("the file holds version %s", c.Version)
	}
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) && v.Broken != nil {
			v.Broken(version, err)
		}
		return nil
	}
	v.loaded = append([]*Catalog{c}, v.loaded[:min(len(v.loaded), maxLoaded-1)]...)
	return c
}

// Settle gives a correction the amounts with which its target comes to what is left of it: target has what was left of its quantities before, and
// what it was charged, earlier corrections included. Each amount is by the version and the rate that the target was charged by, whatever is in force now,
// and rounded as one with it. So what is corrected to zero costs nothing, and a call that is corrected into another tier has that tier's price: for its other
// lines too, whose differences are lines without a quantity.
//
// A line that the target has no amount for gets none. One whose version isn't in the folder keeps the amount that it has when that is by the same rate of
// the same version; otherwise it has none, and the correction is flagged unpriced. Amounts that come without a quantity stay as they are.
func (v *Versions) Settle(target, correction *usage.Event) {
	left := *target
	left.Lines = slices.Clone(target.Lines)
	for i := range correction.Lines {
		if l := left.Line(correction.Lines[i].Meter); l != nil {
			l.Quantity += correction.Lines[i].Quantity
		}
	}
	priced := map[string]*usage.Event{} // left, by version
	by := func(had usage.Charge) *usage.Event {
		version, _, _ := strings.Cut(had.Rate, "/")
		if e, done := priced[version]; done {
			return e
		}
		priced[version] = nil
		if c := v.get(version); c != nil {
			e := left
			e.Lines = slices.Clone(left.Lines)
			c.Price(&e, nil)
			priced[version] = &e
		}
		return priced[version]
	}
	lost, none := false, false
	correction.Lines = slices.Clone(correction.Lines)
	for i := range correction.Lines {
		l := &correction.Lines[i]
		was := target.Line(l.Meter)
		if was == nil || was.Unit != l.Unit || l.Quantity == 0 && (l.Cost.Amount != 0 || l.Price.Amount != 0) {
			continue
		}
		for _, book := range [...]string{BookCost, BookPrice} {
			charge, had := chargeOf(l, book), *chargeOf(was, book)
			if !had.Known() {
				lost, none = lost || charge.Known() && l.Quantity != 0, true
				*charge = usage.Charge{}
				continue
			}
			switch difference := differenceOf(by(had), l.Meter, book, had); {
			case difference.Known():
				*charge = difference
			case charge.Rate != had.Rate || charge.Currency != had.Currency:
				*charge, lost = usage.Charge{}, lost || l.Quantity != 0
			}
		}
	}
	for i := range target.Lines {
		was := &target.Lines[i]
		if correction.Line(was.Meter) != nil {
			continue
		}
		l := usage.Line{Meter: was.Meter, Unit: was.Unit}
		for _, book := range [...]string{BookCost, BookPrice} {
			if had := *chargeOf(was, book); had.Known() {
				*chargeOf(&l, book) = differenceOf(by(had), was.Meter, book, had)
			}
		}
		if l.Cost.Amount != 0 || l.Price.Amount != 0 {
			correction.Lines = append(correction.Lines, l)
		}
	}
	correction.Normalize()
	switch flagged := slices.Contains(correction.Flags, usage.FlagUnpriced); {
	case lost && !flagged:
		correction.Flags = slices.Clone(correction.Flags)
		correction.AddFlag(usage.FlagUnpriced)
	case flagged && !lost && !none:
		correction.Flags = without(correction.Flags, usage.FlagUnpriced)
	}
}

// differenceOf is what is to be added to a charge so that it is that of e's line of a meter, when both are by the same rate. e may be nil.
func differenceOf(e *usage.Event, meter, book string, had usage.Charge) usage.Charge {
	if e == nil {
		return usage.Charge{}
	}
	is := *chargeOf(e.Line(meter), book)
	difference := is.Amount - had.Amount // can't wrap: each has at most 18 digits
	if is.Rate != had.Rate || is.Currency != had.Currency || difference > most || -difference > most {
		return usage.Charge{}
	}
	return usage.Charge{Amount: difference, Currency: is.Currency, Rate: is.Rate}
}
