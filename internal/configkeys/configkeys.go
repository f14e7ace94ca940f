// Package configkeys finds keys of a configuration that nobody reads. Configurations of the Collector's own let them pass when they are part of another one.
package configkeys

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"go.opentelemetry.io/collector/confmap"
)

// Check refuses keys that a configuration of type T doesn't have, and names those that it has.
func Check[T any](conf *confmap.Conf) error { return CheckMap[T](conf.ToStringMap()) }

// CheckMap is Check of a part of a configuration.
func CheckMap[T any](values map[string]any) error {
	known := keys(reflect.TypeFor[T](), nil)
	slices.Sort(known)
	var unknown []string
	for key := range values {
		if !slices.Contains(known, key) {
			unknown = append(unknown, key)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	slices.Sort(unknown)
	return fmt.Errorf("has invalid keys: %s; the keys are %s", strings.Join(unknown, ", "), strings.Join(known, ", "))
}

// keys adds the names that a configuration's fields have.
func keys(of reflect.Type, to []string) []string {
	for field := range of.Fields() {
		name, options, _ := strings.Cut(field.Tag.Get(confmap.MapstructureTag), ",")
		switch {
		case !field.IsExported():
		case strings.Contains(options, "squash"):
			to = keys(field.Type, to)
		case name != "" && name != "-":
			to = append(to, name)
		}
	}
	return to
}
