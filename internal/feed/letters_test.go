package feed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// fates gives each call the next outcome, and delivers after the last.
func fates(outcomes ...Outcome) func([]*Record) []Outcome {
	return func(records []*Record) []Outcome {
		o := Outcome{Fate: Delivered}
		if len(outcomes) > 0 {
			o, outcomes = outcomes[0], outcomes[1:]
		}
		return Fates(len(records), o)
	}
}

var (
	noAnswer = Outcome{Fate: Unknown, Err: errors.New("no answer")}
	refused  = Outcome{Fate: Refused, Reason: "archived_meter", Err: errors.New("it is archived")}
)

func TestADeadRecordThatMayBeThereIsNotSentAgainWhenItsIDIsForgotten(t *testing.T) {
	r := &scripted{limits: Limits{Batch: 1, Window: 24 * time.Hour}, send: fates(noAnswer, refused)}
	d := newDesk(t, r, nil)
	d.use("acme", 5)
	d.plan()
	d.send()
	d.clock = d.clock.Add(time.Minute)
	d.send()
	d.want("it was refused after a call without an answer", 0, 0, 1, 0)
	d.clock = d.clock.Add(48 * time.Hour)
	d.retry(Selection{Reason: "archived_meter"})
	d.send()
	d.want("it may be there, and its id is forgotten", 0, 0, 0, 1)
	d.retry(Selection{Reason: reasonForgotten}) // by one who has looked
	d.send()
	d.want("a person has looked", 0, 1, 0, 0)
	if len(r.sent) != 3 {
		t.Fatalf("%d calls", len(r.sent))
	}
}

func TestAWindowEndsBeforeACallCouldOutlastIt(t *testing.T) {
	r := &scripted{limits: Limits{Batch: 1, Window: 24 * time.Hour}, send: fates(noAnswer)}
	d := newDesk(t, r, nil)
	d.use("acme", 5)
	d.plan()
	d.send()
	d.clock = d.clock.Add(24*time.Hour - CallTimeout)
	d.send()
	d.want("the receiver might forget the id during the call", 0, 0, 0, 1)
}

func TestARefusedRecordHasItsCustomersNewNameWhenItIsSentAgain(t *testing.T) {
	names := filepath.Join(t.TempDir(), "customers.csv")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(names, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("acme,cus_wrong\nbeta,cus_beta_wrong\n")
	r := &scripted{limits: Limits{Batch: 1, Window: 24 * time.Hour}, send: func(records []*Record) []Outcome {
		if strings.HasSuffix(records[0].ExternalCustomer, "wrong") {
			if records[0].Customer == "beta" {
				return []Outcome{noAnswer}
			}
			return []Outcome{refused}
		}
		return []Outcome{{Fate: Delivered}}
	}}
	d := newDesk(t, r, func(s *Spec) { s.Customers = &Customers{File: names} })
	d.use("acme", 5)
	d.use("beta", 6)
	d.plan()
	d.send()
	d.want("one is refused, one may be there", 1, 0, 1, 0)
	write("acme,cus_acme\nbeta,cus_beta\n# mended\n")
	d.retry(Selection{Receiver: "r"})
	d.clock = d.clock.Add(time.Minute)
	d.send()
	got := map[string]string{}
	for i := range r.sent {
		got[r.sent[i].Customer] = r.sent[i].ExternalCustomer
	}
	if got["acme"] != "cus_acme" || got["beta"] != "cus_beta_wrong" {
		t.Fatalf("sent last: %v; what may be there keeps its name, what was refused doesn't", got)
	}
}

// refusedDesk is one whose receiver has refused records of so many customers.
func refusedDesk(t *testing.T, customers int) (*desk, *scripted) {
	t.Helper()
	r := &scripted{limits: Limits{Batch: 100}, send: func(records []*Record) []Outcome { return Fates(len(records), refused) }}
	d := newDesk(t, r, nil)
	for i := range customers {
		d.use(fmt.Sprint("customer", i), 1)
	}
	d.plan()
	d.send()
	d.want("all are refused", 0, 0, int64(customers), 0)
	return d, r
}

func TestManyLettersAreSettledEachOnce(t *testing.T) {
	const n = 2*lettersAtOnce + 7
	d, r := refusedDesk(t, n)
	settled, err := d.feed.Retry(Selection{Reason: "archived_meter"}, false)
	if err != nil || settled != n {
		t.Fatal(settled, err)
	}
	d.want("all go again", n, 0, 0, 0)
	r.send, r.sent = nil, nil
	d.send()
	d.want("all are delivered", 0, n, 0, 0)
	ids := map[string]bool{}
	for i := range r.sent {
		ids[r.sent[i].ID] = true
	}
	if len(r.sent) != n || len(ids) != n {
		t.Fatalf("%d records with %d ids were sent", len(r.sent), len(ids))
	}
}

func TestAReportIsTakenWhereverTheRecordIs(t *testing.T) {
	r := &scripted{limits: Limits{Batch: 1, Window: 24 * time.Hour}, send: fates(noAnswer)}
	d := newDesk(t, r, nil)
	d.use("acme", 5)
	d.plan()
	d.round()
	id := r.sent[0].ID
	event := ""
	report := func(want int) {
		t.Helper()
		if n, err := d.feed.Rejected("r", event, "no_meter", map[string]string{id: "there is none", "of another collector": "?"}); err != nil || n != want {
			t.Fatalf("%d records, %v, want %d", n, err, want)
		}
	}
	if _, err := d.feed.Rejected("r", "evt_0", "no_meter", map[string]string{id: "there is none"}); err == nil {
		t.Fatal("a report of a record that is on its way was taken and forgotten")
	}
	d.clock = d.clock.Add(time.Minute)
	for range 3 {
		d.round()
	}
	// Its line is in the store, and not in its file.
	d.want("delivered", 0, 1, 0, 0)
	report(1)
	report(0)
	d.want("refused later", 0, 0, 1, 0)
	if err := d.receiver().sender.writeLines(); err != nil {
		t.Fatal(err)
	}
	report(0)
	d.retry(Selection{ID: id})
	d.send()
	d.want("sent again", 0, 1, 0, 0)
	event = "evt_0"
	report(1) // from its file; the first with this id was not taken

	// The report comes again, days later: what it is about has been sent again since.
	d.retry(Selection{ID: id})
	d.send()
	report(0)
	d.clock = d.clock.Add(72 * time.Hour)
	report(0)
	d.want("told twice", 0, 1, 0, 0)
	event = "evt_1"
	report(1)
	d.want("told anew", 0, 0, 1, 0)

	// One that nobody knew the fate of.
	d.retry(Selection{ID: id})
	d.send()
	r.send = fates(noAnswer)
	d.use("acme", 1)
	d.plan()
	d.send()
	d.clock = d.clock.Add(48 * time.Hour)
	d.send()
	d.want("uncertain", 0, 1, 0, 1)
	id = r.sent[len(r.sent)-1].ID
	event = "evt_2"
	report(1)
	d.want("it is surely not there", 0, 1, 1, 0)
}

func TestWhoIsAskedForIsAReceiver(t *testing.T) {
	d := newDesk(t, &scripted{limits: Limits{Batch: 1}}, nil)
	if err := d.feed.Letters(Selection{Receiver: "other"}, nil); err == nil {
		t.Error("letters of a receiver that there is not are none")
	}
	if _, err := d.feed.Retry(Selection{Receiver: "other"}, false); err == nil {
		t.Error("letters of a receiver that there is not are sent again")
	}
	if err := d.feed.Reconcile(context.Background(), Reconciliation{Receiver: "other"}, nil); err == nil {
		t.Error("a receiver that there is not is compared")
	}
}

// A record that is refused after a call without an answer may be there: who settles it is told.
func TestARefusalAfterACallWithoutAnswerSaysThatTheRecordMayBeThere(t *testing.T) {
	r := &scripted{limits: Limits{Batch: 1, Window: 24 * time.Hour}, send: fates(noAnswer, refused, refused)}
	d := newDesk(t, r, nil)
	d.use("acme", 5)
	d.plan()
	d.send()
	d.clock = d.clock.Add(time.Minute)
	d.send()
	d.use("beta", 5)
	d.plan()
	d.send()
	d.want("both are refused", 0, 0, 2, 0)
	if err := d.feed.Letters(Selection{}, func(l *Letter) error {
		if maybe := strings.HasSuffix(l.Detail, maybeThere); maybe != (l.Record.Customer == "acme") {
			t.Errorf("%s: %s", l.Record.Customer, l.Detail)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// Who reads letters or a preview through a pager may leave it open: the books are not held meanwhile.
func TestWhoReadsTakesTheirTimeAndHoldsNoBooks(t *testing.T) {
	const n = 2*lettersAtOnce + 7
	d, _ := refusedDesk(t, n)
	letters := map[string]bool{}
	if err := d.feed.Letters(Selection{}, func(l *Letter) error {
		if d.books.held > 0 {
			t.Fatal("the books are held")
		}
		letters[l.Record.ID] = true
		return nil
	}); err != nil || len(letters) != n {
		t.Fatal(len(letters), err)
	}
	for i := range n {
		d.use(fmt.Sprint("customer", i), 1)
	}
	previewed := map[string]bool{}
	if err := d.feed.Preview("r", func(r *Record) error {
		if d.books.held > 0 {
			t.Fatal("the books are held")
		}
		previewed[r.ID] = true
		return nil
	}); err != nil || len(previewed) != n {
		t.Fatal(len(previewed), err)
	}
}
