package ledger

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// append sends events until they are answered, as a sender does, and compares the verdicts.
func (w *simWorld) append(events ...usage.Event) error {
	var result Result
	var err error
	attempts := 0
	for ; attempts < simAttempts; attempts++ {
		if result, err = w.ledger.Append(context.Background(), events); err == nil {
			break
		}
		if err := w.recover(err); err != nil {
			return err
		}
	}
	if err != nil {
		return fmt.Errorf("it is not taken after the fault is over: %w", err)
	}
	w.sent = append(w.sent, events...)
	// An attempt that failed may be durable all the same. Then the last one judged again what the first refused, after what the first took.
	for range attempts + 1 {
		want := w.model.append(w.clock.now, events)
		if err = compareVerdicts(result, events, want, attempts == 0); err == nil {
			return nil
		}
	}
	return err
}

func compareVerdicts(result Result, events []usage.Event, want []string, exact bool) error {
	accepted, duplicates := 0, 0
	reasons := map[string]int{}
	for i, v := range want {
		switch v {
		case "":
			accepted++
		case "duplicate":
			duplicates++
		default:
			reasons[events[i].ID+" "+v]++
		}
	}
	for _, r := range result.Rejections {
		reasons[r.ID+" "+r.Reason]--
	}
	for k, n := range reasons {
		if n != 0 {
			return fmt.Errorf("rejections %+v, want %v (%s)", result.Rejections, want, k)
		}
	}
	if got := result.Accepted + result.Duplicates; got != accepted+duplicates || exact && result.Accepted != accepted {
		return fmt.Errorf("accepted %d, duplicates %d, want %v", result.Accepted, result.Duplicates, want)
	}
	return nil
}

func (w *simWorld) step(op string) error {
	switch op {
	case "ingest", "late", "old", "invalid", "early", "correct", "retract", "retry", "conflict":
		return w.append(w.events(op)...)
	case "waves":
		return w.waves()
	case "together":
		return w.together()
	case "flush":
		return w.flush()
	case "seal":
		return w.seal()
	case "retain":
		return w.retain()
	case "leave":
		w.clock.now = w.clock.now.Add(time.Duration(w.rng.IntN(5*60)) * time.Minute)
		return w.seal()
	case "advance":
		minutes := w.rng.IntN(100)
		if minutes%3 == 1 {
			w.night()
			return w.seal()
		}
		w.clock.now = w.clock.now.Add(time.Duration(minutes) * time.Minute)
	case "later":
		w.clock.now = w.clock.now.Add(3 * time.Hour)
	case "night":
		w.night()
	case "midnight":
		w.night()
		return w.seal()
	case "back":
		w.clock.now = w.clock.now.Add(-time.Duration(w.rng.IntN(30)) * time.Minute)
	case "expire":
		return w.expire()
	case "restart":
		return w.restart()
	case "crash":
		w.fs.kill([]int{0, 0, 50, 100}[w.rng.IntN(4)])
	}
	return nil
}

// waves are late usage of one hour, sealed again and again.
func (w *simWorld) waves() error {
	w.clock.now = maxTime(w.clock.now, testTime.Add(time.Hour))
	for range 2 + w.rng.IntN(3) {
		if err := w.append(w.events("old")...); err != nil {
			return err
		}
		if err := w.maintain((*Ledger).Flush); err != nil {
			return err
		}
		w.clock.now = w.clock.now.Add(20 * time.Minute)
		if err := w.seal(); err != nil {
			return err
		}
	}
	return nil
}

func (w *simWorld) restart() error {
	err := w.ledger.Close()
	w.ledger = nil
	if err != nil && !w.armed {
		return err
	}
	w.reboot()
	return w.open()
}

// retain lets what is old leave, from now on.
func (w *simWorld) retain() error {
	w.options.Retention = Retention{Events: 4 * time.Hour, Runs: 6 * time.Hour, Rollups: 9 * time.Hour, Daily: 40 * time.Hour}
	w.keepFrom = math.MaxInt64
	if w.rng.IntN(3) == 0 {
		w.keepFrom = usage.MicrosOf(w.clock.now).Hour() - usage.Hour(w.rng.IntN(8))
	}
	if err := w.restart(); err != nil {
		return err
	}
	return w.survive()
}

// night moves the clock on until the day is over and may be summed.
func (w *simWorld) night() {
	w.clock.now = w.clock.now.Truncate(24 * time.Hour).Add(24*time.Hour + 20*time.Minute)
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (w *simWorld) expire() error {
	var err error
	for range simAttempts {
		if err = w.ledger.Expire(); err == nil {
			w.model.expire(w.clock.now)
			return nil
		}
		if err := w.recover(err); err != nil {
			return err
		}
	}
	return err
}

// together sends from two callers at once: events that have nothing to do with each other, so that the order doesn't matter.
func (w *simWorld) together() error {
	w.arm(nil)
	a, b := w.events("ingest"), w.events("ingest")
	for i := range a {
		a[i].Customer = "left"
	}
	for i := range b {
		b[i].Customer = "right"
	}
	var wg sync.WaitGroup
	var errs [2]error
	for i, events := range [][]usage.Event{a, b} {
		wg.Add(1)
		go func() {
			defer wg.Done()
			_, errs[i] = w.ledger.Append(context.Background(), events)
		}()
	}
	wg.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}
	w.model.append(w.clock.now, a)
	w.model.append(w.clock.now, b)
	return nil
}

// events are what a step sends.
func (w *simWorld) events(op string) []usage.Event {
	events := make([]usage.Event, 0, 4)
	for range 1 + w.rng.IntN(4) {
		e := w.event(op)
		for i := range events {
			if events[i].Key() == e.Key() {
				return events // a call that contradicts itself is another test's
			}
		}
		events = append(events, e)
	}
	return events
}

func (w *simWorld) event(op string) usage.Event {
	e := w.fresh()
	switch op {
	case "late":
		e.Timestamp -= usage.Micros(w.rng.IntN(6)) * usage.MicrosPerHour
	case "old": // always of the same hour, so that it is late often
		e.Timestamp = usage.MicrosOf(testTime) - usage.Micros(w.rng.IntN(2000))*1e6
	case "invalid":
		e.Lines[0].Quantity = -1
		e.ID = "invalid" // refused whenever it comes, never known
	case "early":
		// An id that may come later, and one that never does.
		e.Corrects = fmt.Sprintf("e%d", w.rng.IntN(60))
		if w.rng.IntN(3) == 0 {
			e.Corrects = "never"
		}
		w.correct(&e)
	case "correct", "retract", "retry", "conflict":
		if len(w.sent) == 0 {
			return e
		}
		old := w.sent[w.rng.IntN(len(w.sent))]
		switch op {
		case "retry":
			return old
		case "conflict":
			old.Lines = append([]usage.Line(nil), old.Lines...)
			if len(old.Lines) > 0 {
				old.Lines[0].Quantity++
			} else {
				old.Timestamp++
			}
			if w.rng.IntN(2) == 0 {
				old = w.sentBefore(old)
				old.Timestamp += usage.MicrosPerHour
			}
			return old
		}
		e.Customer, e.Corrects = old.Customer, old.ID
		if op == "correct" {
			w.correct(&e)
			break
		}
		e.Kind, e.ID, e.Lines, e.Model, e.Feature, e.RunID = usage.KindRetraction, fmt.Sprintf("r%d", w.rng.IntN(1000)), nil, "", "", ""
	}
	e.Normalize()
	return e
}

func (w *simWorld) sentBefore(e usage.Event) usage.Event {
	for i := range w.sent {
		if w.sent[i].Key() == e.Key() {
			return w.sent[i]
		}
	}
	return e
}

func (w *simWorld) correct(e *usage.Event) {
	e.Kind, e.ID, e.RunID = usage.KindCorrection, fmt.Sprintf("c%d", w.rng.IntN(1000)), ""
	if w.rng.IntN(5) > 0 {
		e.Model, e.Feature = "", ""
	}
	for i := range e.Lines {
		if w.rng.IntN(3) > 0 {
			e.Lines[i].Quantity = -e.Lines[i].Quantity / 4
			e.Lines[i].Cost.Amount = -e.Lines[i].Cost.Amount / 4
		}
	}
}

// fresh is usage that may or may not have an id that is known.
func (w *simWorld) fresh() usage.Event {
	rng := w.rng
	e := usage.Event{
		ID: fmt.Sprintf("e%d", rng.IntN(60)), Customer: []string{"acme", "zeta", usage.Unattributed}[rng.IntN(3)],
		Timestamp: usage.MicrosOf(w.clock.now) - usage.Micros(rng.IntN(3600))*1e6,
		Model:     []string{"", "claude", "gpt"}[rng.IntN(3)], Feature: []string{"", "chat"}[rng.IntN(2)],
		RunID: []string{"", strings.Repeat("a", 32), strings.Repeat("b", 32)}[rng.IntN(3)],
	}
	if rng.IntN(20) == 0 {
		e.Timestamp = e.Timestamp.Hour().Start() // at the hour, to the microsecond
	}
	for _, meter := range []string{usage.MeterLLMRequests, usage.MeterTokensIn}[rng.IntN(2):] {
		l := usage.Line{Meter: meter, Quantity: usage.Quantity(rng.Int64N(1e9))}
		if rng.IntN(3) > 0 {
			l.Cost = usage.Charge{Amount: usage.Amount(rng.Int64N(1e12)), Currency: []string{"USD", "USD", "EUR"}[rng.IntN(3)], Rate: "v1"}
		}
		e.Lines = append(e.Lines, l)
	}
	e.Normalize()
	return e
}
