// Package billers has servers that take usage as billers do: they check what the vendor documents, keep what they would bill, forget ids after their
// window, and lie on demand.
package billers

import (
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// Account is what a biller adds up.
type Account struct {
	Customer, Meter string
	Hour            time.Time
}

// Entry is usage as it was sent.
type Entry struct {
	ID, Customer, Meter, Value string
	At                         time.Time
}

// Server is a biller. It is an http.Handler.
type Server struct {
	Clock  func() time.Time
	Window time.Duration // ids are forgotten after it; 0: never
	Random *rand.Rand    // of the lies; nil: it tells the truth
	Wrong  bool          // a stream finds some events wrong after it took them, as long as it lies: Reports has them

	mu       sync.Mutex
	protocol protocol
	lying    bool
	seen     map[string]time.Time
	billed   map[Account]*big.Rat
	counted  map[string]int
	calls    int
	errors   []string // of the sender: requests that no vendor documents
	session  string
	sessions int
	away     bool
	missed   int             // requests while it was away
	wrongs   map[string]bool // ids seen by a stream, and whether what they name is wrong as long as it lies
	reports  []Report
}

// Report is what a server says later of an event that it has taken.
type Report struct{ Event, ID string }

// protocol is what differs from vendor to vendor.
type protocol struct {
	handle func(s *Server, w http.ResponseWriter, r *http.Request, body []byte, lie lie)
}

// lie is what a server does to a request that is right.
type lie int

const (
	honest      lie = iota
	tooMany         // 429 with Retry-After
	failBefore      // 500, nothing stored
	failAfter       // 500, stored
	silentAfter     // no answer, stored
	silentBefore
	half // where the vendor can: a part
)

// New is a server of a protocol: stripe (v1 and v2), metronome, openmeter, lago, orb, flexprice or webhook.
func New(name string, clock func() time.Time, window time.Duration, random *rand.Rand) *Server {
	return &Server{
		Clock: clock, Window: window, Random: random, protocol: protocols[name], lying: random != nil, seen: map[string]time.Time{}, billed: map[Account]*big.Rat{},
		counted: map[string]int{}, wrongs: map[string]bool{},
	}
}

// Away lets nobody reach the server, or lets everybody again.
func (s *Server) Away(away bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = away
}

// Missed is how many requests came while the server was away.
func (s *Server) Missed() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.missed
}

// Reports are those of all events that a stream has taken and that were found wrong later, of stripe.
func (s *Server) Reports() []Report {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Report(nil), s.reports...)
}

// TellTheTruth ends the lies.
func (s *Server) TellTheTruth() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lying = false
}

// Billed is what would be billed.
func (s *Server) Billed() map[Account]*big.Rat {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make(map[Account]*big.Rat, len(s.billed))
	for a, n := range s.billed {
		all[a] = new(big.Rat).Set(n)
	}
	return all
}

// Twice are the ids that were counted more than once.
func (s *Server) Twice() (ids []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, n := range s.counted {
		if n > 1 {
			ids = append(ids, id)
		}
	}
	return ids
}

// Errors are what the sender did that no vendor documents.
func (s *Server) Errors() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.errors...)
}

// Calls is how many requests came.
func (s *Server) Calls() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		return // the sender died in the middle
	}
	if s.away {
		s.missed++
		panic(http.ErrAbortHandler)
	}
	s.calls++
	l := honest
	if s.lying && r.Method == http.MethodPost {
		if n := s.Random.IntN(14); n < int(half)+1 {
			l = lie(n)
		}
	}
	switch l {
	case tooMany:
		w.Header().Set("Retry-After", strconv.Itoa(s.Random.IntN(2)))
		w.WriteHeader(http.StatusTooManyRequests)
		return
	case failBefore:
		w.WriteHeader(http.StatusInternalServerError)
		return
	case silentBefore:
		panic(http.ErrAbortHandler)
	}
	s.protocol.handle(s, w, r, body, l)
}

// answer ends a request of which everything was stored, honestly or not.
func (s *Server) answer(w http.ResponseWriter, l lie, status int, content any) {
	switch l {
	case failAfter:
		status, content = http.StatusBadGateway, nil
	case silentAfter:
		panic(http.ErrAbortHandler)
	}
	s.say(w, status, content)
}

func (s *Server) say(w http.ResponseWriter, status int, content any) {
	if content == nil {
		w.WriteHeader(status)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(content)
}

// wrong notes what a sender should not do.
func (s *Server) wrong(w http.ResponseWriter, format string, args ...any) {
	s.errors = append(s.errors, fmt.Sprintf(format, args...))
	http.Error(w, fmt.Sprintf(format, args...), http.StatusBadRequest)
}

// known says whether an id is remembered.
func (s *Server) known(id string) bool {
	at, there := s.seen[id]
	return there && (s.Window == 0 || s.Clock().Sub(at) < s.Window)
}

// store counts entries whose ids are not remembered.
func (s *Server) store(entries ...Entry) {
	for _, e := range entries {
		if s.known(e.ID) {
			continue
		}
		s.seen[e.ID] = s.Clock()
		s.counted[e.ID]++
		a := Account{e.Customer, e.Meter, e.At.UTC().Truncate(time.Hour)}
		if s.billed[a] == nil {
			s.billed[a] = new(big.Rat)
		}
		value, ok := new(big.Rat).SetString(e.Value)
		if !ok {
			s.errors = append(s.errors, "a value is no number: "+e.Value)
			continue
		}
		s.billed[a].Add(s.billed[a], value)
	}
}
