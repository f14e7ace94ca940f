package ledgercmd

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/usagebox/otelcol-usagebox/internal/ledger"
)

// TestCommandsBesideAWorkingCollectorSeeNoDifference lets a ledger make parts and exchange hours' folders while it is verified, explained
// and exported.
func TestCommandsBesideAWorkingCollectorSeeNoDifference(t *testing.T) {
	f := newFixture(t)
	var clock atomic.Int64
	clock.Store(f.now.UnixMicro())
	l, err := ledger.Open(ledger.Options{
		Directory: f.dir, WriterID: "main", SealAfter: time.Minute, CorrectionWait: time.Hour,
		Clock: func() time.Time { return time.UnixMicro(clock.Load()) }, Manual: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	round := func(n int) error {
		for i := range 3 {
			if _, err := l.Append(context.Background(), append(load(n, i), event(fmt.Sprintf("e%d-%d", n, i), 10*(n%5)+i, 1))); err != nil {
				return err
			}
			if err := l.Flush(context.Background()); err != nil {
				return err
			}
		}
		clock.Add(int64(40 * time.Minute / time.Microsecond))
		return l.Seal(context.Background())
	}
	if err := round(0); err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= 8; n++ {
		done := make(chan error, 1)
		go func() { done <- round(n) }()
		r := f.verify()
		f.mustRun("explain", "--customer", "acme")
		f.mustRun("export")
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if !r.OK {
			t.Fatalf("round %d: %+v", n, r.Problems)
		}
	}
	if r := f.verify(); !r.OK || r.Events != 9*3*21 {
		t.Fatalf("%+v", r)
	}
}
