package main

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
)

// explain is one line about an error of start: what is wrong, and what to do.
func explain(err error) string {
	var listen *net.OpError
	if errors.As(err, &listen) && errors.Is(err, syscall.EADDRINUSE) && listen.Addr != nil {
		return fmt.Sprintf("%s is in use by another program: stop it, or set another endpoint", listen.Addr)
	}
	if errors.As(err, &listen) && errors.Is(err, syscall.EACCES) && listen.Addr != nil {
		return fmt.Sprintf("%s can't be listened on without more rights: set an endpoint with a port above 1023", listen.Addr)
	}
	text := err.Error()
	if cause := errors.Unwrap(err); cause != nil && strings.HasPrefix(text, "cannot start pipelines: ") {
		text = strings.TrimPrefix(text, "cannot start pipelines: ")
	}
	lines := strings.FieldsFunc(text, func(r rune) bool { return r == '\n' })
	for i := range lines {
		lines[i] = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(lines[i]), "* "))
	}
	text = strings.ReplaceAll(strings.Join(lines, "; "), ":; ", ": ")
	return strings.Replace(text, "time: invalid duration", "is no duration: write a number and a unit, such as 500ms, 2s, 10m or 24h", 1)
}
