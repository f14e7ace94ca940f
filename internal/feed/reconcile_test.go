package feed

import (
	"context"
	"errors"
	"testing"

	"github.com/usagebox/otelcol-usagebox/usage"
)

func (d *desk) reconcile() (all map[string]Comparison) {
	d.t.Helper()
	all = map[string]Comparison{}
	if err := d.feed.Reconcile(context.Background(), Reconciliation{Receiver: "r", To: usage.MicrosOf(d.clock).Hour() + 1, Ask: true}, func(c *Comparison) error {
		all[c.Customer] = *c
		return nil
	}); err != nil {
		d.t.Fatal(err)
	}
	return all
}

func TestCustomersThatShareANameAtTheReceiverAreComparedByWhatItHasOfBoth(t *testing.T) {
	has := "7"
	d := newDesk(t, asked{&scripted{limits: Limits{Batch: 10}}, func(string) string { return has }}, func(s *Spec) { s.Customers = &Customers{Template: "one"} })
	d.use("acme", 3)
	d.use("beta", 4)
	d.plan()
	d.send()
	for customer, c := range d.reconcile() {
		if !c.Equal || c.Sent != "7" || *c.Receiver != "7" {
			t.Errorf("%s: %+v", customer, c)
		}
	}
	has = "6"
	for customer, c := range d.reconcile() {
		if c.Equal || len(c.Records) != 1 {
			t.Errorf("%s: %+v", customer, c)
		}
	}
}

func TestAnHourThatWaitsSaysSo(t *testing.T) {
	d := newDesk(t, &scripted{limits: Limits{Batch: 10}}, nil)
	d.use("acme", 3)
	if c := d.reconcile()["acme"]; c.Equal || !c.Waiting {
		t.Errorf("before it was seen: %+v", c)
	}
	if err := d.receiver().planNow(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c := d.reconcile()["acme"]; c.Equal || !c.Waiting {
		t.Errorf("before its seal: %+v", c)
	}
	d.plan()
	if c := d.reconcile()["acme"]; c.Equal || c.Waiting || c.Pending != "3" {
		t.Errorf("in the outbox: %+v", c)
	}
	d.send()
	if c := d.reconcile()["acme"]; !c.Equal || c.Waiting {
		t.Errorf("delivered: %+v", c)
	}
}

// The books say the same to those who open them while no collector runs, and take what they are told.
func TestTheBooksAnswerWhileNobodySends(t *testing.T) {
	r := &scripted{limits: Limits{Batch: 1}, send: func(records []*Record) []Outcome {
		if records[0].Customer == "beta" {
			return []Outcome{refused}
		}
		return []Outcome{{Fate: Delivered}}
	}}
	d := newDesk(t, r, func(s *Spec) { s.Customers = &Customers{Template: "cus_{customer}"} })
	d.use("acme", 3)
	d.use("beta", 4)
	d.plan()
	d.send()
	d.use("gamma", 5)
	before := d.status()
	f, err := OpenRecorded(d.books, d.dir, "main")
	if err != nil {
		t.Fatal(err)
	}
	all, err := f.StatusNow(true)
	if err != nil || len(all) != 1 || all[0].Delivered != 1 || all[0].Dead != 1 || all[0].Made != before.Made || all[0].Receiver != "r" {
		t.Fatalf("%+v, %v, want %+v", all, err, before)
	}
	if err := f.Preview("r", func(r *Record) error {
		if r.Customer != "gamma" || r.ExternalCustomer != "" {
			t.Errorf("%+v", r)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if n, err := f.Retry(Selection{Reason: "archived_meter"}, false); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	sent := len(r.sent)
	r.send = nil
	d.open()
	d.plan()
	d.send()
	d.want("sent after the start", 0, 3, 0, 0)
	for _, one := range r.sent[sent:] {
		if one.ExternalCustomer != "cus_"+one.Customer {
			t.Errorf("%+v", one)
		}
	}
	if _, err := OpenRecorded(newSimBooks(nil), d.dir, "main"); !errors.Is(err, ErrNoFeed) {
		t.Fatal(err)
	}
}
