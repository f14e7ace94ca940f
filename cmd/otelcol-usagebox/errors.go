package main

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
)

// stages are words of the Collector about where in its code an error arose, which tell a user nothing.
var stages = []string{
	"cannot start pipelines: ",
	"failed to get config: ",
	"cannot unmarshal the configuration: ",
	"cannot resolve the configuration: ",
	"cannot retrieve the configuration: ",
	"decoding failed due to the following error(s):",
	"retrieved value (type=string) cannot be used as a Conf: assuming string type since contents are not valid YAML: ",
}

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
	for _, stage := range stages {
		text = strings.ReplaceAll(text, stage, "")
	}
	lines := strings.FieldsFunc(text, func(r rune) bool { return r == '\n' })
	for i := range lines {
		lines[i] = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(lines[i]), "* "))
	}
	text = strings.TrimSuffix(strings.ReplaceAll(strings.Join(lines, "; "), ":; ", ": "), "; ")
	return strings.Replace(text, "time: invalid duration", "is no duration: write a number and a unit, such as 500ms, 2s, 10m or 24h", 1)
}
