package main

// Configurations of the subjects. What they share is common.
const (
	common = `
extensions:
  health_check: {endpoint: "127.0.0.1:{health}"}
  pprof: {endpoint: "127.0.0.1:{pprof}"}
  file_storage: {directory: '{dir}/queue', create_directory: true, fsync: true}
`

	nopConfig = `
receivers:
  otlp: {protocols: {http: {endpoint: "127.0.0.1:{otlp}"}}}
exporters: {nop: {}}
service:
  extensions: [health_check, pprof]
` + telemetry + `
  pipelines:
    traces: {receivers: [otlp], exporters: [nop]}
`

	// durableConfig has the default configuration's settings.
	durableConfig = `
receivers:
  otlp: {protocols: {http: {endpoint: "127.0.0.1:{otlp}"}}}
  usage: {endpoint: "127.0.0.1:{api}"}
processors:
  attribution: {directory: '{dir}/usage/state/attribution', settle: {grace: 2s, idle: 10s, max_wait: 10m}}
  dedupe: {directory: '{dir}/usage/state/dedupe', window: 24h}
  pricing: {}
connectors: {spanusage: {}}
exporters:
  usage: {directory: '{dir}/usage', flush_interval: 5s}
service:
  extensions: [health_check, pprof]
` + telemetry + `
  pipelines:
    traces: {receivers: [otlp], processors: [attribution], exporters: [spanusage]}
    logs: {receivers: [usage, spanusage], processors: [dedupe, pricing], exporters: [usage]}
`

	// openSettle keeps traces open in place of defaultSettle, which durableConfig has.
	defaultSettle = "settle: {grace: 2s, idle: 10s, max_wait: 10m}"
	openSettle    = "settle: {grace: 6h, idle: 6h, max_wait: 6h}, memory_limit: 536870912"

	// queueConfig is what a Collector has for 'an answer means that it is on disk': a persistent queue that fsyncs.
	queueConfig = `
receivers:
  otlp: {protocols: {http: {endpoint: "127.0.0.1:{otlp}"}}}
exporters:
  otlp_http:
    endpoint: "http://127.0.0.1:{next}"
    compression: none
    sending_queue: {storage: file_storage, queue_size: 100000, block_on_overflow: true}
service:
  extensions: [health_check, pprof, file_storage]
` + telemetry + `
  pipelines:
    traces: {receivers: [otlp], exporters: [otlp_http]}
`

	// receiveConfig reads posted events and keeps nothing.
	receiveConfig = `
receivers:
  usage: {endpoint: "127.0.0.1:{api}"}
exporters: {nop: {}}
service:
  extensions: [health_check, pprof]
` + telemetry + `
  pipelines:
    logs: {receivers: [usage], exporters: [nop]}
`

	telemetry = `
  telemetry:
    logs: {level: warn}
    metrics: {readers: [{pull: {exporter: {prometheus: {host: 127.0.0.1, port: {metrics}}}}}]}
`
)
