package dedupeprocessor

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/processor/processortest"

	"github.com/usagebox/otelcol-usagebox/processor/dedupeprocessor/internal/metadata"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// ledger is the rest of the pipeline: first payload wins, others are conflicts, and it fails on demand.
type ledger struct {
	mu    sync.Mutex
	kept  map[usage.Key]usage.Payload
	came  int
	fail  func() error
	stall chan struct{} // a call waits for it
}

func (*ledger) Capabilities() consumer.Capabilities { return consumer.Capabilities{} }

func (l *ledger) ConsumeLogs(_ context.Context, ld plog.Logs) error {
	if l.stall != nil {
		<-l.stall
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil {
		if err := l.fail(); err != nil {
			return err
		}
	}
	events, _, err := usage.DecodeLogs(ld)
	if err != nil {
		return err
	}
	var rejected usage.RejectedError
	for i := range events {
		l.came++
		key, payload := events[i].Key(), events[i].Payload()
		if before, ok := l.kept[key]; ok && before != payload {
			rejected.Rejections = append(rejected.Rejections, usage.Rejection{Key: key, Payload: payload, Reason: usage.ReasonConflict})
			continue
		}
		l.kept[key] = payload
	}
	if len(rejected.Rejections) > 0 {
		return consumererror.NewPermanent(&rejected)
	}
	return nil
}

type rig struct {
	t      *testing.T
	d      *dedupe
	ledger *ledger
	config *Config
	now    time.Time
}

func newRig(t *testing.T) *rig {
	t.Helper()
	config := createDefaultConfig().(*Config)
	config.Directory = t.TempDir()
	r := &rig{t: t, config: config, ledger: &ledger{kept: map[usage.Key]usage.Payload{}}, now: time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)}
	r.start()
	return r
}

func (r *rig) start() {
	r.t.Helper()
	p, err := createLogs(r.t.Context(), processortest.NewNopSettings(metadata.Type), r.config, r.ledger)
	if err != nil {
		r.t.Fatal(err)
	}
	r.d = p.(*dedupe)
	r.d.now = func() time.Time { return r.now }
	if err := r.d.Start(r.t.Context(), componenttest.NewNopHost()); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = r.d.Shutdown(context.Background()) })
}

func (r *rig) restart() {
	if err := r.d.Shutdown(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	r.start()
}

func event(id string, quantity int64) usage.Event {
	e := usage.Event{ID: id, Customer: "acme", Timestamp: 1_700_000_000_000_000, Lines: []usage.Line{{Meter: "m", Quantity: usage.Units(quantity)}}}
	e.Normalize()
	return e
}

func (r *rig) send(events ...usage.Event) error {
	return r.d.ConsumeLogs(context.Background(), usage.EncodeLogs(events))
}

func TestACopyIsDroppedAndCountsAsTaken(t *testing.T) {
	r := newRig(t)
	for range 10 {
		if err := r.send(event("a", 1), event("a", 1), event("b", 2)); err != nil {
			t.Fatal(err)
		}
	}
	if r.ledger.came != 2 || len(r.ledger.kept) != 2 {
		t.Fatalf("%d events came through", r.ledger.came)
	}
}

func TestAFailedWriteAndARetryGiveOneEvent(t *testing.T) {
	r := newRig(t)
	r.ledger.fail = func() error { return errors.New("the disk is full") }
	if err := r.send(event("a", 1)); err == nil || consumererror.IsPermanent(err) {
		t.Fatal(err)
	}
	r.ledger.fail = nil
	if err := r.send(event("a", 1)); err != nil {
		t.Fatal(err)
	}
	if len(r.ledger.kept) != 1 {
		t.Fatal("the retry was dropped")
	}
}

func TestAnotherPayloadIsAConflictThatTheSenderLearns(t *testing.T) {
	r := newRig(t)
	if err := r.send(event("a", 1)); err != nil {
		t.Fatal(err)
	}
	err := r.send(event("a", 2), event("b", 1), event("a", 1))
	rejections, ok := usage.Rejected(err)
	if !ok || !consumererror.IsPermanent(err) || len(rejections) != 1 || rejections[0].ID != "a" || rejections[0].Reason != usage.ReasonConflict {
		t.Fatalf("%v", err)
	}
	if err := r.send(event("a", 2)); err == nil {
		t.Fatal("a conflict was remembered as taken")
	}
	if err := r.send(event("a", 1), event("b", 1)); err != nil {
		t.Fatal(err)
	}
}

func TestTwoCustomersMayUseOneID(t *testing.T) {
	r := newRig(t)
	other := event("a", 5)
	other.Customer = "globex"
	if err := r.send(event("a", 1), other); err != nil {
		t.Fatal(err)
	}
	if len(r.ledger.kept) != 2 {
		t.Fatalf("%v", r.ledger.kept)
	}
}

func TestACopyThatIsOnItsWayIsWaitedFor(t *testing.T) {
	for name, fail := range map[string]error{"taken": nil, "failed": errors.New("no")} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.ledger.stall = make(chan struct{})
			first := fail
			r.ledger.fail = func() error { err := first; first = nil; return err }
			answers := make(chan error, 2)
			go func() { answers <- r.send(event("a", 1)) }()
			go func() { answers <- r.send(event("a", 1), event("b", 1)) }()
			r.ledger.stall <- struct{}{}
			close(r.ledger.stall)
			var failed int
			for range 2 {
				if err := <-answers; err != nil {
					failed++
				}
			}
			if want := map[bool]int{true: 1, false: 0}[fail != nil]; failed != want {
				t.Fatalf("%d senders were told to send again, want %d", failed, want)
			}
			if fail == nil && r.ledger.came != 2 {
				t.Fatalf("%d events came through", r.ledger.came)
			}
		})
	}
}

func TestWhatIsForgottenGoesToTheLedger(t *testing.T) {
	r := newRig(t)
	if err := r.send(event("a", 1)); err != nil {
		t.Fatal(err)
	}
	r.restart()
	r.now = r.now.Add(23 * time.Hour)
	if err := r.send(event("a", 1)); err != nil || r.ledger.came != 1 {
		t.Fatalf("within the window: %v, %d came through", err, r.ledger.came)
	}
	r.now = r.now.Add(10 * time.Hour)
	if err := r.send(event("a", 1)); err != nil || r.ledger.came != 2 {
		t.Fatalf("beyond the window: %v, %d came through", err, r.ledger.came)
	}
}

func TestRecordsOfSomethingElsePass(t *testing.T) {
	r := newRig(t)
	var passed int
	r.ledger.fail = func() error { return nil }
	ld := usage.EncodeLogs([]usage.Event{event("a", 1)})
	ld.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().AppendEmpty().Body().SetStr("a line of a log")
	next := r.d.next
	r.d.next = consumerFunc(func(ld plog.Logs) error { passed = ld.LogRecordCount(); return nil })
	defer func() { r.d.next = next }()
	if err := r.d.ConsumeLogs(t.Context(), ld); err != nil || passed != 2 {
		t.Fatal(err, passed)
	}
}

func TestRefusalsOnTheirWayToTheLedgerPass(t *testing.T) {
	r := newRig(t)
	if err := r.send(event("a", 1)); err != nil {
		t.Fatal(err)
	}
	ld := usage.EncodeLogs([]usage.Event{event("a", 1)})
	usage.EncodeRefusals([]usage.Refusal{{Event: event("a", 2), Reason: usage.ReasonInvalidQuantity}}, ld)
	var passed []usage.Refusal
	r.d.next = consumerFunc(func(ld plog.Logs) error { passed = usage.DecodeRefusals(ld); return nil })
	if err := r.d.ConsumeLogs(t.Context(), ld); err != nil || len(passed) != 1 {
		t.Fatal(err, passed)
	}
}

type consumerFunc func(plog.Logs) error

func (consumerFunc) Capabilities() consumer.Capabilities                 { return consumer.Capabilities{} }
func (f consumerFunc) ConsumeLogs(_ context.Context, ld plog.Logs) error { return f(ld) }

// Many senders, each sending again until it is told that all is well, over a pipeline that fails at random: each event once, the first payload of each.
func TestSendersThatInsistGetEachEventInOnce(t *testing.T) {
	r := newRig(t)
	random := rand.New(rand.NewPCG(5, 6))
	r.ledger.fail = func() error {
		if random.IntN(3) == 0 {
			return errors.New("not now")
		}
		return nil
	}
	var senders sync.WaitGroup
	for s := range 8 {
		senders.Go(func() {
			for i := range 40 {
				batch := []usage.Event{event(fmt.Sprint("shared", i), 1), event(fmt.Sprint("own", s, "-", i), 1), event(fmt.Sprint("shared", i+1), 1)}
				for {
					if err := r.send(batch...); err == nil {
						break
					}
				}
			}
		})
	}
	senders.Wait()
	if len(r.ledger.kept) != 41+8*40 {
		t.Fatalf("%d events", len(r.ledger.kept))
	}
}

func TestConfigurationErrorsNameTheFieldAndWhatItAccepts(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"directory is empty":                 func(c *Config) { c.Directory = "" },
		"window is 1s: it must be 1m to":     func(c *Config) { c.Window = time.Second },
		"max_disk is 5 bytes: it must be at": func(c *Config) { c.MaxDisk = 5 },
		"cache_size is 0 bytes: it must be":  func(c *Config) { c.CacheSize = 0 },
	} {
		c := createDefaultConfig().(*Config)
		change(c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
