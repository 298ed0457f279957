package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// durable is the connector's histogram of the time from a change to its being
// durable, in seconds.
const durable = "cloudsession_change_durable_seconds"

// metrics are a process's metrics at one moment, by name.
type metrics map[string]*dto.MetricFamily

// scrape reads the metrics at addr.
func scrape(ctx context.Context, addr string) (_ metrics, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/metrics", http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("ask for metrics: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask for metrics: %w", err)
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("ask for metrics: %s", resp.Status)
	}
	return parseMetrics(resp.Body)
}

func parseMetrics(r io.Reader) (metrics, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	m, err := parser.TextToMetricFamilies(r)
	if err != nil {
		return nil, fmt.Errorf("read metrics: %w", err)
	}
	return m, nil
}

// gauge is the value of a metric without labels.
func (m metrics) gauge(name string) (float64, error) {
	list := m[name].GetMetric()
	if len(list) != 1 || list[0].Gauge == nil {
		return 0, fmt.Errorf("the connector shows no gauge %s", name)
	}
	return list[0].GetGauge().GetValue(), nil
}

// histogram counts times.
type histogram struct {
	total   uint64
	buckets []bucket // by upper, ascending, without the last one
}

// bucket says how many times were not longer than upper.
type bucket struct {
	upper time.Duration
	count uint64
}

func (m metrics) histogram(name string) (histogram, error) {
	list := m[name].GetMetric()
	if len(list) != 1 || list[0].Histogram == nil {
		return histogram{}, fmt.Errorf("the connector shows no histogram %s", name)
	}
	h := histogram{total: list[0].Histogram.GetSampleCount()}
	for _, b := range list[0].Histogram.GetBucket() {
		if upper := b.GetUpperBound() * float64(time.Second); upper < float64(1<<62) {
			h.buckets = append(h.buckets, bucket{time.Duration(upper), b.GetCumulativeCount()})
		}
	}
	return h, nil
}

// since is what h counted after it was as before.
func (h histogram) since(before histogram) histogram {
	d := histogram{total: h.total - before.total}
	for i, b := range h.buckets {
		d.buckets = append(d.buckets, bucket{b.upper, b.count - before.buckets[i].count})
	}
	return d
}

// quantile is the time that a share of q were not longer than, interpolated
// between the bounds of its bucket; false if it is longer than all bounds.
func (h histogram) quantile(q float64) (time.Duration, bool) {
	rank := q * float64(h.total)
	var below bucket
	for _, b := range h.buckets {
		if float64(b.count) >= rank && b.count > below.count {
			part := (rank - float64(below.count)) / float64(b.count-below.count)
			return below.upper + time.Duration(part*float64(b.upper-below.upper)), true
		}
		below = b
	}
	return 0, false
}

// within reports whether a share of q were not longer than limit, which is one
// of the bounds: exact, where quantile is not.
func (h histogram) within(q float64, limit time.Duration) bool {
	for _, b := range h.buckets {
		if b.upper == limit {
			return h.total > 0 && float64(b.count) >= q*float64(h.total)
		}
	}
	return false
}

// text writes a quantile for people.
func (h histogram) text(q float64) string {
	d, ok := h.quantile(q)
	if !ok && len(h.buckets) > 0 {
		return "> " + h.buckets[len(h.buckets)-1].upper.String()
	}
	return d.Round(time.Millisecond).String()
}
