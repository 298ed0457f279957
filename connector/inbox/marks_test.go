package inbox

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMarksByPrefix(t *testing.T) {
	in, _, _ := newInbox(t)
	for name, value := range map[string]string{"a 1": "x", "a 2": "y", "a%": "z", "b": "w"} {
		if err := in.SetMark(t.Context(), name, value); err != nil {
			t.Fatal(err)
		}
	}
	if err := in.ClearMark(t.Context(), "a 2"); err != nil {
		t.Fatal(err)
	}
	for prefix, want := range map[string]map[string]string{"a ": {"a 1": "x"}, "a%": {"a%": "z"}, "c": {}} {
		if got, err := in.Marks(t.Context(), prefix); err != nil || !cmp.Equal(want, got) {
			t.Errorf("%q: %v, %v; want %v", prefix, got, err, want)
		}
	}
}
