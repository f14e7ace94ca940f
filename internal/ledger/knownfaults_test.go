package ledger

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/usagebox/otelcol-usagebox/internal/ledger/parquetfile"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// What other ledgers of usage got wrong, by the numbers of a list of such faults. Those about periods and queries are where these are.

func TestKnownFault01UsageAfterTheSealEntersTheSums(t *testing.T) {
	h := newHarness(t)
	h.accept(event("acme", "1", 10, testTime))
	h.sealAll()
	r := h.append(event("acme", "2", 5, testTime))
	if r.Late != 1 {
		t.Fatalf("%+v, want one late event", r)
	}
	h.flush()
	h.wantTotal("acme", "15")
	h.wantStored("acme", "15")
	h.sealAll()
	h.wantTotal("acme", "15")
	h.wantStored("acme", "15")
	for _, e := range h.reader().events() {
		if late := e.HasFlag(usage.FlagLate); late != (e.ID == "2") {
			t.Errorf("event %s has the flags %v", e.ID, e.Flags)
		}
	}
}

// wantStored compares the totals in the store.
func (h *harness) wantStored(customer, want string) {
	h.t.Helper()
	var got string
	if err := h.Totals(usage.MicrosOf(testTime).Hour(), customer, func(r *parquetfile.RollupRow) error {
		got = string(r.Quantity.Append(nil, usage.QuantityScale))
		return nil
	}); err != nil {
		h.t.Fatal(err)
	}
	if got != want {
		h.t.Fatalf("the store has %q for %s, want %s", got, customer, want)
	}
}

func (r reader) events() (all []usage.Event) {
	r.t.Helper()
	for _, path := range r.files(treeEvents) {
		file, size := r.open(path)
		events, err := readEvents(file, size)
		file.Close()
		if err != nil {
			r.t.Fatal(err)
		}
		all = append(all, events...)
	}
	return all
}

func TestKnownFault02ACorrectionIsCountedOnceBeforeAndAfterTheSeal(t *testing.T) {
	h := newHarness(t)
	h.accept(event("acme", "1", 10, testTime))
	h.accept(correction("acme", "c", "1", -4, testTime))
	h.flush()
	h.wantTotal("acme", "6")
	h.sealAll()
	h.wantTotal("acme", "6")
	h.duplicate(correction("acme", "c", "1", -4, testTime))
	h.restart()
	h.sealAll()
	h.wantTotal("acme", "6")
}

func TestKnownFault07LateUsageIsTakenOrRefusedAndNeverBoth(t *testing.T) {
	h := newHarness(t)
	h.accept(event("acme", "1", 10, testTime))
	h.sealAll()
	bad := event("acme", "2", 5, testTime)
	bad.Lines[0].Quantity = -1
	h.reject(usage.ReasonNegativeQuantity, bad)
	h.accept(event("acme", "2", 5, testTime))
	h.sealAll()
	h.wantTotal("acme", "15")
}

func TestKnownFault08AMissingPartStopsTheSealAndIsNamed(t *testing.T) {
	h := newHarness(t)
	h.accept(event("acme", "1", 10, testTime))
	h.flush()
	h.accept(event("acme", "2", 5, testTime))
	h.flush()
	lost := h.reader().files(treeRollups)[0]
	kept, err := os.ReadFile(lost)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(lost); err != nil {
		t.Fatal(err)
	}
	h.clock.now = h.clock.now.Add(2 * time.Hour)
	var corrupt *CorruptError
	if err := h.Seal(context.Background()); !errors.As(err, &corrupt) || !strings.Contains(err.Error(), "rollups") {
		t.Fatalf("got %v, want the missing part", err)
	}
	if err := os.WriteFile(lost, kept, 0o600); err != nil {
		t.Fatal(err)
	}
	h.seal()
	h.wantTotal("acme", "15")
}

func TestKnownFault09CorrectionsAreCheckedAgainstTheirTarget(t *testing.T) {
	for _, sealed := range []bool{false, true} {
		h := newHarness(t, func(o *Options) { o.CorrectionWait = 0 })
		h.accept(event("acme", "1", 10, testTime), event("other", "2", 10, testTime))
		if sealed {
			h.sealAll()
		}
		other := correction("acme", "c", "1", 1, testTime)
		other.Lines = []usage.Line{{Meter: "llm_tokens_out", Unit: "token", Quantity: usage.Units(1)}}
		feature := correction("acme", "c", "1", 1, testTime)
		feature.Feature = "search"
		h.reject(usage.ReasonUnknownTarget, correction("acme", "c", "3", 1, testTime))
		h.reject(usage.ReasonUnknownTarget, correction("acme", "c", "2", 1, testTime)) // another customer's
		h.reject(usage.ReasonInvalidTarget, other)
		h.reject(usage.ReasonInvalidTarget, feature)
		h.reject(usage.ReasonExceedsTarget, correction("acme", "c", "1", -11, testTime))
		h.accept(correction("acme", "c", "1", -10, testTime))
		h.reject(usage.ReasonExceedsTarget, correction("acme", "c2", "1", -1, testTime))
		h.accept(retraction("acme", "r", "1", testTime))
		h.reject(usage.ReasonAlreadyRetracted, retraction("acme", "r2", "1", testTime))
		h.flush()
		h.wantTotal("acme", "0")
		if files := h.reader().files(treeRefused); len(files) == 0 {
			t.Fatal("refused/ has nothing")
		}
	}
}

func TestKnownFault10AnIdIsKnownForEverAndOnlyWithinItsCustomer(t *testing.T) {
	h := newHarness(t)
	h.accept(event("acme", "1", 10, testTime), event("other", "1", 3, testTime))
	h.sealAll()
	h.clock.now = h.clock.now.Add(400 * 24 * time.Hour)
	h.restart()
	h.duplicate(event("acme", "1", 10, testTime), event("other", "1", 3, testTime))
	h.reject(usage.ReasonConflict, event("acme", "1", 10, testTime.Add(48*time.Hour)))
	h.sealAll()
	h.wantTotal("acme", "10")
	h.wantTotal("other", "3")
}

func TestKnownFault11ARoundThatFailsAnywhereIsDoneAgainExactly(t *testing.T) {
	for _, round := range []string{"ingest", "flush", "seal"} {
		for n := 0; n < simOperations; n += 7 {
			steps := simEveryOperation(round, n, 0)
			for i := range steps {
				if f := steps[i].Fault; f != nil {
					f.Kind = "error"
				}
			}
			if _, err := simulate(steps, 0); err != nil {
				t.Fatalf("error at operation %d of %s: %v", n, round, err)
			}
		}
	}
}

func TestKnownFault13OneBadEventDoesNotFailItsBatch(t *testing.T) {
	h := newHarness(t)
	bad := event("acme", "bad", 1, testTime)
	bad.Lines = nil
	r := h.append(event("acme", "1", 1, testTime), bad, event("acme", "2", 2, testTime))
	if r.Accepted != 2 || len(r.Rejections) != 1 || r.Rejections[0].ID != "bad" || r.Rejections[0].Reason != usage.ReasonMissingField {
		t.Fatalf("%+v", r)
	}
	h.flush()
	h.wantTotal("acme", "3")
}

func TestWhatWasRefusedIsShownWithItsReason(t *testing.T) {
	h := newHarness(t)
	e := event("acme", "1", 1, testTime)
	h.accept(e)
	e.Lines = []usage.Line{{Meter: "llm_tokens_in", Unit: "token", Quantity: usage.Units(2)}}
	h.reject(usage.ReasonConflict, e)
	if err := h.Refuse(t.Context(), []usage.Refusal{{Event: event("acme", "2", 3, testTime), Reason: usage.ReasonInvalidQuantity, Detail: "too many digits"}}); err != nil {
		t.Fatal(err)
	}
	timeless := event("acme", "3", 3, testTime)
	timeless.Timestamp = 0
	if err := h.Refuse(t.Context(), []usage.Refusal{{Event: timeless, Reason: usage.ReasonMissingField, Detail: "timestamp is missing"}}); err != nil {
		t.Fatal(err)
	}
	h.restart()
	h.flush()
	var rows []parquetfile.RefusedRow
	for _, path := range h.reader().files(treeRefused) {
		if !strings.Contains(path, "date=2026-05-16") {
			t.Error(path, "is not of the day of arrival")
		}
		file, size := h.reader().open(path)
		if err := parquetfile.ReadRefused(file, size, func(r *parquetfile.RefusedRow) error { rows = append(rows, *r); return nil }); err != nil {
			t.Fatal(err)
		}
		file.Close()
	}
	if len(rows) != 3 || strings.Contains(rows[2].Payload, `"timestamp"`) || !strings.Contains(rows[1].Payload, `"timestamp":"2026-05-16T`) || rows[1].Reason != usage.ReasonInvalidQuantity || rows[1].Customer != "acme" || rows[1].EventID != "2" || !strings.Contains(rows[1].Payload, "too many digits") {
		t.Fatalf("%+v", rows)
	}
	if rows[0].Reason != usage.ReasonConflict || rows[0].EventID != "1" || !strings.Contains(rows[0].Payload, `"quantity":"2"`) {
		t.Fatalf("%+v", rows)
	}
}

func TestACorrectionWaitsForItsTargetAndIsRefusedAfterAll(t *testing.T) {
	h := newHarness(t)
	c := correction("acme", "c", "1", -1, testTime)
	h.accept(c)
	if n := h.Stats().WaitingCorrections; n != 1 {
		t.Fatalf("%d wait", n)
	}
	h.restart()
	h.duplicate(c)
	h.clock.now = h.clock.now.Add(25 * time.Hour)
	if err := h.Expire(); err != nil {
		t.Fatal(err)
	}
	if n := h.Stats().WaitingCorrections; n != 0 {
		t.Fatalf("%d wait", n)
	}
	h.accept(event("acme", "1", 5, testTime))
	h.accept(c) // it was never counted: now its target is there
	h.flush()
	h.wantTotal("acme", "4")
}

func TestWhatWaitsIsAppliedInTheOrderInWhichItCame(t *testing.T) {
	h := newHarness(t)
	for i := range 8 { // in half of them the digests are in the other order
		id := strconv.Itoa(i)
		h.accept(correction("acme", "more"+id, id, 10, testTime))
		if i%2 == 0 {
			h.restart()
		}
		h.accept(correction("acme", "less"+id, id, -12, testTime)) // in the same microsecond
	}
	for i := range 8 {
		h.accept(event("acme", strconv.Itoa(i), 5, testTime))
	}
	h.flush()
	h.wantTotal("acme", "24")
}

func TestAnHourIsSealedInPiecesOfBoundedSize(t *testing.T) {
	h := newHarness(t, func(o *Options) { o.SealBytes = 2 << 10 })
	var want int64
	for i := range 40 {
		h.accept(event("acme", strings.Repeat("x", i+1), int64(i), testTime))
		want += int64(i)
		h.seal() // the hour is not over
	}
	h.wantTotal("acme", usage.Units(want).String())
	if st := h.Stats(); st.ChainRecords == 0 || st.OpenBytes > 4<<10 {
		t.Fatalf("%+v: the hour is not sealed in pieces", st)
	}
	h.duplicate(event("acme", "x", 0, testTime))
	h.sealAll()
	h.wantTotal("acme", usage.Units(want).String())
	if n := h.Stats().OpenEvents; n != 0 {
		t.Fatalf("%d events are open", n)
	}
}

func TestWhereFoldersCantBeExchangedPartsAreSealedAsTheyAre(t *testing.T) {
	world := newSimWorld(0)
	world.fs.cannotExchange = true
	must(world.open())
	must(world.append(event("acme", "1", 1, testTime)))
	must(world.flush())
	must(world.append(event("acme", "2", 2, testTime)))
	if err := world.settled(); err != nil {
		t.Fatal(err)
	}
	st, err := world.ledger.StatusNow()
	if err != nil || !st.NoExchange || st.Chain.Records != 3 { // two parts, and their day
		t.Fatalf("%+v, %v", st, err)
	}
	must(world.ledger.Close())
}

func TestAClockThatJumpsNeitherLosesNorDoubles(t *testing.T) {
	h := newHarness(t)
	h.accept(event("acme", "1", 1, testTime))
	h.clock.now = h.clock.now.Add(365 * 24 * time.Hour)
	h.seal()
	h.clock.now = testTime.Add(-48 * time.Hour)
	h.duplicate(event("acme", "1", 1, testTime))
	h.accept(event("acme", "2", 2, testTime))
	h.flush()
	h.wantTotal("acme", "3")
	h.sealAll() // two hours after a time before the hour
	h.clock.now = testTime.Add(2 * time.Hour)
	h.seal()
	h.wantTotal("acme", "3")
	if n := h.Stats().OpenEvents; n != 0 {
		t.Fatalf("%d events are open", n)
	}
}

func TestADirectoryWithoutItsStateIsNotTakenOver(t *testing.T) {
	h := newHarness(t)
	h.accept(event("acme", "1", 1, testTime))
	h.flush()
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(h.paths.state()); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(h.o); err == nil || !strings.Contains(err.Error(), "set another writer_id") {
		t.Fatalf("got %v", err)
	}
	h.o.WriterID = "second"
	h.open()
	h.wantTotal("acme", "1")
}

func TestADirectoryOfAnotherVersionIsRefused(t *testing.T) {
	for version, help := range map[uint64]string{stateVersion + 1: "run the newer program", oldestVersion - 1: "run the program that wrote it"} {
		h := newHarness(t)
		b := h.state.store.db.NewBatch()
		must(setNumber(b, metaVersion, version))
		must(h.state.store.commit(b))
		must(h.Close())
		if _, err := Open(h.o); err == nil || !strings.Contains(err.Error(), help) {
			t.Fatalf("got %v", err)
		}
		h.o.Directory = t.TempDir()
		h.open()
	}
}

func TestAMonthOfHoursStaysReadableInOrderOfChanges(t *testing.T) {
	h := newHarness(t)
	for i := range 24 {
		h.accept(event("acme", string(rune('a'+i)), 1, testTime.Add(-time.Duration(i)*time.Hour)))
	}
	h.flush()
	h.accept(event("acme", "again", 1, testTime.Add(-5*time.Hour)))
	h.flush()
	var hours []usage.Hour
	var after uint64
	for {
		changes, err := h.Changes(after, 7)
		if err != nil {
			t.Fatal(err)
		}
		if len(changes) == 0 {
			break
		}
		for _, c := range changes {
			hours = append(hours, c.Hour)
			after = c.Change
		}
	}
	if len(hours) != 24 || hours[23] != usage.MicrosOf(testTime.Add(-5*time.Hour)).Hour() {
		t.Fatalf("%d hours, the last %d", len(hours), hours[len(hours)-1])
	}
	slices.Sort(hours)
	if len(slices.Compact(hours)) != 24 {
		t.Fatal("an hour is there twice")
	}
}

func TestRollupsMayBeGroupedOtherwiseFromOneStartToTheNext(t *testing.T) {
	h := newHarness(t)
	send := func(id string) {
		for _, user := range []string{"ann", "ben"} {
			e := event("acme", id+user, 1, testTime)
			e.UserID = user
			h.accept(e)
		}
		h.flush()
	}
	send("1")
	h.o.RollupDimensions = []string{"model", "user_id"}
	h.restart()
	send("2")
	h.o.RollupDimensions = nil
	h.restart()
	send("3")
	h.wantTotal("acme", "6")
	h.wantStored("acme", "6")
	h.sealAll()
	h.wantTotal("acme", "6")
}

func TestPartsOfAnOpenHourStayFewAndMakeOneSealedPart(t *testing.T) {
	h := newHarness(t, func(o *Options) { o.maxParts = 4 })
	most := 0
	for i := range 60 {
		h.accept(event("acme", strings.Repeat("y", i+1), 1, testTime))
		h.seal() // the hour is not over
		most = max(most, len(h.reader().files(treeEvents)))
		h.wantTotal("acme", usage.Units(int64(i+1)).String())
		if i == 30 {
			h.restart()
		}
	}
	if most > 12 {
		t.Errorf("there were %d parts at once", most)
	}
	if n := h.Stats().ChainRecords; n != 0 {
		t.Errorf("%d parts were sealed before their time", n)
	}
	h.sealAll()
	h.wantTotal("acme", "60")
	if n := len(h.reader().files(treeEvents)); n != 1 {
		t.Errorf("%d sealed parts, want one", n)
	}
}

func TestKnownFault05UsageThatComesWhileItsHourIsSealedIsCountedOnce(t *testing.T) {
	h := newHarness(t)
	const senders, batches = 3, 40
	h.accept(event("acme", "first", 1, testTime))
	h.flush()
	h.clock.now = h.clock.now.Add(2 * time.Hour)
	var sending sync.WaitGroup
	for s := range senders {
		sending.Go(func() {
			for n := range batches {
				h.accept(event("acme", fmt.Sprint(s, "-", n), 1, testTime))
			}
		})
	}
	done := make(chan struct{})
	go func() { sending.Wait(); close(done) }()
	for sealing := true; sealing; {
		select {
		case <-done:
			sealing = false
		default:
		}
		h.seal()
	}
	h.flush()
	h.wantTotal("acme", fmt.Sprint(1+senders*batches))
	h.wantStored("acme", fmt.Sprint(1+senders*batches))
	h.sealAll()
	h.wantTotal("acme", fmt.Sprint(1+senders*batches))
	if n := h.Stats().OpenEvents; n != 0 {
		t.Errorf("%d events are open after all was sealed", n)
	}
}

func TestKnownFault05AnHourThatGoesOnIsNotSealed(t *testing.T) {
	h := newHarness(t)
	h.accept(event("acme", "1", 1, testTime))
	h.clock.now = testTime.Truncate(time.Hour).Add(time.Hour + h.o.SealAfter - time.Microsecond)
	h.seal()
	if n := h.Stats().OpenEvents; n != 1 {
		t.Errorf("%d events are open before the seal is due", n)
	}
}
