// Program webhook-receiver takes the records of the billing feed's webhook: it checks who they are from, counts each once, and prints what customers owe.
//
//	SECRET=whsec_… go run ./examples/webhook-receiver
package main

import (
	"bufio"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// record is what matters of a record; docs/billing.md has the rest.
type record struct {
	ID       string `json:"id"`
	Customer string `json:"customer"`
	Meter    string `json:"meter"`
	Quantity string `json:"quantity"` // a signed difference, decimal text
	Hour     string `json:"hour"`
}

// book is every record that was taken, one line each, and their sums.
type book struct {
	key  []byte
	mu   sync.Mutex
	file *os.File
	seen map[string]bool
	sums map[string]*big.Rat
}

func open(path, secret string) (*book, error) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil || len(key) == 0 {
		return nil, errors.New("SECRET is not whsec_ and base64")
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	b := &book{key: key, file: file, seen: map[string]bool{}, sums: map[string]*big.Rat{}}
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var r record
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return nil, err
		}
		b.add(&r)
	}
	return b, nil
}

func (b *book) add(r *record) {
	b.seen[r.ID] = true
	sum := r.Customer + " " + r.Meter
	if b.sums[sum] == nil {
		b.sums[sum] = new(big.Rat)
	}
	if n, ok := new(big.Rat).SetString(r.Quantity); ok {
		b.sums[sum].Add(b.sums[sum], n)
	}
}

// ServeHTTP is the part that matters: check, count once, keep, and only then answer.
func (b *book) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, q.Body, 1<<20))
	if err != nil || !b.signed(q.Header, body) {
		http.Error(w, "this is not from my collector", http.StatusUnauthorized)
		return
	}
	var event struct{ Data record }
	if err := json.Unmarshal(body, &event); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	r := &event.Data
	if b.seen[r.ID] {
		return // it came again: it is counted, and that is what the sender wants to know
	}
	line, _ := json.Marshal(r)
	if _, err := b.file.Write(append(line, '\n')); err != nil || b.file.Sync() != nil {
		http.Error(w, "not kept, send it again", http.StatusServiceUnavailable)
		return
	}
	b.add(r)
	log.Printf("%s used %s %s in %s, %s in all", r.Customer, r.Quantity, r.Meter, r.Hour, b.sums[r.Customer+" "+r.Meter].FloatString(6))
}

// signed says whether a message is from who has the secret, and not an old one.
func (b *book) signed(h http.Header, body []byte) bool {
	at, err := strconv.ParseInt(h.Get("webhook-timestamp"), 10, 64)
	if age := time.Since(time.Unix(at, 0)); err != nil || age > 5*time.Minute || age < -5*time.Minute {
		return false
	}
	mac := hmac.New(sha256.New, b.key)
	mac.Write(fmt.Appendf(nil, "%s.%d.%s", h.Get("webhook-id"), at, body))
	want := []byte("v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	for _, signature := range strings.Fields(h.Get("webhook-signature")) {
		if hmac.Equal([]byte(signature), want) {
			return true
		}
	}
	return false
}

func main() {
	b, err := open("records.ndjson", os.Getenv("SECRET"))
	if err != nil {
		log.Fatal(err)
	}
	log.Print("taking records at http://localhost:9000")
	log.Fatal((&http.Server{Addr: "localhost:9000", Handler: b, ReadHeaderTimeout: 5 * time.Second}).ListenAndServe())
}
