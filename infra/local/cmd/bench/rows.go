package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

func captureOverhead(ctx context.Context, progress io.Writer) ([]row, error) {
	r, err := goBench(ctx, progress, "./connector/capture", "^BenchmarkWrite", "2s")
	if err != nil {
		return nil, err
	}
	with, err1 := r.need("WriteWith", "ns/op")
	without, err2 := r.need("WriteWithout", "ns/op")
	plain, err3 := r.need("WritePlain", "ns/op")
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	return []row{{
		"local write with capture / without",
		fmt.Sprintf("%.2f (%.0f µs / %.0f µs; with the plain driver %.0f µs)", with/without, with/1e3, without/1e3, plain/1e3),
		"≤ 1.4",
		"whatsmeow's store writes a session record of 900 bytes, with and without the triggers, 2 s each",
	}}, nil
}

func bytesPerChange(ctx context.Context, progress io.Writer) ([]row, error) {
	r, err := goBench(ctx, progress, "./connector/replicate", "^BenchmarkBytesPerChange$", "200x")
	if err != nil {
		return nil, err
	}
	small, err1 := r.need("BytesPerChange/session=0MB", "pushed-B/op")
	large, err2 := r.need("BytesPerChange/session=10MB", "pushed-B/op")
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	return []row{{
		"bytes pushed per steady 1:1 text, 10 MB session",
		fmt.Sprintf("%.0f bytes (fresh session: %.0f)", large, small),
		"≤ 4 kB; does not grow with the session",
		"200 texts, each made durable by itself: one session record of 900 bytes and one message secret; sealed bytes",
	}}, nil
}

func pushLatency(ctx context.Context, progress io.Writer) ([]row, error) {
	r, err := goBench(ctx, progress, "./connector/replicate", "^BenchmarkPushLatency$/^tidb$", "1000x")
	if err != nil {
		return nil, err
	}
	p50, err1 := r.need("PushLatency/tidb", "p50-ms")
	p99, err2 := r.need("PushLatency/tidb", "p99-ms")
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	return []row{{
		"change → durable, 100 sessions at 1 change/s each",
		fmt.Sprintf("p50 %.0f ms, p99 %.0f ms", p50, p99),
		"p50 ≤ 300 ms, p99 ≤ 1 s (set for 1,000 sessions), coalescing of 200 ms included",
		"1,000 changes, the real TiDB engine on the same cores",
	}}, nil
}

func acknowledged(ctx context.Context, progress io.Writer) ([]row, error) {
	r, err := goBench(ctx, progress, "./connector/replicate", "^BenchmarkWaitDurable$/^5ms$", "1000x")
	if err != nil {
		return nil, err
	}
	one, err1 := r.need("WaitDurable/5ms/sessions=1", "messages/s")
	all, err2 := r.need("WaitDurable/5ms/sessions=100", "messages/s")
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	return []row{{
		"changes that wait for TiDB, per second, one session / 100 sessions",
		fmt.Sprintf("%.0f / %.0f", one, all),
		"≥ 100 / ≥ 1,000",
		"each change waits until it is durable before the next of its session; a store that answers in 5 ms",
	}}, nil
}

func received(ctx context.Context, progress io.Writer) ([]row, error) {
	r, err := goBench(ctx, progress, "./connector/replicate", "^BenchmarkReceive$", "1000x")
	if err != nil {
		return nil, err
	}
	var rates [4]float64
	var errs [4]error
	for i, name := range []string{"sessions=1/without=false", "sessions=20/without=false", "sessions=1/without=true", "sessions=20/without=true"} {
		rates[i], errs[i] = r.need("Receive/"+name, "messages/s")
	}
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	return []row{{
		"incoming messages per second with A1 on, one session / 20 sessions",
		fmt.Sprintf("%.0f / %.0f (acknowledged on local durability: %.0f / %.0f)", rates[0], rates[1], rates[2], rates[3]),
		"≥ 100 / ≥ 1,000, TiDB answering in 5 ms",
		"1,000 texts from a phone to a whatsmeow client, from the phone's encryption to the acknowledgement; the phones and the simulated service run on the same cores; a store that answers in 5 ms",
	}}, nil
}

func restoreTime(ctx context.Context, progress io.Writer) ([]row, error) {
	r, err := goBench(ctx, progress, "./connector/replicate", "^BenchmarkRestore$", "10x")
	if err != nil {
		return nil, err
	}
	var text string
	for _, size := range []string{"1MB", "4MB", "16MB"} {
		ahead, err1 := r.need("Restore/size="+size+"/derived=true", "ns/op")
		cold, err2 := r.need("Restore/size="+size+"/derived=false", "ns/op")
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		if text != "" {
			text += "; "
		}
		text += fmt.Sprintf("%s %s / %s", size, milliseconds(ahead), milliseconds(cold))
	}
	return []row{{
		"restore by size, keys derived ahead / not",
		text,
		"1 MB ≤ 150 ms / + 20 ms; linear in size",
		"a base and 100 deltas from the real engine into a verified file, checks included; 10 times each",
	}}, nil
}

func milliseconds(ns float64) string {
	return time.Duration(ns).Round(100 * time.Microsecond).String()
}
