// Package emf writes metrics in CloudWatch's embedded metric format: lines of
// JSON that CloudWatch finds in a function's log and turns into metrics, so that
// no function needs a permission or a call for it
// (https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html).
package emf

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"
)

// Namespace holds all metrics of this system.
const Namespace = "CloudSession"

// Unit is one of CloudWatch's units.
type Unit string

// The units in use.
const (
	Count        Unit = "Count"
	Milliseconds Unit = "Milliseconds"
	Seconds      Unit = "Seconds"
)

// Metric is one value of a metric.
type Metric struct {
	Name  string
	Unit  Unit
	Value float64
}

// Dimension tells the values of one metric apart. Each combination of dimensions
// is a metric that is paid for, and anybody who may see metrics sees them: what
// names a session, a token or a caller is none.
type Dimension struct{ Name, Value string }

// Writer writes the metrics of one deployment. A nil Writer writes nothing. It
// is safe for concurrent use.
type Writer struct {
	mu         sync.Mutex
	out        io.Writer
	deployment string
}

// New makes a Writer to out, which is to be the function's standard output: each
// line is one event of its log. deployment becomes the dimension Deployment;
// without one there are no metrics, and New returns nil.
func New(out io.Writer, deployment string) *Writer {
	if deployment == "" {
		return nil
	}
	return &Writer{out: out, deployment: deployment}
}

// directive says which members of the line are metrics and dimensions.
type directive struct {
	Namespace  string
	Dimensions [][]string
	Metrics    []definition
}

type definition struct {
	Name string
	Unit Unit
}

// Put writes one line with values of metrics at a time. Besides Deployment they
// have the dimensions given, whose values must not be empty.
func (w *Writer) Put(at time.Time, metrics []Metric, more ...Dimension) error {
	if w == nil {
		return nil
	}
	d := directive{Namespace: Namespace, Dimensions: [][]string{{}}}
	line := map[string]any{}
	for _, dimension := range append([]Dimension{{"Deployment", w.deployment}}, more...) {
		d.Dimensions[0] = append(d.Dimensions[0], dimension.Name)
		line[dimension.Name] = dimension.Value
	}
	for _, m := range metrics {
		d.Metrics = append(d.Metrics, definition{m.Name, m.Unit})
		line[m.Name] = m.Value
	}
	line["_aws"] = struct {
		Timestamp         int64 // milliseconds since 1970
		CloudWatchMetrics []directive
	}{at.UnixMilli(), []directive{d}}
	text, err := json.Marshal(line)
	if err != nil {
		return fmt.Errorf("encode metrics: %w", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, err := w.out.Write(append(text, '\n')); err != nil {
		return fmt.Errorf("write metrics: %w", err)
	}
	return nil
}
