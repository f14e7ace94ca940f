package dedupeprocessor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/processor/processortest"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"pgregory.net/rapid"

	"github.com/usagebox/otelcol-usagebox/processor/dedupeprocessor/internal/index"
	"github.com/usagebox/otelcol-usagebox/processor/dedupeprocessor/internal/metadata"
	"github.com/usagebox/otelcol-usagebox/processor/dedupeprocessor/internal/metadatatest"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// world is a processor on a disk of memory, which can lose power, before a ledger.
type world struct {
	d         *dedupe
	disk      *vfs.MemFS
	config    *Config
	ledger    *ledger
	now       time.Time
	telemetry *componenttest.Telemetry
	logs      *observer.ObservedLogs
}

func newWorld(dir string) *world {
	config := createDefaultConfig().(*Config)
	config.Directory = dir
	return &world{
		disk: vfs.NewCrashableMem(), config: config, ledger: &ledger{kept: map[usage.Key]usage.Payload{}},
		now: time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC), telemetry: componenttest.NewTelemetry(),
	}
}

func (w *world) start() error {
	set := metadatatest.NewSettings(w.telemetry)
	core, logs := observer.New(zap.WarnLevel)
	w.logs = logs
	set.Logger = zap.New(core)
	d, err := newDedupe(set, w.config, w.ledger, func() time.Time { return w.now })
	if err != nil {
		return err
	}
	d.fs, w.d = w.disk, d
	return d.Start(context.Background(), componenttest.NewNopHost())
}

func (w *world) stop() error { return w.d.Shutdown(context.Background()) }

// crash starts anew on what would be left after a power cut.
func (w *world) crash(random *rand.Rand) error {
	left := w.disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: random.IntN(101), RNG: random})
	if err := w.stop(); err != nil {
		return err
	}
	w.disk = left
	return w.start()
}

func (w *world) send(events ...usage.Event) error {
	return w.d.ConsumeLogs(context.Background(), usage.EncodeLogs(events))
}

func (w *world) sum(name string) (n int64) {
	m, err := w.telemetry.GetMetric("otelcol_usagebox_dedupe_" + name)
	if err != nil {
		return 0
	}
	for _, p := range m.Data.(metricdata.Sum[int64]).DataPoints {
		n += p.Value
	}
	return n
}

// Whatever comes, in whatever order, with failures, restarts, power cuts and time: what the pipeline holds is the first payload of every id, an answer of
// nil means that it holds these very payloads, a refusal names exactly the others, and every record is counted once.
func TestAnswersAreTrueOverFailuresCrashesAndTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(tempDir(t))
		if err := w.start(); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = w.stop() }()
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "step") {
			case 0:
				if err := w.crash(random); err != nil {
					t.Fatal(err)
				}
			case 1:
				w.now = w.now.Add(time.Duration(rapid.IntRange(-2, 30).Draw(t, "hours")) * time.Hour)
			case 2:
				w.ledger.fail = func() error { return errors.New("not now") }
			default:
				w.step(t)
				w.ledger.fail = nil
			}
		}
		if got := w.sum("passed") + w.sum("duplicates") + w.sum("rejected") + w.sum("failed") + w.sum("foreign"); got != w.sum("received") {
			t.Fatalf("%d of %d records are accounted for", got, w.sum("received"))
		}
	})
}

func (w *world) step(t *rapid.T) {
	before := maps.Clone(w.ledger.kept)
	var batch []usage.Event
	for range rapid.IntRange(1, 6).Draw(t, "events") {
		e := event(fmt.Sprint("id", rapid.IntRange(0, 4).Draw(t, "id")), int64(rapid.SampledFrom([]int{1, 1, 1, 2}).Draw(t, "quantity")))
		e.Customer = rapid.SampledFrom([]string{"acme", "globex"}).Draw(t, "customer")
		batch = append(batch, e)
	}
	ld := usage.EncodeLogs(batch)
	events, _, err := usage.DecodeLogs(ld) // in the order of records: grouped by customer
	if err != nil {
		t.Fatal(err)
	}
	want := maps.Clone(before)
	refused := map[usage.Key]bool{}
	for i := range events {
		key := events[i].Key()
		if first, ok := want[key]; !ok {
			want[key] = events[i].Payload()
		} else if first != events[i].Payload() {
			refused[key] = true
		}
	}
	err = w.d.ConsumeLogs(context.Background(), ld)
	rejections, partly := usage.Rejected(err)
	if err != nil && !partly {
		if w.ledger.fail == nil || !maps.Equal(before, w.ledger.kept) {
			t.Fatalf("failed without a reason, or kept something: %v", err)
		}
		return
	}
	if !maps.Equal(want, w.ledger.kept) {
		t.Fatalf("the answer is %v, and of %v events the pipeline holds %v", err, len(want), len(w.ledger.kept))
	}
	got := map[usage.Key]bool{}
	for _, r := range rejections {
		got[r.Key] = true
	}
	if !maps.Equal(refused, got) || partly && !consumererror.IsPermanent(err) {
		t.Fatalf("refused %v, want %v", got, refused)
	}
}

func tempDir(t *rapid.T) string {
	dir, err := os.MkdirTemp("", "dedupe")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// A correction must not overtake the event that it is about.
func TestWhatFollowsAnEventThatIsOnItsWayStaysBehindIt(t *testing.T) {
	r := newRig(t)
	var order []string
	r.ledger.stall = make(chan struct{})
	next := r.d.next
	r.d.next = consumerFunc(func(ld plog.Logs) error {
		events, _, err := usage.DecodeLogs(ld)
		if err != nil {
			return err
		}
		if err := next.ConsumeLogs(context.Background(), ld); err != nil {
			return err
		}
		r.ledger.mu.Lock()
		defer r.ledger.mu.Unlock()
		for i := range events {
			order = append(order, events[i].ID)
		}
		return nil
	})
	first := make(chan error, 1)
	go func() { first <- r.send(event("a", 1)) }()
	inFlight(t, r.d, event("a", 1))
	second := make(chan error, 1)
	go func() { second <- r.send(event("before", 1), event("a", 1), event("about-a", 1)) }()
	inFlight(t, r.d, event("before", 1))
	r.ledger.stall <- struct{}{}
	close(r.ledger.stall)
	if err := errors.Join(<-first, <-second); err != nil {
		t.Fatal(err)
	}
	if i, j := slices.Index(order, "a"), slices.Index(order, "about-a"); i < 0 || j < i || len(order) != 3 {
		t.Fatalf("%v", order)
	}
}

// inFlight waits until an event is on its way.
func inFlight(t *testing.T, d *dedupe, e usage.Event) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		d.mu.Lock()
		_, ok := d.flights[index.HashOf(e.Key())]
		d.mu.Unlock()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is not on its way", e.ID)
		}
	}
}

func TestASenderThatGivesUpWaitingIsToldToSendAgain(t *testing.T) {
	r := newRig(t)
	r.ledger.stall = make(chan struct{})
	first := make(chan error, 1)
	go func() { first <- r.send(event("a", 1)) }()
	inFlight(t, r.d, event("a", 1))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.d.ConsumeLogs(ctx, usage.EncodeLogs([]usage.Event{event("a", 1)})); !errors.Is(err, context.Canceled) || consumererror.IsPermanent(err) {
		t.Fatal(err)
	}
	close(r.ledger.stall)
	if err := <-first; err != nil {
		t.Fatal(err)
	}
}

func TestARefusedEventIsNotRememberedAsTaken(t *testing.T) {
	r := newRig(t)
	refusal := consumererror.NewPermanent(&usage.RejectedError{Rejections: []usage.Rejection{{Key: keyOf(event("bad", 1)), Reason: usage.ReasonUnknownTarget}}})
	next := r.d.next
	r.d.next = consumerFunc(func(plog.Logs) error { return refusal })
	if err := r.send(event("bad", 1), event("good", 1)); err != refusal { //nolint:errorlint // it must be the very same
		t.Fatal(err)
	}
	r.d.next = next
	if err := r.send(event("bad", 1), event("good", 1)); err != nil {
		t.Fatal(err)
	}
	if r.ledger.came != 1 {
		t.Fatalf("%d events came through: the refused one alone should", r.ledger.came)
	}
}

func keyOf(e usage.Event) usage.Key { return e.Key() }

func TestRefusalsOfAllPiecesOfABatchAreTold(t *testing.T) {
	a := consumererror.NewPermanent(&usage.RejectedError{Rejections: []usage.Rejection{{Key: keyOf(event("a", 1))}}})
	b := consumererror.NewPermanent(fmt.Errorf("foreign: %w", &usage.RejectedError{Rejections: []usage.Rejection{{Key: keyOf(event("b", 1))}}}))
	err := together([]error{a, b})
	rejections, ok := usage.Rejected(err)
	if !ok || len(rejections) != 2 || !consumererror.IsPermanent(err) || !strings.Contains(err.Error(), "foreign") {
		t.Fatal(err)
	}
	if together(nil) != nil || together([]error{b}) != b { //nolint:errorlint // it must be the very same
		t.Fatal("one refusal is passed back as it is")
	}
}

// Beyond max_disk the oldest events are forgotten first.
func TestTheIndexIsBounded(t *testing.T) {
	w := newWorld(t.TempDir())
	w.config.MaxDisk = 100 * index.BytesPerEntry
	if err := w.start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.stop() }()
	for i := range 100 {
		if err := w.send(event(fmt.Sprint(i*2), 1), event(fmt.Sprint(i*2+1), 1)); err != nil {
			t.Fatal(err)
		}
	}
	if w.sum("evicted") < 100 {
		t.Fatalf("%d were forgotten early", w.sum("evicted"))
	}
	came := w.ledger.came
	if err := w.send(event("199", 1), event("0", 1)); err != nil || w.ledger.came != came+1 {
		t.Fatalf("%v, %d came through: the oldest alone should", err, w.ledger.came-came)
	}
}

func TestConflictsAreLoggedSeldom(t *testing.T) {
	w := newWorld(t.TempDir())
	if err := w.start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.stop() }()
	if err := w.send(event("a", 1)); err != nil {
		t.Fatal(err)
	}
	for range 50 {
		if err := w.send(event("a", 2)); err == nil {
			t.Fatal("a conflict was taken")
		}
	}
	w.now = w.now.Add(time.Minute)
	if err := w.send(event("a", 2)); err == nil {
		t.Fatal("a conflict was taken")
	}
	entries := w.logs.FilterMessageSnippet("another payload").All()
	if len(entries) != 2 || entries[1].ContextMap()["others_before"] != int64(49) || w.sum("conflicts") != 51 {
		t.Fatalf("%d lines, %d conflicts", len(entries), w.sum("conflicts"))
	}
}

func TestADirectoryThatAnotherProcessorHasIsNotOpened(t *testing.T) {
	r := newRig(t)
	other, err := createLogs(t.Context(), processortest.NewNopSettings(metadata.Type), r.config, r.ledger)
	if err != nil {
		t.Fatal(err)
	}
	err = other.Start(t.Context(), componenttest.NewNopHost())
	if err == nil || !strings.Contains(err.Error(), "is in use") {
		t.Fatal(err)
	}
	if err := other.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
}
