// Program otelcol-usagebox is an OpenTelemetry Collector that meters the usage of AI agents.
package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/provider/envprovider"
	"go.opentelemetry.io/collector/confmap/provider/fileprovider"
	"go.opentelemetry.io/collector/confmap/provider/httpprovider"
	"go.opentelemetry.io/collector/confmap/provider/httpsprovider"
	"go.opentelemetry.io/collector/confmap/provider/yamlprovider"
	"go.opentelemetry.io/collector/featuregate"
	"go.opentelemetry.io/collector/otelcol"
)

//go:embed default.yaml
var defaultConfig string

const version = "0.1.0"

// componentHealth makes health_check answer with the state of the components, a catalogue or disk that can't be used included.
const componentHealth = "extension.healthcheck.useComponentStatus"

func main() {
	boundMemory()
	if err := featuregate.GlobalRegistry().Set(componentHealth, true); err != nil {
		fmt.Fprintln(os.Stderr, "error: "+err.Error())
		os.Exit(1)
	}
	cmd := newCommand(bannerFor(os.Args[1:]))
	cmd.SetArgs(withDefaultConfig(cmd, os.Args[1:]))
	if err := cmd.Execute(); err != nil {
		fmt.Fprintln(os.Stderr, "error: "+explain(err))
		os.Exit(1)
	}
}

// bannerFor is where to tell of the configuration: only a program that is about to run does.
func bannerFor(args []string) io.Writer {
	if target, _, err := newCommand(io.Discard).Find(args); err == nil && target.HasParent() {
		return io.Discard
	}
	return os.Stderr
}

func newCommand(banner io.Writer) *cobra.Command {
	cmd := otelcol.NewCommand(settings(banner))
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.RunE = stoppable(cmd.RunE)
	cmd.Short = "Meters what AI agents use: spans and posted events in, an exact ledger out"
	cmd.AddCommand(&cobra.Command{
		Use:   "default-config",
		Short: "Print the configuration that runs without --config",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprint(cmd.OutOrStdout(), defaultConfig)
			return err
		},
	})
	cmd.AddCommand(ownCommands()...)
	for _, sub := range cmd.Commands() {
		sub.SilenceErrors, sub.SilenceUsage = true, true
	}
	return cmd
}

// stoppable ends run as operators ask for it, also while it still starts: then what has started is shut down as well. The Collector itself would only listen to
// them after that.
func stoppable(run func(*cobra.Command, []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		cmd.SetContext(ctx)
		if err := run(cmd, args); ctx.Err() == nil || !errors.Is(err, context.Canceled) {
			return err
		}
		return nil // it was stopped while it started
	}
}

// withDefaultConfig adds the embedded configuration where a command needs one and none is given.
func withDefaultConfig(cmd *cobra.Command, args []string) []string {
	target, _, err := cmd.Find(args)
	if err != nil {
		return args
	}
	switch target.Name() {
	case cmd.Name(), "validate", "print-config":
	default:
		return args
	}
	for _, a := range args {
		switch {
		case a == "--config", a == "-h", a == "--help", a == "-v", a == "--version", len(a) > 9 && a[:9] == "--config=":
			return args
		}
	}
	return append(args, "--config=yaml:"+defaultConfig)
}

func settings(banner io.Writer) otelcol.CollectorSettings {
	return otelcol.CollectorSettings{
		BuildInfo: component.BuildInfo{
			Command:     "otelcol-usagebox",
			Description: "OpenTelemetry Collector that meters the usage of AI agents",
			Version:     version,
		},
		Factories:               components,
		DisableGracefulShutdown: true, // by the Collector: stoppable does it
		ConfigProviderSettings: otelcol.ConfigProviderSettings{
			ResolverSettings: confmap.ResolverSettings{
				ProviderFactories: []confmap.ProviderFactory{
					envprovider.NewFactory(),
					fileprovider.NewFactory(),
					httpprovider.NewFactory(),
					httpsprovider.NewFactory(),
					yamlprovider.NewFactory(),
				},
				ConverterFactories: []confmap.ConverterFactory{newBanner(banner)},
			},
		},
	}
}
