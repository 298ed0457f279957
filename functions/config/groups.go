package config

import "reflect"

// group is a set of variables that can be checked by itself.
type group interface{ validate() error }

// groupsOf lists the groups embedded in the struct c points to.
func groupsOf(c any) []group {
	var groups []group
	v := reflect.ValueOf(c).Elem()
	for i := range v.NumField() {
		if g, ok := v.Field(i).Interface().(group); ok {
			groups = append(groups, g)
		}
	}
	return groups
}
