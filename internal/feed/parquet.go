package feed

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/parquet-go/parquet-go"

	"github.com/usagebox/otelcol-usagebox/internal/ledger"
	"github.com/usagebox/otelcol-usagebox/usage"
)

const (
	parquetExtension = ".parquet"
	parquetDelay     = 10 * time.Minute // after a day's end
	parquetEvery     = 10 * time.Minute // between looks
	parquetRows      = 10_000           // that are held at once
)

// parquetRow is a line as a row. Decimals are big endian in two's complement.
type parquetRow struct {
	ID               string            `parquet:"id"`
	Customer         string            `parquet:"customer,dict"`
	ExternalCustomer string            `parquet:"external_customer,dict"`
	Meter            string            `parquet:"meter,dict"`
	Unit             string            `parquet:"unit,dict"`
	Quantity         [16]byte          `parquet:"quantity,decimal(6:38)"`
	Cost             *[16]byte         `parquet:"cost,decimal(12:38),optional"`
	Price            *[16]byte         `parquet:"price,decimal(12:38),optional"`
	Currency         *string           `parquet:"currency,dict,optional"`
	PriceCurrency    *string           `parquet:"price_currency,dict,optional"`
	Value            string            `parquet:"value"`
	Hour             int64             `parquet:"hour,timestamp(microsecond)"`
	Revision         int32             `parquet:"revision"`
	Dimensions       map[string]string `parquet:"dimensions"`
	Timestamp        int64             `parquet:"timestamp,timestamp(microsecond)"`
	SentAt           int64             `parquet:"sent_at,timestamp(microsecond)"`
	Writer           string            `parquet:"writer,dict"`
}

// conversion is how far a file of lines is in Parquet. What is planned and not done is made again.
type conversion struct {
	Parts int   `json:"parts"` // that are done
	Done  int64 `json:"done"`  // bytes of the file that they have
	To    int64 `json:"to"`    // of the part that is planned; Done when there is none
}

// convert makes Parquet of the lines of days that are over.
func (s *sender) convert() error {
	now := s.receiver.feed.o.Clock()
	if !s.receiver.spec.Parquet || now.Sub(s.convertedAt) < parquetEvery {
		return nil
	}
	s.convertedAt = now
	today := s.log.fileName(formatTime(now.Add(-parquetDelay)))
	for name, size := range s.log.sizes {
		if name >= today {
			continue
		}
		if err := s.convertFile(name, size); err != nil {
			return fmt.Errorf("%s could not be made Parquet, which is tried again: %w", name, err)
		}
	}
	return nil
}

func (s *sender) convertFile(name string, size int64) error {
	key := append(receiverKey(keyParquet, s.number), name...)
	var c conversion
	books := s.receiver.feed.o.Books
	if err := books.Update(func(v ledger.View, b ledger.Batch) error {
		if _, err := getJSON(v, key, &c); err != nil {
			return err
		}
		if c.To > c.Done || size == c.Done {
			return nil
		}
		c.To = size
		setJSON(b, key, &c)
		return nil
	}); err != nil || c.To == c.Done {
		return err
	}
	part := strings.TrimSuffix(name, lineExtension)
	if c.Parts > 0 { // lines of the day that came after it had been made
		part += fmt.Sprintf("-%d", c.Parts+1)
	}
	if err := makeParquet(filepath.Join(s.log.dir, part+parquetExtension), filepath.Join(s.log.dir, name), c.Done, c.To); err != nil {
		return err
	}
	c.Parts, c.Done = c.Parts+1, c.To
	return books.Update(func(_ ledger.View, b ledger.Batch) error {
		setJSON(b, key, &c)
		return nil
	})
}

// makeParquet makes a file of the lines in a range of another. It appears whole; one that is there was made before the process died.
func makeParquet(path, lines string, from, to int64) (err error) {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	in, err := os.Open(lines)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	temporary := path + ".tmp"
	out, err := os.Create(temporary)
	if err != nil {
		return err
	}
	if err := errors.Join(writeParquet(out, io.NewSectionReader(in, from, to-from)), out.Sync(), out.Close()); err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	if err := os.Rename(temporary, path); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

func writeParquet(out io.Writer, in io.Reader) error {
	w := parquet.NewGenericWriter[parquetRow](out, parquet.Compression(&parquet.Zstd))
	lines := bufio.NewReaderSize(in, 1<<16)
	rows := make([]parquetRow, 0, parquetRows)
	flush := func() error {
		_, err := w.Write(rows)
		rows = rows[:0]
		return err
	}
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return errors.Join(flush(), w.Close())
		}
		if err != nil {
			return err
		}
		var r Record
		if err := json.Unmarshal(line, &r); err != nil {
			return err
		}
		row, err := rowOf(&r)
		if err != nil {
			return err
		}
		if rows = append(rows, row); len(rows) == parquetRows {
			if err := flush(); err != nil {
				return err
			}
		}
	}
}

func rowOf(r *Record) (row parquetRow, err error) {
	row = parquetRow{
		ID: r.ID, Customer: r.Customer, ExternalCustomer: r.ExternalCustomer, Meter: r.Meter, Unit: r.Unit, Currency: r.Currency, PriceCurrency: r.PriceCurrency,
		Value: r.Value, Hour: parseTime(r.Hour).UnixMicro(), Revision: int32(r.Revision), Dimensions: r.Dimensions,
		Timestamp: parseTime(r.Timestamp).UnixMicro(), SentAt: parseTime(r.SentAt).UnixMicro(), Writer: r.Writer,
	}
	if row.Quantity, err = decimalBytes(r.Quantity, usage.QuantityScale); err != nil {
		return row, err
	}
	for _, money := range [...]struct {
		text *string
		to   **[16]byte
	}{{r.Cost, &row.Cost}, {r.Price, &row.Price}} {
		if money.text == nil {
			continue
		}
		b, err := decimalBytes(*money.text, usage.AmountScale)
		if err != nil {
			return row, err
		}
		*money.to = &b
	}
	return row, nil
}

func decimalBytes(text string, scale int) (b [16]byte, err error) {
	n, ok := parseDecimal(text, scale)
	if !ok || n.BitLen() > 127 {
		return b, fmt.Errorf("%q is no decimal of %d places", text, scale)
	}
	if n.Sign() < 0 {
		n.Add(n, new(big.Int).Lsh(big.NewInt(1), 128))
	}
	n.FillBytes(b[:])
	return b, nil
}
