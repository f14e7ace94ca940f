package main

import (
	"fmt"
	"slices"
)

// measured is what one turn gave.
type measured struct {
	perSecond  float64 // acknowledged spans, events or rows
	throughout float64 // the same, until the last event was in the ledger, the settling of its trace included
	cpuPerUnit float64 // CPU-seconds of the subject per million of them, until its last event was in the ledger
	rss        float64 // the largest resident size, in MiB
	allocs     float64 // allocations of the subject per unit, until its last event was in the ledger
	bytes      float64 // of the ledger's parts per event, when the program has ended
}

func (m measured) rate() float64 { return m.perSecond }
func (m measured) full() float64 { return m.throughout }
func (m measured) cpu() float64  { return m.cpuPerUnit }
func (m measured) heap() float64 { return m.allocs }
func (m measured) peak() float64 { return m.rss }
func (m measured) size() float64 { return m.bytes }

func median(ms []measured, of func(measured) float64) float64 {
	v := values(ms, of)
	n := len(v)
	return (v[(n-1)/2] + v[n/2]) / 2
}

func values(ms []measured, of func(measured) float64) []float64 {
	v := make([]float64, len(ms))
	for i, m := range ms {
		v[i] = of(m)
	}
	slices.Sort(v)
	return v
}

func spread(ms []measured, of func(measured) float64, format string) string {
	v := values(ms, of)
	return fmt.Sprintf(format+" ("+format+" to "+format+")", median(ms, of), v[0], v[len(v)-1])
}

func ratio(a, b float64) string { return fmt.Sprintf("%.2f", a/b) }

// row prints a row of a Markdown table.
func row(cells ...string) {
	for _, c := range cells {
		fmt.Print("| ", c, " ")
	}
	fmt.Println("|")
}

func header(cells ...string) {
	row(cells...)
	for range cells {
		fmt.Print("|---")
	}
	fmt.Println("|")
}
