package ledger

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2"
)

// get reads a value into a copy; ok is false when there is none.
func (s *store) get(key []byte) (value []byte, ok bool, err error) {
	v, closer, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, s.readError(err)
	}
	value = append([]byte(nil), v...)
	return value, true, closeAfter(closer, nil)
}

// getNumber reads what setNumber wrote, 0 when there is nothing.
func (s *store) getNumber(name string) (uint64, error) {
	v, ok, err := s.get(metaKey(name))
	if err != nil || !ok {
		return 0, err
	}
	if len(v) != 8 {
		return 0, corrupt("the store's number "+name, fmt.Errorf("it has %d bytes", len(v)))
	}
	return binary.BigEndian.Uint64(v), nil
}

func setNumber(b *pebble.Batch, name string, n uint64) error {
	return b.Set(metaKey(name), binary.BigEndian.AppendUint64(nil, n), nil)
}

// getJSON reads a record; ok is false when there is none.
func (s *store) getJSON(key []byte, record any) (ok bool, err error) {
	v, ok, err := s.get(key)
	if err != nil || !ok {
		return false, err
	}
	return true, decodeJSON(key, v, record)
}

func decodeJSON(key, value []byte, record any) error {
	if err := json.Unmarshal(value, record); err != nil {
		return corrupt(fmt.Sprintf("the store's record %q", key), err)
	}
	return nil
}

func setJSON(b *pebble.Batch, key []byte, record any) error {
	v, err := json.Marshal(record)
	if err != nil {
		return err
	}
	return b.Set(key, v, nil)
}

// scan calls f for the keys in [low, high) in order; when it answers with a SkipTo those before that key are passed over. Key and value are only valid during the call.
func (s *store) scan(low, high []byte, f func(key, value []byte) error) (err error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: low, UpperBound: high})
	if err != nil {
		return s.readError(err)
	}
	defer func() { err = closeAfter(it, err) }()
	for ok := it.First(); ok; {
		v, err := it.ValueAndErr()
		if err != nil {
			return s.readError(err)
		}
		err = f(it.Key(), v)
		var skip SkipTo
		switch {
		case err == nil:
			ok = it.Next()
		case errors.As(err, &skip):
			ok = it.SeekGE(skip.Key)
		default:
			return err
		}
	}
	if err := it.Error(); err != nil {
		return s.readError(err)
	}
	return nil
}

func (s *store) readError(err error) error {
	if pebble.IsCorruptionError(err) {
		err = corrupt("the ledger's store", err)
		s.fail(err)
		return err
	}
	return fmt.Errorf("read the ledger's store: %w", err)
}

// prefixEnd is the first key after all that start with prefix.
func prefixEnd(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}

func closeAfter(c io.Closer, err error) error {
	if closeErr := c.Close(); err == nil {
		return closeErr
	}
	return err
}
