package feed

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"time"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// Record is what one receiver is told of one hour's change: of a customer, a meter and its dimensions. It is immutable once made.
// Its JSON form is a line of feed/RECEIVER/*.ndjson.
type Record struct {
	ID               string            `json:"id"` // what makes the receiver's retries one: 36 characters
	Customer         string            `json:"customer"`
	ExternalCustomer string            `json:"external_customer"` // the receiver's own name for the customer
	Meter            string            `json:"meter"`             // the receiver's
	Unit             string            `json:"unit"`              // the ledger's
	Quantity         string            `json:"quantity"`          // decimal text, of the ledger's unit; a signed difference
	Cost             *string           `json:"cost"`
	Price            *string           `json:"price"`
	Currency         *string           `json:"currency"`
	PriceCurrency    *string           `json:"price_currency"`
	Value            string            `json:"value"` // decimal text in the receiver's unit: what is sent
	Hour             string            `json:"hour"`  // RFC 3339
	Revision         uint32            `json:"revision"`
	Dimensions       map[string]string `json:"dimensions"`
	Timestamp        string            `json:"timestamp"` // RFC 3339: the last use in the hour, as far as the record's plan knew
	CreatedAt        string            `json:"created_at"`
	SentAt           string            `json:"sent_at,omitempty"` // RFC 3339: when it was known to be delivered
	Writer           string            `json:"writer"`
}

// Time is the record's timestamp.
func (r *Record) Time() time.Time { return parseTime(r.Timestamp) }

// hour is the one that the record is of.
func (r *Record) hour() usage.Hour { return usage.MicrosOf(parseTime(r.Hour)).Hour() }

func parseTime(text string) time.Time {
	t, _ := time.Parse(time.RFC3339Nano, text) // written by formatTime
	return t
}

func formatTime(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

func hourText(h usage.Hour) string { return h.Start().Time().Format(time.RFC3339) }

// groupID identifies what records of one receiver add up to: customer, meter, unit, currencies and dimensions.
type groupID [16]byte

func idOfGroup(parts ...string) groupID {
	h := sha256.New()
	var length [8]byte
	for _, p := range parts {
		binary.BigEndian.PutUint64(length[:], uint64(len(p)))
		h.Write(length[:])
		h.Write([]byte(p))
	}
	return groupID(h.Sum(nil)[:16])
}

// recordID is a function of what the record is about and of the feed that makes it: two feeds with customers of the same names don't take each
// other's ids.
func recordID(instance, receiver string, g groupID, hour usage.Hour, revision uint32) string {
	h := sha256.New()
	for _, p := range [...]string{instance, receiver} {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(p))))
		h.Write([]byte(p))
	}
	h.Write(g[:])
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(hour)))
	h.Write(binary.BigEndian.AppendUint32(nil, revision))
	return "ubx_" + hex.EncodeToString(h.Sum(nil)[:16])
}

// laneOf is the queue of what the receiver takes for one customer's meter: its records are sent one after another.
func laneOf(r *Record) uint16 {
	id := idOfGroup(cmp.Or(r.ExternalCustomer, r.Customer), r.Meter)
	return binary.BigEndian.Uint16(id[:2])
}
