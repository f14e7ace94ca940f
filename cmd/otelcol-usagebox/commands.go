package main

import (
	"github.com/spf13/cobra"

	"github.com/usagebox/otelcol-usagebox/internal/catalogcmd"
	"github.com/usagebox/otelcol-usagebox/internal/explaintrace"
	"github.com/usagebox/otelcol-usagebox/internal/feedcmd"
	"github.com/usagebox/otelcol-usagebox/internal/ledgercmd"
)

// ownCommands are those beside a Collector's.
func ownCommands() []*cobra.Command {
	return []*cobra.Command{ledgercmd.NewCommand(), feedcmd.NewCommand(), catalogcmd.NewCommand(), catalogcmd.NewRepriceCommand(), explaintrace.NewCommand()}
}
