package feed

import (
	"context"
	"fmt"
	"maps"
	"math"
	"math/big"
	"time"

	"go.uber.org/zap"

	"github.com/usagebox/otelcol-usagebox/internal/ledger"
	"github.com/usagebox/otelcol-usagebox/usage"
)

const (
	// askEvery is how often a receiver is asked about uncertain records.
	askEvery = 5 * time.Minute

	// askQuiet is how long after a delivery a receiver is not asked about its account: what it has taken it adds up later.
	askQuiet = time.Hour
)

// valuePlaces is more than any value has.
const valuePlaces = 18

// account is what a receiver adds up.
type account struct {
	customer, meter, hour string
}

func accountOf(r *Record) account { return account{r.ExternalCustomer, r.Meter, r.Hour} }

// standing is what is known of an account.
type standing struct {
	delivered map[string]string // id → value
	uncertain map[string]string
	open      bool // records of it are in the outbox and may have been taken
	recent    bool // some were delivered so lately that the receiver may not have added them up
}

// same says whether nothing has happened between two looks at an account.
func (st *standing) same(other *standing) bool {
	return other != nil && !st.open && !other.open && maps.Equal(st.delivered, other.delivered) && maps.Equal(st.uncertain, other.uncertain)
}

func sumOf(values map[string]string) *big.Int {
	sum := new(big.Int)
	for _, value := range values {
		if v, ok := parseDecimal(value, valuePlaces); ok {
			sum.Add(sum, v)
		}
	}
	return sum
}

// ask asks the receiver, where it can be asked, which of the uncertain records it has: its sum is that of what was delivered, with or without them. Where that does
// not decide, they wait for a person.
func (s *sender) ask(ctx context.Context) error {
	asker, can := s.receiver.spec.Receiver.(Asker)
	if !can {
		return nil
	}
	accounts, err := s.uncertain()
	if err != nil || len(accounts) == 0 {
		return err
	}
	said := map[account]settlement{}
	for a, st := range accounts {
		if st.open || st.recent {
			continue
		}
		text, err := asker.Received(ctx, a.customer, a.meter, parseTime(a.hour))
		if err != nil {
			return fmt.Errorf("ask receiver %s what it has: %w", s.receiver.name, err)
		}
		has, ok := parseDecimal(text, valuePlaces)
		if !ok {
			return fmt.Errorf("receiver %s says that it has %q of meter %s in %s, which is no decimal", s.receiver.name, text, a.meter, a.hour)
		}
		delivered, uncertain := sumOf(st.delivered), sumOf(st.uncertain)
		as := keepLetter
		switch {
		case uncertain.Sign() == 0:
		case has.Cmp(delivered) == 0:
			as = sendAgain
		case has.Cmp(delivered.Add(delivered, uncertain)) == 0:
			as = wasDelivered
		}
		said[a] = as
	}
	again, err := s.uncertain()
	if err != nil {
		return err
	}
	answers := map[string]settlement{}
	for a, as := range said {
		if !accounts[a].same(again[a]) {
			continue // what was delivered meanwhile is in the answer, or is not
		}
		for id := range again[a].uncertain {
			answers[id] = as
		}
	}
	n, err := s.settleLetters(Selection{Reason: reasonForgotten}, func(l *Letter) settlement { return answers[l.Record.ID] })
	if n > 0 {
		s.receiver.feed.o.Logger.Info("a receiver of the billing feed was asked which uncertain records it has", zap.String("receiver", s.receiver.name), zap.Int("settled", n))
	}
	return err
}

// uncertain are the accounts that have uncertain records.
func (s *sender) uncertain() (map[account]*standing, error) {
	now := s.receiver.feed.o.Clock()
	accounts, first := map[account]*standing{}, usage.Hour(math.MaxUint32)
	delivered := func(r *Record) error {
		if st := accounts[accountOf(r)]; st != nil {
			st.delivered[r.ID] = r.Value
			st.recent = st.recent || now.Sub(parseTime(r.SentAt)) < askQuiet
		}
		return nil
	}
	var refused []Record // after they were delivered, as it seemed
	if err := s.receiver.feed.o.Books.View(func(v ledger.View) error {
		if err := s.receiver.letters(v, Selection{}, func(_ uint64, l *Letter) error {
			if l.Logged {
				refused = append(refused, l.Record)
			}
			if l.State == StateUncertain {
				a := accountOf(&l.Record)
				if accounts[a] == nil {
					accounts[a] = &standing{delivered: map[string]string{}, uncertain: map[string]string{}}
				}
				accounts[a].uncertain[l.Record.ID] = l.Record.Value
				first = min(first, l.Record.hour())
			}
			return nil
		}); err != nil || len(accounts) == 0 {
			return err
		}
		if err := s.eachAttempted(v, func(at *attempt, r *Record) error {
			if st := accounts[accountOf(r)]; st != nil && at.Maybe != "" {
				st.open = true
			}
			return nil
		}); err != nil {
			return err
		}
		return scanPrefix(v, receiverKey(keyLine, s.number), func(key, value []byte) error {
			r, err := parseRecord(key, value)
			if err != nil {
				return err
			}
			return delivered(&r)
		})
	}); err != nil || len(accounts) == 0 {
		return nil, err
	}
	hours := map[string]bool{}
	for a := range accounts {
		hours[a.hour] = true
	}
	lines := s.receiver.linesOf(first)
	lines.wanted = func(line []byte) bool {
		hour, plain := lineHour(line)
		return hours[hour] || !plain
	}
	err := lines.Each(delivered)
	for i := range refused {
		if st := accounts[accountOf(&refused[i])]; st != nil {
			delete(st.delivered, refused[i].ID)
		}
	}
	return accounts, err
}
