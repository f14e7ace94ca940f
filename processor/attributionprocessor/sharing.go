package attributionprocessor

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/processor"
)

// sharing joins the processors of one configuration, one in a traces and one in a logs pipeline: they have one directory, and a call that spans and log
// records tell of is found to be one.
type sharing struct {
	mu       sync.Mutex // guards everything here, and that sides start and stop one at a time
	byConfig map[*Config]*shared
}

type shared struct {
	*attributionProcessor
	sides, started int
	halted         bool
}

func newSharing() *sharing { return &sharing{byConfig: map[*Config]*shared{}} }

// createTraces never passes spans on as they come: ConsumeTraces answers when their facts are durable, and counted spans follow later.
func (s *sharing) createTraces(_ context.Context, set processor.Settings, cfg component.Config, next consumer.Traces) (processor.Traces, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.of(set, cfg.(*Config))
	if err != nil {
		return nil, err
	}
	if p.nextTraces != nil {
		return nil, p.twice("traces")
	}
	p.nextTraces = next
	p.sides++
	return tracesSide{side{s, p}}, nil
}

func (s *sharing) createLogs(_ context.Context, set processor.Settings, cfg component.Config, next consumer.Logs) (processor.Logs, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.of(set, cfg.(*Config))
	if err != nil {
		return nil, err
	}
	if p.nextLogs != nil {
		return nil, p.twice("logs")
	}
	p.nextLogs = next
	p.sides++
	return logsSide{side{s, p}}, nil
}

func (s *sharing) of(set processor.Settings, config *Config) (*shared, error) {
	if p := s.byConfig[config]; p != nil {
		return p, nil
	}
	core, err := newAttribution(set, config, time.Now)
	if err != nil {
		return nil, err
	}
	p := &shared{attributionProcessor: core}
	s.byConfig[config] = p
	return p, nil
}

func (p *shared) twice(signal string) error {
	return fmt.Errorf("attribution's directory %s is in use by this process already, in another %s pipeline: give each pipeline an attribution processor with a name and a directory of its own, "+
		"or lead all receivers into one pipeline", p.config.Directory, signal)
}

// side is one of the processors that share.
type side struct {
	of *sharing
	p  *shared
}

func (side) Capabilities() consumer.Capabilities { return consumer.Capabilities{MutatesData: false} }

// Start takes the directory with the first side; emission begins when what follows each side has started.
func (s side) Start(context.Context, component.Host) error {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	s.p.started++
	if s.p.started == 1 {
		if err := s.p.open(); err != nil {
			return err
		}
	}
	if s.p.started == s.p.sides && s.p.store != nil {
		s.p.launch()
	}
	return nil
}

// Shutdown ends emission with the first side, because what follows it ends next, and gives the directory up with the last.
func (s side) Shutdown(context.Context) error {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	if !s.p.halted {
		s.p.halted = true
		s.p.halt()
	}
	if s.p.sides--; s.p.sides > 0 {
		return nil
	}
	delete(s.of.byConfig, s.p.config)
	return s.p.close()
}

type tracesSide struct{ side }

type logsSide struct{ side }

var (
	_ processor.Traces = tracesSide{}
	_ processor.Logs   = logsSide{}
)
