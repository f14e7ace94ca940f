package feed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/usagebox/otelcol-usagebox/internal/ledger"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// CallTimeout is how long a call may take.
const CallTimeout = 30 * time.Second

const (
	linesWait    = 200 * time.Millisecond // between writes to the file of lines while calls are under way
	idleWait     = 10 * time.Second       // between looks at the outbox when nobody says that there is something
	failureWait  = time.Second            // after the store failed
	stopWait     = 5 * time.Second        // for calls under way when the feed closes
	calmFailures = 3                      // failed calls in a row after which a receiver gets one call at a time
)

// sender brings one receiver's records to it. One goroutine steps it; calls have goroutines of their own.
type sender struct {
	receiver *receiver
	number   uint16
	limits   Limits
	limiter  *rate.Limiter

	mu      sync.Mutex // held while the outbox or the letters change; guards counts and what status shows
	counts  counts
	next    counts               // of the change that is being made
	left    map[usage.Hour]int64 // likewise: records that leave the outbox, less those that come back
	down    error                // why the receiver can't be called at present
	stale   bool                 // the last change failed
	settles bool                 // it was to settle what has come back
	loaded  bool
	oldest  time.Time // when the oldest record was made that was in the outbox at the last look

	// What follows belongs to the goroutine that steps.
	lanes     map[uint16]*lane // that are busy or have failed
	position  uint16           // where pick goes on
	nextDue   time.Time        // of the lanes that pick passed over
	under     int              // calls under way
	failures  int              // calls in a row that failed for a reason of the receiver's
	failure   error            // the last of them
	until     time.Time        // no call before it
	unsettled []result         // not on disk yet

	writing     sync.Mutex // held while lines move from the store to their files
	log         lineLog
	wroteAt     time.Time
	convertedAt time.Time
}

var errSilent = errors.New("it did not say why")

func newSender(r *receiver) *sender {
	return &sender{
		receiver: r, number: r.number, limits: r.spec.Receiver.Limits(), stale: true, lanes: map[uint16]*lane{},
		limiter: rate.NewLimiter(rate.Limit(r.spec.Rate), max(1, r.spec.Rate/10)),
		log:     lineLog{dir: r.feed.folder(r.name), writer: r.feed.o.Writer},
	}
}

// change makes a change of the outbox or the letters durable, with the counts after it. It is called with mu held. After an error it is not known
// whether the change was made: the next begins with finding out.
func (s *sender) change(settles bool, f func(ledger.View, ledger.Batch) (changed bool, err error)) error {
	if s.stale {
		if err := s.load(); err != nil {
			return err
		}
	}
	s.next, s.left = s.counts, map[usage.Hour]int64{}
	s.next.Step++
	changed := false
	err := s.receiver.feed.o.Books.Update(func(v ledger.View, b ledger.Batch) (err error) {
		if changed, err = f(v, b); !changed || err != nil {
			return err
		}
		setJSON(b, receiverKey(keyCounts, s.number), &s.next)
		for h, n := range s.left {
			if err := addToHour(v, b, hourKey(keyLeft, s.number, h), n); err != nil {
				return err
			}
		}
		return nil
	})
	switch {
	case err != nil:
		s.stale, s.settles = true, settles
		return err
	case changed:
		s.made(settles)
	}
	return nil
}

// made is after a change that is on disk.
func (s *sender) made(settles bool) {
	s.counts = s.next
	if settles {
		s.unsettled = nil
	}
}

// load finds out what the store has.
func (s *sender) load() error {
	c := counts{}
	if err := s.receiver.feed.o.Books.View(func(v ledger.View) error {
		_, err := getJSON(v, receiverKey(keyCounts, s.number), &c)
		return err
	}); err != nil {
		return err
	}
	if s.loaded && c.Step == s.next.Step && s.receiver.feed.o.sabotage != countTwice {
		s.made(s.settles)
	} else if !s.loaded {
		s.counts, s.loaded = c, true
	}
	s.stale = false
	return nil
}

// settle takes a call's result. It is on disk after the next step.
func (s *sender) settle(r result, now time.Time) {
	s.under--
	s.unsettled = append(s.unsettled, r)
	var down *Outcome
	for i := range r.outcomes {
		if o := &r.outcomes[i]; o.All && o.Fate != Delivered && o.Fate != Refused {
			down = o
		}
	}
	if down != nil {
		s.failures++
		s.failure = cmp.Or(down.Err, errSilent)
		if until := now.Add(s.backoff(s.failures, down.Wait)); until.After(s.until) {
			s.until = until
		}
		if s.failures == calmFailures {
			s.receiver.feed.o.Logger.Warn("a receiver of the billing feed takes nothing at present: records wait, it is tried again",
				zap.String("receiver", s.receiver.name), zap.Error(down.Err))
		}
	} else {
		if s.failures >= calmFailures {
			s.receiver.feed.o.Logger.Info("a receiver of the billing feed takes records again", zap.String("receiver", s.receiver.name))
		}
		s.failures = 0
	}
	s.settleLanes(r, now)
}

func (s *sender) settleLanes(r result, now time.Time) {
	for _, d := range r.call {
		s.lanes[d.lane].busy = false
	}
	for i, d := range r.call {
		l, o := s.lanes[d.lane], &r.outcomes[i]
		switch {
		case o.Fate == Delivered || o.Fate == Refused:
			if !l.until.After(now) {
				l.failures = 0
			}
		case o.All:
			l.until = s.until
		case o.Alone:
			l.until = now.Add(time.Millisecond)
		default:
			l.failures++
			l.until = now.Add(s.backoff(l.failures, o.Wait))
		}
	}
	for _, d := range r.call {
		if l := s.lanes[d.lane]; l != nil && l.failures == 0 && !l.until.After(now) {
			delete(s.lanes, d.lane)
		}
	}
}

// backoff is how long to wait after so many failures: twice as long each time, up to the most, from half to the whole of it at random, and never less than was asked.
func (s *sender) backoff(failures int, asked time.Duration) time.Duration {
	spec := &s.receiver.spec
	wait := spec.MaxBackoff
	if shift := failures - 1; shift < 32 && spec.MinBackoff<<shift < wait {
		wait = spec.MinBackoff << shift
	}
	wait = wait/2 + time.Duration(s.receiver.feed.random(int64(wait/2)+1))
	return max(wait, asked)
}

// capacity is how many calls may begin.
func (s *sender) capacity(now time.Time) int {
	switch {
	case now.Before(s.until):
		return 0
	case s.failures > 0:
		return max(0, 1-s.under)
	}
	return max(0, min(s.receiver.spec.Workers-s.under, int(s.limiter.TokensAt(now))))
}

// step puts on disk what has come back and begins what may go. The calls are to be made; wait is how long there is nothing to do, at most.
func (s *sender) step(ctx context.Context, now time.Time) (calls []call, wait time.Duration, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	capacity := 0
	if ctx.Err() == nil {
		capacity = s.capacity(now)
	}
	var picked []*delivery
	if err := s.change(true, func(v ledger.View, b ledger.Batch) (changed bool, err error) {
		gone := map[place]bool{}
		for _, r := range s.unsettled {
			for i, d := range r.call {
				s.finish(b, d, r.outcomes[i], now)
				gone[d.place] = true
			}
		}
		if capacity > 0 {
			if picked, err = s.pick(v, now, capacity*s.limits.Batch, gone); err == nil {
				err = s.readAttempts(v, picked)
			}
			if err != nil {
				return false, err
			}
		}
		calls = s.form(b, picked, now)
		return len(gone)+len(picked) > 0, nil
	}); err != nil {
		return nil, failureWait, err
	}
	for _, c := range calls {
		for _, d := range c {
			if s.lanes[d.lane] == nil {
				s.lanes[d.lane] = &lane{}
			}
			s.lanes[d.lane].busy = true
		}
	}
	s.under += len(calls)
	if len(calls) > 0 {
		s.limiter.AllowN(now, len(calls))
	}
	s.down = nil
	if s.failures > 0 {
		s.down = fmt.Errorf("%d calls in a row failed, the next is at %s: %w", s.failures, s.until.UTC().Format(time.RFC3339), s.failure)
	}
	return calls, s.idle(now, capacity, len(picked)), nil
}

// form makes calls of the records that were picked, and puts on disk that they begin. A lane's records are in one call.
func (s *sender) form(b ledger.Batch, picked []*delivery, now time.Time) (calls []call) {
	split := -1
	var c call
	for _, d := range picked {
		if int(d.lane) == split {
			continue
		}
		s.judge(d, now)
		switch {
		case d.expired:
			s.letter(b, d, StateUncertain, "forgotten", forgotten, now)
			continue
		case d.refused != "":
			s.letter(b, d, StateDead, d.refused, d.detail, now)
			continue
		}
		if len(c) == s.limits.Batch || len(c) > 0 && (d.attempt.Alone || c[0].attempt.Alone) {
			calls = append(calls, c)
			last := c[len(c)-1].lane
			c = nil
			if last == d.lane {
				split = int(last)
				continue
			}
		}
		c = append(c, d)
		s.begin(b, d, now)
	}
	if len(c) > 0 {
		calls = append(calls, c)
	}
	return calls
}

// idle is how long there is nothing to do unless a call comes back or records are made.
func (s *sender) idle(now time.Time, capacity, picked int) time.Duration {
	switch {
	case capacity > 0 && picked > 0:
		return 0
	case now.Before(s.until):
		return s.until.Sub(now)
	case capacity == 0 && s.under == 0:
		return time.Second / time.Duration(s.receiver.spec.Rate) // the rate's limit
	case !s.nextDue.IsZero():
		return min(idleWait, s.nextDue.Sub(now))
	}
	return idleWait
}

// do makes a call. It must not touch the sender.
func (s *sender) do(ctx context.Context, c call) result {
	ctx, cancel := context.WithTimeout(ctx, CallTimeout)
	defer cancel()
	outcomes := s.receiver.spec.Receiver.Send(ctx, c.records())
	if len(outcomes) != len(c) {
		outcomes = Fates(len(c), Outcome{Fate: Unknown, All: true, Err: fmt.Errorf("the receiver answered for %d of %d records", len(outcomes), len(c))})
	}
	return result{c, outcomes}
}

// run steps until ctx ends, and then until all calls have come back.
func (s *sender) run(ctx context.Context) {
	calling, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	results := make(chan result, s.receiver.spec.Workers)
	timer := time.NewTimer(0)
	defer timer.Stop()
	over, ending := ctx.Done(), (<-chan time.Time)(nil)
	for {
		calls, wait, err := s.step(ctx, s.receiver.feed.o.Clock())
		if err == nil {
			err = errors.Join(s.writeDueLines(), s.convert())
		}
		if err != nil {
			s.receiver.feed.failed("records of the billing feed could not be sent or noted; they are kept and tried again", s.receiver.name, err)
			wait = failureWait
		}
		for _, c := range calls {
			go func() { results <- s.do(calling, c) }()
		}
		if ctx.Err() != nil && s.under == 0 {
			return
		}
		if !timer.Stop() {
			select {
			case <-timer.C:
			default:
			}
		}
		timer.Reset(wait)
		select {
		case r := <-results:
			s.settleAll(r, results)
		case <-s.receiver.wake:
		case <-timer.C:
		case <-over:
			over, ending = nil, time.After(stopWait)
		case <-ending:
			stop()
		}
	}
}

// settleAll takes a result, and those that are there with it.
func (s *sender) settleAll(r result, results <-chan result) {
	for {
		s.settle(r, s.receiver.feed.o.Clock())
		select {
		case r = <-results:
		default:
			return
		}
	}
}
