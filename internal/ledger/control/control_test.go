package control

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/usagebox/otelcol-usagebox/internal/control"
	"github.com/usagebox/otelcol-usagebox/internal/ledger"
	"github.com/usagebox/otelcol-usagebox/usage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake answers as it is told, and keeps what it was told.
type fake struct {
	result  ledger.Result
	err     error
	flushes int
	list    []ledger.Amendment
}

func (f *fake) Flush(context.Context) error {
	f.flushes++
	return f.err
}

func (f *fake) Amend(_ context.Context, list []ledger.Amendment) (ledger.Result, error) {
	f.list = list
	return f.result, f.err
}

func amendments() []ledger.Amendment {
	e := usage.Event{ID: "c", Kind: usage.KindCorrection, Corrects: "a", Customer: "acmé", Timestamp: -7, Lines: []usage.Line{{Meter: "m", Unit: "u", Cost: usage.Charge{Amount: -3, Currency: "USD", Rate: "v/r"}}}}
	return []ledger.Amendment{{Event: e, Seen: []usage.Line{{Meter: "m", Unit: "u", Quantity: 5}, {Meter: "n", Unit: "u"}}}, {Event: usage.Event{ID: "d"}}}
}

func TestALedgerIsToldWhatTheClientWasAndTheClientWhatItAnswered(t *testing.T) {
	state := t.TempDir()
	_, err := Dial(state)
	require.ErrorIs(t, err, control.ErrNobody)
	f := &fake{result: ledger.Result{Accepted: 1, Moved: 2, Rejections: []usage.Rejection{{Key: usage.Key{Customer: "x", ID: "y"}, Reason: "r", Payload: usage.Payload{1}}}}}
	s, err := Listen(state, f)
	require.NoError(t, err)
	c, err := Dial(state)
	require.NoError(t, err)
	require.NoError(t, c.Flush(t.Context()))
	require.Equal(t, 1, f.flushes)
	result, err := c.Amend(t.Context(), amendments())
	require.NoError(t, err)
	require.Equal(t, f.result, result)
	require.Equal(t, amendments(), f.list)
	f.err = errors.New("the disk is full")
	_, err = c.Amend(t.Context(), nil)
	require.EqualError(t, err, "the disk is full")
	require.EqualError(t, c.Flush(t.Context()), "the disk is full")
	require.NoError(t, s.Close())
	_, err = c.Amend(t.Context(), amendments())
	require.ErrorContains(t, err, "ask the collector")
	require.NoError(t, c.Close())
}

func FuzzAmendmentsAreReadWholeOrNotAtAll(f *testing.F) {
	f.Add(encode(amendments()))
	f.Add([]byte{255, 255, 255, 255, 15})
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := decode(b)
		if err != nil {
			return
		}
		again, err := decode(encode(list))
		require.NoError(t, err)
		require.Equal(t, list, again)
	})
}
