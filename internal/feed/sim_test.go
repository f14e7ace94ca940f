package feed

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"maps"
	"math/big"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/usagebox/otelcol-usagebox/internal/decimal"
	"github.com/usagebox/otelcol-usagebox/internal/ledger/parquetfile"
	"github.com/usagebox/otelcol-usagebox/usage"
)

var simSeeds = flag.Int("sim.seeds", 1000, "seeds of the simulation of the billing feed; a tenth of them under the race detector")

// TestSimulationWhatBillersBillIsWhatTheLedgerHas lets usage come, late, corrected and priced anew, to a feed that dies between any two steps and whose receivers
// lie, and compares what they would bill with the totals, hour by hour.
func TestSimulationWhatBillersBillIsWhatTheLedgerHas(t *testing.T) {
	const groups = 4
	seeds := *simSeeds
	if raced {
		seeds = max(1, seeds/10)
	}
	for g := range groups {
		t.Run(fmt.Sprint(g), func(t *testing.T) {
			t.Parallel()
			var all happened
			for seed := g; seed < seeds; seed += groups {
				s := newSim(t, uint64(seed))
				if err := s.run(); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				all.add(s)
			}
			if seeds >= 100 && (all.deaths == 0 || all.asked == 0 || all.uncertain == 0 || all.revised == 0 || all.negative == 0) {
				t.Fatalf("the simulation is too tame: %+v", all)
			}
		})
	}
}

// happened counts what the simulation is there for.
type happened struct{ deaths, asked, uncertain, revised, negative int }

func (h *happened) add(s *sim) {
	h.deaths += s.deaths
	h.asked += s.asked
	h.uncertain += s.uncertain
	h.revised += s.revised
	h.negative += s.negative
}

// TestPlantedFaultsAreFound plants one fault after the other.
func TestPlantedFaultsAreFound(t *testing.T) {
	for fault, name := range map[sabotage]string{
		sendUnrecorded: "a call is not on disk before it begins", forgetfulWindow: "sent again however late", dropCarry: "carry lost", sentApart: "sent recorded apart",
		newMappingForAll: "new mapping for hours that were sent", linesForgotten: "line forgotten before it is written", countTwice: "settled twice",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := range 300 {
				s := newSim(t, uint64(seed))
				s.sabotage = fault
				if s.run() != nil {
					return
				}
			}
			t.Fatal("300 seeds have not found it")
		})
	}
}

var (
	simStart     = time.Date(2026, 11, 1, 10, 0, 0, 0, time.UTC)
	simCustomers = []string{"acme", "beta", "gamma"}
	simMeters    = []string{"llm_tokens_in", "llm_tokens_out"}
)

type sim struct {
	t       *testing.T
	random  *rand.Rand
	clock   time.Time
	books   *simBooks
	dir     string
	billers map[string]*simBiller
	specs   []Spec
	every   time.Duration

	sabotage sabotage
	wrong    error // what was seen on the way
	happened

	feed  *Feed
	under map[string][]result
}

func newSim(t *testing.T, seed uint64) *sim {
	random := rand.New(rand.NewPCG(seed, 7))
	dir := inMemory(t)
	s := &sim{t: t, random: random, clock: simStart, books: newSimBooks(random), dir: dir, billers: map[string]*simBiller{}, under: map[string][]result{}}
	if random.IntN(2) == 0 {
		s.every = 5 * time.Minute
	}
	whole := Mapping{Meters: []Meter{{Meter: "*", Name: "tokens", Per: "1000"}, {Meter: "*_in", Name: "spend", Value: ValuePrice, Currency: "USD", Per: "0.01"}}}
	s.add("stripe", Limits{Batch: 1, Window: 23 * time.Hour}, true, whole)
	s.add("metronome", Limits{Batch: 1 + random.IntN(5), Window: 0}, false, Mapping{Decimals: 12, Dimensions: []string{"feature", "model"}})
	s.add("webhook/erp", Limits{Batch: 1 + random.IntN(3), Window: 48 * time.Hour}, false, Mapping{Decimals: 12, HoldNegative: random.IntN(2) == 0})
	return s
}

// inMemory is a folder, in memory where there is one: what is synced is synced to nothing.
func inMemory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "feed")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func (s *sim) add(name string, limits Limits, asks bool, m Mapping) {
	if err := m.Validate(); err != nil {
		s.t.Fatal(err)
	}
	b := newSimBiller(s.random, &s.clock, limits)
	b.asks = asks
	s.billers[name] = b
	spec := Spec{Name: name, Receiver: b, Mapping: m, Workers: 1 + s.random.IntN(3), MinBackoff: time.Second, MaxBackoff: 10 * time.Minute, From: new(usage.Hour)}
	if asks {
		spec.Receiver = askable{b}
	}
	s.specs = append(s.specs, spec)
}

func (s *sim) run() error {
	s.calm(false)
	for range 150 {
		s.survive(s.random1)
	}
	s.calm(true)
	s.feed, s.under = nil, map[string][]result{} // killed once more, and opened with all receivers
	return cmp.Or(s.wrong, s.settle())
}

// calm sets whether anything fails.
func (s *sim) calm(calm bool) {
	s.books.faults = !calm
	for _, b := range s.billers {
		b.lying, b.crashy = !calm, !calm
		if calm {
			b.away = time.Time{}
		}
	}
}

// survive does a step; when the process dies in it, what it had in memory is gone.
func (s *sim) survive(step func()) {
	defer func() {
		if dead := recover(); dead != nil {
			if _, ok := dead.(crash); !ok {
				panic(dead)
			}
			s.deaths++
			s.feed, s.under = nil, map[string][]result{}
		}
	}()
	if s.feed == nil {
		if m := &s.specs[1].Mapping; s.random.IntN(6) == 0 {
			m.Dimensions = [][]string{nil, {"feature"}, {"feature", "model"}}[s.random.IntN(3)]
		}
		specs := slices.Clone(s.specs)
		if s.books.faults && s.random.IntN(5) == 0 { // one is taken out for a while
			specs = slices.Delete(specs, 0, 1+s.random.IntN(2))
		}
		f, err := Open(Options{
			Books: s.books, Directory: s.dir, Writer: "main", Every: s.every, Receivers: specs, Manual: true,
			Clock: func() time.Time { return s.clock }, Random: s.random.Int64N, Instance: func() string { return "instance" }, sabotage: s.sabotage,
		})
		if err != nil {
			return // the store failed
		}
		s.feed = f
	}
	step()
}

func (s *sim) random1() {
	switch n := s.random.IntN(20); {
	case n < 5:
		s.use()
	case n < 7:
		s.clock = s.clock.Add(time.Duration(s.random.Int64N(int64(40 * time.Minute))))
	case n < 8:
		s.clock = s.clock.Add(time.Duration(s.random.Int64N(int64(30 * time.Hour))))
	case n < 10:
		s.seal()
	case n < 13:
		for _, r := range s.feed.receivers {
			_ = r.planNow(context.Background())
		}
	case n < 18:
		s.send()
	case n < 19:
		s.askAll()
	default:
		s.feed, s.under = nil, map[string][]result{} // killed
	}
}

// use counts usage, late usage, corrections and new prices.
func (s *sim) use() {
	for range 1 + s.random.IntN(4) {
		back := time.Duration(s.random.IntN(3)) * time.Hour
		if s.random.IntN(5) == 0 {
			back = time.Duration(s.random.IntN(200)) * time.Hour
		}
		at := usage.MicrosOf(s.clock.Add(-back))
		row := parquetfile.RollupRow{
			HourStart: at.Hour().Start(), Customer: simCustomers[s.random.IntN(len(simCustomers))], Meter: simMeters[s.random.IntN(len(simMeters))],
			Feature: []string{"", "chat"}[s.random.IntN(2)], Unit: "token", Events: 1, FirstAt: at, LastAt: at,
		}
		if s.random.IntN(4) > 0 {
			row.Quantity = decimal.FromInt64(s.random.Int64N(5_000_000_000) - 500_000_000)
		}
		if s.random.IntN(2) == 0 {
			row.PriceCurrency = "USD"
			row.Price = parquetfile.Money{Amount: decimal.FromInt64(s.random.Int64N(300_000_000_000) - 20_000_000_000), Known: true}
		}
		s.books.count(row)
	}
}

func (s *sim) seal() {
	for h := range s.books.totals {
		if h.Start().Time().Add(time.Hour).Before(s.clock) && s.random.IntN(2) == 0 {
			s.books.seal(h)
		}
	}
}

// send steps the senders, and lets their calls come back in any order, some much later.
func (s *sim) send() {
	for _, r := range s.feed.receivers {
		calls, _, err := r.sender.step(context.Background(), s.clock)
		if err != nil {
			continue
		}
		for _, c := range calls {
			s.under[r.name] = append(s.under[r.name], r.sender.do(context.Background(), c))
		}
		for len(s.under[r.name]) > 0 && s.random.IntN(5) > 0 {
			i := s.random.IntN(len(s.under[r.name]))
			back := s.under[r.name][i]
			s.under[r.name] = slices.Delete(s.under[r.name], i, i+1)
			r.sender.settle(back, s.clock)
		}
		if s.random.IntN(6) == 0 {
			_ = r.sender.writeLines()
		}
	}
}

func (s *sim) askAll() {
	for _, r := range s.feed.receivers {
		before := r.status().Uncertain
		s.uncertain += int(before)
		s.checkHours(r)
		_ = r.sender.ask(context.Background())
		s.asked += int(before - r.status().Uncertain)
	}
}

// settle lets everything come to rest: hours seal, billers tell the truth, a person settles what no one can be asked about.
func (s *sim) settle() error {
	s.clock = s.clock.Add(3 * time.Hour)
	for h := range s.books.totals {
		s.books.seal(h)
	}
	for round := range 400 {
		s.clock = s.clock.Add(time.Hour)
		s.survive(func() {
			for _, r := range s.feed.receivers {
				if err := r.planNow(context.Background()); err != nil {
					s.t.Fatal(err)
				}
			}
			s.send()
			s.askAll()
		})
		if round%10 == 9 {
			s.person()
		}
		if s.quiet() {
			break
		}
	}
	if !s.quiet() {
		all, _ := s.feed.StatusNow(true)
		return fmt.Errorf("it does not come to rest: %+v", all)
	}
	for _, r := range s.feed.receivers {
		if err := r.sender.writeLines(); err != nil {
			return err
		}
	}
	return s.check()
}

// person looks into the biller and says of each letter what is true.
func (s *sim) person() {
	for _, r := range s.feed.receivers {
		b := s.billers[r.name]
		if _, err := r.sender.settleLetters(Selection{}, func(l *Letter) settlement {
			if b.times[l.Record.ID] > 0 {
				return wasDelivered
			}
			return sendAgain
		}); err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *sim) quiet() bool {
	all, err := s.feed.StatusNow(false)
	if err != nil {
		return false
	}
	for _, st := range all {
		if st.Pending > 0 || st.Dead > 0 || st.Uncertain > 0 || st.Hours > 0 || len(s.under[st.Receiver]) > 0 {
			return false
		}
	}
	return true
}

func (s *sim) check() error {
	for _, r := range s.feed.receivers {
		b := s.billers[r.name]
		if len(b.twice) > 0 {
			return fmt.Errorf("%s counted %s twice", r.name, b.twice)
		}
		lines, err := s.checkLines(r)
		if err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
		if err := s.checkBilled(r, b, lines); err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
		if err := s.feed.Reconcile(context.Background(), Reconciliation{Receiver: r.name, To: usage.MicrosOf(s.clock).Hour() + 1, Ask: true}, func(c *Comparison) error {
			if !c.Equal {
				return fmt.Errorf("reconcile says of what is right: %+v", c)
			}
			return nil
		}); err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
	}
	return nil
}

// checkLines compares the lines of what was delivered with the totals of every hour.
func (s *sim) checkLines(r *receiver) (values map[account]*big.Int, err error) {
	values = map[account]*big.Int{}
	ids := map[string]bool{}
	sums := map[string]*big.Int{} // customer, meter, hour
	if err := (Lines{Directory: s.dir, Receiver: r.name, Writer: "main"}).Each(func(record *Record) error {
		if ids[record.ID] {
			return fmt.Errorf("%s has two lines", record.ID)
		}
		ids[record.ID] = true
		if record.Revision > 1 {
			s.revised++
		}
		if record.Value[0] == '-' {
			s.negative++
		}
		value, _ := parseDecimal(record.Value, valuePlaces)
		addTo(values, accountOf(record), value)
		quantity, _ := parseDecimal(record.Quantity, usage.QuantityScale)
		if record.Meter != "spend" {
			addTo(sums, record.Customer+" "+record.Hour, quantity)
		}
		return nil
	}); err != nil {
		return nil, err
	}
	for h := range s.books.totals {
		for _, c := range simCustomers {
			want := new(big.Int)
			for _, m := range simMeters {
				want.Add(want, s.books.sum(h, c, m, ValueQuantity).Big())
			}
			got := sums[c+" "+hourText(h)]
			if got == nil {
				got = new(big.Int)
			}
			if got.Cmp(want) != 0 {
				return nil, fmt.Errorf("lines of customer %s in %s say %s, the ledger %s", c, hourText(h), decimalText(got, 6), decimalText(want, 6))
			}
		}
	}
	return values, nil
}

func addTo[K comparable](sums map[K]*big.Int, k K, n *big.Int) {
	if sums[k] == nil {
		sums[k] = new(big.Int)
	}
	sums[k].Add(sums[k], n)
}

// checkBilled compares what a biller has with the lines, in every hour, and with the totals less what is carried.
func (s *sim) checkBilled(r *receiver, b *simBiller, lines map[account]*big.Int) error {
	for a := range lines {
		has := b.has[a]
		if has == nil {
			has = new(big.Int)
		}
		if has.Cmp(lines[a]) != 0 {
			return fmt.Errorf("%+v: the biller has %s, the lines say %s", a, decimalText(has, valuePlaces), decimalText(lines[a], valuePlaces))
		}
	}
	for a := range b.has {
		if lines[a] == nil {
			return fmt.Errorf("%+v: the biller has it and no line says so", a)
		}
	}
	carried := map[string]*big.Int{}
	if err := scanPrefix(simView{s.books}, receiverKey(keyCarry, r.planned.Number), func(key, value []byte) error {
		var c carry
		if err := readJSON(key, value, &c); err != nil {
			return err
		}
		n, err := c.amount(scaleOf(c.Value))
		addTo(carried, c.Customer+" "+c.Meter, n)
		return err
	}); err != nil {
		return err
	}
	billed := map[string]*big.Int{}
	for _, a := range slices.Collect(maps.Keys(b.has)) {
		for i := range r.spec.Mapping.Meters {
			m := &r.spec.Mapping.Meters[i]
			if m.Name != "" && m.Name != a.meter {
				continue
			}
			// In the sum's smallest units.
			per, _ := m.per()
			n := new(big.Int).Mul(b.has[a], per)
			addTo(billed, a.customer+" "+a.meter, n.Quo(n, new(big.Int).Exp(big.NewInt(10), big.NewInt(valuePlaces), nil)))
		}
	}
	for _, c := range simCustomers {
		for i := range r.spec.Mapping.Meters {
			m := &r.spec.Mapping.Meters[i]
			for _, name := range s.names(m) {
				want := new(big.Int)
				for _, meter := range simMeters {
					if m.Name == "" && meter != name || !matches(m.Meter, meter) {
						continue
					}
					want.Add(want, s.books.sum(-1, c, meter, m.Value).Big())
				}
				got := new(big.Int)
				for _, n := range []*big.Int{billed[c+" "+name], carried[c+" "+name]} {
					if n != nil {
						got.Add(got, n)
					}
				}
				if got.Cmp(want) != 0 {
					return fmt.Errorf("customer %s, meter %s: billed and carried are %s, the ledger has %s", c, name, got, want)
				}
			}
		}
	}
	return nil
}

func (s *sim) names(m *Meter) []string {
	if m.Name != "" {
		return []string{m.Name}
	}
	return simMeters
}

func scaleOf(value string) int {
	m := Meter{Value: value}
	return m.scale()
}
