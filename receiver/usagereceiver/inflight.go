package usagereceiver

import (
	"errors"
	"io"

	"golang.org/x/sync/semaphore"
)

var errBusy = errors.New("as much as max_inflight_size allows is being worked on")

// inflight reads a body and holds its bytes against what all bodies together may have, until release.
type inflight struct {
	body io.Reader
	room *semaphore.Weighted
	held int64
}

func (b *inflight) Read(to []byte) (int, error) {
	n, err := b.body.Read(to)
	if !b.room.TryAcquire(int64(n)) {
		return 0, errBusy
	}
	b.held += int64(n)
	return n, err
}

func (b *inflight) release() { b.room.Release(b.held) }
