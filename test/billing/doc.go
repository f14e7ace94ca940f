// Package billing holds the billing feed against what vendors publish: their SDKs, their mock, their specifications' vectors, and
// Prometheus for the feed's alert rules. It is a module of its own, so that the collector depends on none of them.
package billing
