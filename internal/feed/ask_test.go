package feed

import (
	"context"
	"testing"
	"time"
)

// uncertainDesk has an uncertain record of one unit. has is what the receiver says.
func uncertainDesk(t *testing.T, has *string) (*desk, *scripted) {
	t.Helper()
	r := &scripted{limits: Limits{Batch: 1, Window: 24 * time.Hour}, send: fates(noAnswer)}
	d := newDesk(t, asked{r, func(string) string { return *has }}, nil)
	d.use("acme", 1)
	d.plan()
	d.send()
	d.clock = d.clock.Add(25 * time.Hour)
	d.send()
	d.want("its id is forgotten", 0, 0, 0, 1)
	return d, r
}

func (d *desk) ask() {
	d.t.Helper()
	if err := d.receiver().sender.ask(context.Background()); err != nil {
		d.t.Fatal(err)
	}
}

// The first record was taken. A second of the same value is delivered, and the receiver adds up with a delay: its sum is that of the second alone.
func TestAReceiverIsNotAskedBeforeItHasAddedUp(t *testing.T) {
	has := "1"
	d, r := uncertainDesk(t, &has)
	d.use("acme", 1)
	d.plan()
	d.send()
	d.ask()
	d.want("the sum may be one of before the second", 0, 1, 0, 1)
	has = "2"
	d.clock = d.clock.Add(askQuiet)
	d.ask()
	d.want("the first is there", 0, 2, 0, 0)
	if len(r.sent) != 2 {
		t.Fatalf("%d calls", len(r.sent))
	}
}

// The first record was not taken. While the receiver is asked a second of the same value is delivered.
func TestWhatIsDeliveredWhileAReceiverIsAskedDecidesNothing(t *testing.T) {
	has := "0"
	d, _ := uncertainDesk(t, &has)
	d.use("acme", 1)
	d.plan()
	second := true
	d.receiver().spec.Receiver = asked{d.receiver().spec.Receiver.(asked).scripted, func(string) string {
		if second {
			second = false
			d.send()
		}
		return "1"
	}}
	d.ask()
	d.want("the second came in between", 0, 1, 0, 1)
	d.clock = d.clock.Add(askQuiet)
	d.ask()
	d.send()
	d.want("the first was not there", 0, 2, 0, 0)
}
