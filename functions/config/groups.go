package config

import "reflect"

// group is a set of variables that can be checked by itself.
type group interface{ validate() error }

// groupsOf lists the groups embedded in the struct c points to.
func groupsOf(c any) []group {
	var groups []group
	v := reflect.ValueOf(c).Elem()
	for _, field := range v.Fields() {
		if g, ok := reflect.TypeAssert[group](field); ok {
			groups = append(groups, g)
		}
	}
	return groups
}
