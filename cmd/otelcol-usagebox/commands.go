package main

import "github.com/spf13/cobra"

// ownCommands are those beside a Collector's.
func ownCommands() []*cobra.Command { return nil }
