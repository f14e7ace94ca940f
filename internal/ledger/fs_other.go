//go:build !linux && !darwin

package ledger

func exchange(string, string) error { return ErrExchangeUnsupported }
