package ledger

import (
	"errors"
	"sync"
	"syscall"
	"testing"

	"github.com/usagebox/otelcol-usagebox/usage"
)

func TestAStoreThatFailsUnderACommitIsOpenAgainAfterIt(t *testing.T) {
	settling, settled := make(chan struct{}), make(chan struct{})
	var first sync.Once
	h := newHarness(t, func(o *Options) {
		o.Settle = func(_, correction *usage.Event) {
			if correction.ID == "c1" {
				first.Do(func() { close(settling) })
				<-settled
			}
		}
	})
	h.accept(event("acme", "a", 10, testTime), event("acme", "b", 10, testTime))
	answer := make(chan error)
	go func() {
		_, err := h.Append(t.Context(), []usage.Event{correction("acme", "c1", "a", -1, testTime), correction("acme", "c2", "b", -1, testTime)})
		answer <- err
	}()
	<-settling
	h.state.store.fail(syscall.EIO)
	opened := make(chan error, 1)
	go func() {
		_, err := h.revive()
		opened <- err
	}()
	for len(opened) == 0 && h.readers.TryRLock() { // until the new opening waits for the commit
		h.readers.RUnlock()
	}
	close(settled)
	if err := <-answer; !errors.Is(err, ErrBroken) {
		t.Fatalf("the commit's answer: %v", err)
	}
	if err := <-opened; err != nil {
		t.Fatal(err)
	}
	h.accept(correction("acme", "c1", "a", -1, testTime), correction("acme", "c2", "b", -1, testTime))
	h.duplicate(event("acme", "a", 10, testTime))
}
