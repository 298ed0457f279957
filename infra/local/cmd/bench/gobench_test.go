package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseBench(t *testing.T) {
	got, err := parseBench(`goos: linux
BenchmarkRestore/size=1MB/derived=true-2         	      57	  20468361 ns/op	  51.23 MB/s
BenchmarkPushLatency/tidb-2     	     200	  10000 ns/op	       214.0 p50-ms	       260.0 p99-ms
PASS
`)
	if err != nil {
		t.Fatal(err)
	}
	want := results{
		"Restore/size=1MB/derived=true": {"ns/op": 20468361, "MB/s": 51.23},
		"PushLatency/tidb":              {"ns/op": 10000, "p50-ms": 214, "p99-ms": 260},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, err := got.need("Restore/size=1MB/derived=true", "p50-ms"); err == nil {
		t.Error("a metric nobody reported was found")
	}
}
