package chaos

import "testing"

// Whole pushes count, from the last whole base on; parts of one don't.
func TestCountPushes(t *testing.T) {
	delta := piece{kind: "delta", part: 1, parts: 1}
	base := piece{kind: "base", part: 1, parts: 1}
	first, second := piece{kind: "base", part: 1, parts: 2}, piece{kind: "base", part: 2, parts: 2}
	for name, c := range map[string]struct {
		rows  []piece
		n     int
		based bool
	}{
		"nothing":                         {nil, 0, false},
		"deltas":                          {[]piece{delta, delta}, 2, false},
		"a base and deltas":               {[]piece{base, delta, delta}, 3, true},
		"two bases":                       {[]piece{base, delta, base, delta}, 2, true},
		"a base of two parts":             {[]piece{delta, first, second, delta}, 2, true},
		"a base that is not whole":        {[]piece{base, delta, first}, 2, true},
		"a base whose beginning is away":  {[]piece{second, delta}, 1, false},
		"a base that was not ended, then": {[]piece{first, delta}, 1, false},
	} {
		if n, based := countPushes(c.rows); n != c.n || based != c.based {
			t.Errorf("%s: %d pushes, base %v; want %d, %v", name, n, based, c.n, c.based)
		}
	}
}
