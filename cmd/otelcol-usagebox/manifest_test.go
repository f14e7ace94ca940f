package main

import (
	"os"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
	"go.uber.org/zap"
	"go.yaml.in/yaml/v3"
)

const ownModule = "github.com/usagebox/otelcol-usagebox"

type module struct {
	GoMod  string `yaml:"gomod"`
	Import string `yaml:"import"`
}

type manifest struct {
	Dist struct {
		Name        string `yaml:"name"`
		Description string `yaml:"description"`
		Version     string `yaml:"version"`
	} `yaml:"dist"`
	Telemetry  module   `yaml:"telemetry"`
	Receivers  []module `yaml:"receivers"`
	Processors []module `yaml:"processors"`
	Exporters  []module `yaml:"exporters"`
	Connectors []module `yaml:"connectors"`
	Extensions []module `yaml:"extensions"`
	Providers  []module `yaml:"providers"`
}

func readManifest(t *testing.T) manifest {
	t.Helper()
	text, err := os.ReadFile("../../builder-config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var m manifest
	if err := yaml.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestTheManifestAndGoModNameTheSameVersions(t *testing.T) {
	m := readManifest(t)
	text, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	required := map[string]string{}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(strings.TrimPrefix(line, "require "))
		switch {
		case slices.Contains(fields, "=>"):
			t.Errorf("go.mod replaces a module: `go install` of the program fails then: %s", line)
		case len(fields) >= 2 && strings.HasPrefix(fields[1], "v"):
			required[fields[0]] = fields[1]
		}
	}
	all := slices.Concat([]module{m.Telemetry}, m.Receivers, m.Processors, m.Exporters, m.Connectors, m.Extensions, m.Providers)
	if len(all) < 30 {
		t.Fatalf("the manifest has %d modules", len(all))
	}
	for _, one := range all {
		path, version, _ := strings.Cut(one.GoMod, " ")
		if path == ownModule {
			if version != "v"+m.Dist.Version {
				t.Errorf("%s: the distribution has version %s", one.GoMod, m.Dist.Version)
			}
			continue
		}
		if required[path] != version {
			t.Errorf("the manifest has %s, go.mod has %q", one.GoMod, required[path])
		}
	}
}

func TestTheProgramHoldsWhatTheManifestNames(t *testing.T) {
	m := readManifest(t)
	factories, err := components()
	if err != nil {
		t.Fatal(err)
	}
	for class, q := range map[string]struct {
		want []module
		have map[component.Type]string
	}{
		"receivers":  {m.Receivers, factories.ReceiverModules},
		"processors": {m.Processors, factories.ProcessorModules},
		"exporters":  {m.Exporters, factories.ExporterModules},
		"connectors": {m.Connectors, factories.ConnectorModules},
		"extensions": {m.Extensions, factories.ExtensionModules},
	} {
		var want, have []string
		for _, one := range q.want {
			want = append(want, one.GoMod)
		}
		seen := map[string]bool{} // a type and its former name have one module
		for _, module := range q.have {
			if strings.HasPrefix(module, ownModule+" ") {
				have = append(have, module)
			} else if !seen[module] {
				have, seen[module] = append(have, module), true
			}
		}
		slices.Sort(want)
		slices.Sort(have)
		if !slices.Equal(want, have) {
			t.Errorf("%s: the manifest has %v, the program %v", class, want, have)
		}
	}
	set := settings(nil)
	if set.BuildInfo.Command != m.Dist.Name || set.BuildInfo.Description != m.Dist.Description || set.BuildInfo.Version != m.Dist.Version {
		t.Errorf("the program says %+v, the manifest %+v", set.BuildInfo, m.Dist)
	}
	schemes := map[string]bool{}
	for _, f := range set.ConfigProviderSettings.ResolverSettings.ProviderFactories {
		schemes[f.Create(confmap.ProviderSettings{Logger: zap.NewNop()}).Scheme()] = true
	}
	for _, p := range m.Providers {
		path, _, _ := strings.Cut(p.GoMod, " ")
		scheme := strings.TrimSuffix(path[strings.LastIndexByte(path, '/')+1:], "provider")
		if !schemes[scheme] {
			t.Errorf("the manifest has a provider for %s, the program has %v", scheme, schemes)
		}
		delete(schemes, scheme)
	}
	if len(schemes) > 0 {
		t.Errorf("providers that the manifest doesn't name: %v", schemes)
	}
}
