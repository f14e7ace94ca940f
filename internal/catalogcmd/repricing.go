package catalogcmd

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/usagebox/otelcol-usagebox/internal/catalog"
	"github.com/usagebox/otelcol-usagebox/internal/decimal"
	store "github.com/usagebox/otelcol-usagebox/internal/ledger"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// repricing compares what events are charged with what a catalogue gives, and adds the differences up.
type repricing struct {
	catalog *catalog.Catalog
	changes map[changeKey]*change
	events  int64
	differ  int
	kept    int64 // amounts that stay, because the catalogue has none or one in another currency
}

// change is what the lines of a group come to, before and after.
type change struct {
	lines         int64
	before, after decimal.Int128
	had           int64 // lines that had an amount
}

type changeKey struct{ customer, model, meter, book, currency string }

// correction compares what an event and its corrections are charged with the amount of what is left of its quantities, at its own time, and gives
// the correction that puts the catalogue into force, or nil. It changes e.
func (p *repricing) correction(e *usage.Event, corrections []usage.Event) *store.Amendment {
	p.events++
	before := make([][2]sumOfCharges, len(e.Lines))
	addCharges(before, e, e)
	parts := 0
	for i := range corrections {
		one := &corrections[i]
		if one.Kind == usage.KindRetraction {
			return nil
		}
		addCharges(before, e, one)
		parts += addQuantities(e, one)
	}
	seen := seenLines(e, before)
	p.catalog.Price(e, nil)
	correction := usage.Event{
		ID: correctionID(e, p.catalog.Version, len(corrections)), Kind: usage.KindCorrection, Corrects: e.ID, Customer: e.Customer, Timestamp: e.Timestamp,
		Source: "reprice",
	}
	for i := range e.Lines {
		l := &e.Lines[i]
		line := usage.Line{Meter: l.Meter, Unit: l.Unit}
		differs := false
		for book, is := range [...]usage.Charge{l.Cost, l.Price} {
			was := &before[i][book]
			difference := is.Amount - was.amount
			switch {
			case !is.Known() && !was.known:
				continue
			case !is.Known() || was.lost || was.known && was.currency != is.Currency || difference > maxAmount || -difference > maxAmount:
				p.kept++
				continue
			case was.known && (difference == 0 || !was.partly && abs(difference) <= usage.Amount(parts)):
				continue // each correction was rounded by itself
			}
			differs = true
			p.count(e, l.Meter, [...]string{catalog.BookCost, catalog.BookPrice}[book], was, is)
			*[...]*usage.Charge{&line.Cost, &line.Price}[book] = usage.Charge{Amount: difference, Currency: is.Currency, Rate: is.Rate}
		}
		if differs {
			correction.Lines = append(correction.Lines, line)
		}
	}
	if len(correction.Lines) == 0 {
		return nil
	}
	p.differ++
	return &store.Amendment{Event: correction, Seen: seen}
}

// seenLines are what is left of an event's lines, with what they are charged.
func seenLines(e *usage.Event, charged [][2]sumOfCharges) []usage.Line {
	lines := make([]usage.Line, len(e.Lines))
	for i := range e.Lines {
		lines[i] = usage.Line{Meter: e.Lines[i].Meter, Unit: e.Lines[i].Unit, Quantity: e.Lines[i].Quantity, Cost: charged[i][0].charge(), Price: charged[i][1].charge()}
	}
	return lines
}

func (s *sumOfCharges) charge() usage.Charge {
	if !s.known {
		return usage.Charge{}
	}
	return usage.Charge{Amount: s.amount, Currency: s.currency, Rate: "seen"}
}

func abs(a usage.Amount) usage.Amount {
	if a < 0 {
		return -a
	}
	return a
}

func (p *repricing) count(e *usage.Event, meter, book string, was *sumOfCharges, is usage.Charge) {
	key := changeKey{e.Customer, e.Model, meter, book, is.Currency}
	if p.changes[key] == nil {
		p.changes[key] = &change{}
	}
	one := p.changes[key]
	one.lines++
	if was.known {
		one.had++
	}
	one.before, _ = one.before.AddInt64(int64(was.amount))
	one.after, _ = one.after.AddInt64(int64(is.Amount))
}

// maxAmount is the largest amount of 18 digits.
const maxAmount = 999_999_999_999_999_999

// sumOfCharges is what a line is charged in a book, its corrections included.
type sumOfCharges struct {
	amount   usage.Amount
	currency string
	known    bool // a part has an amount
	partly   bool // a part has a quantity and no amount
	lost     bool // parts of several currencies, or of too many digits
}

// addCharges adds what e, an event or a correction of it, is charged to the sums of the event's lines.
func addCharges(sums [][2]sumOfCharges, event, e *usage.Event) {
	for i := range e.Lines {
		l := &e.Lines[i]
		at := lineOf(event, l)
		if at < 0 {
			continue
		}
		for book, charge := range [...]usage.Charge{l.Cost, l.Price} {
			s := &sums[at][book]
			switch {
			case !charge.Known():
				s.partly = s.partly || l.Quantity != 0
			case s.known && s.currency != charge.Currency:
				s.lost = true
			default:
				s.amount += charge.Amount
				s.known, s.currency = true, charge.Currency
				s.lost = s.lost || abs(s.amount) > maxAmount
			}
		}
	}
}

// addQuantities adds a correction's differences to the event's lines, and says whether there was one: 0 or 1.
func addQuantities(event, correction *usage.Event) (corrected int) {
	for _, l := range correction.Lines {
		if at := lineOf(event, &l); at >= 0 && l.Quantity != 0 {
			event.Lines[at].Quantity += l.Quantity // what is left is neither negative nor too long: the ledger saw to it
			corrected = 1
		}
	}
	return corrected
}

// lineOf is the event's line with the meter and unit of another, or -1.
func lineOf(event *usage.Event, l *usage.Line) int {
	for at := range event.Lines {
		if event.Lines[at].Meter == l.Meter && event.Lines[at].Unit == l.Unit {
			return at
		}
	}
	return -1
}

// correctionID is the same for the same event, catalogue and corrections before: so one that was put into force is known again.
func correctionID(e *usage.Event, version string, corrections int) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %s %d", e.Customer, e.ID, version, corrections))
	return "reprice-" + version + "-" + hex.EncodeToString(sum[:12])
}
