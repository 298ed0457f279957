package main

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// signs are sentences that a licence can't do without, by SPDX identifier, in
// lower case and with single spaces. All of a licence's have to be there, and
// none of those after not.
var signs = []struct {
	id  string
	has []string
	not []string
}{
	{
		"AGPL-3.0-only",
		[]string{"gnu affero general public license version 3, 19 november 2007"},
		nil,
	},
	{
		"Apache-2.0",
		[]string{"apache license version 2.0, january 2004", "3. grant of patent license"},
		nil,
	},
	{
		"BSD-2-Clause",
		[]string{"redistributions of source code must retain the above copyright notice", "redistributions in binary form must reproduce the above copyright notice"},
		[]string{"neither the name", "the names of its contributors may not", "may not be used to endorse", "all advertising materials"},
	},
	{
		"BSD-3-Clause",
		[]string{
			"redistributions of source code must retain the above copyright notice", "redistributions in binary form must reproduce the above copyright notice",
			"endorse or promote products derived from this software without specific prior written permission",
		},
		[]string{"all advertising materials"},
	},
	{
		"GPL-2.0-only",
		[]string{"gnu general public license version 2, june 1991"},
		nil,
	},
	{
		"GPL-3.0-only",
		[]string{"gnu general public license version 3, 29 june 2007", "5. conveying modified source versions"},
		nil,
	},
	{
		"ISC",
		[]string{"distribute this software for any purpose with or without fee is hereby granted, provided that the above copyright notice"},
		nil,
	},
	{
		"LGPL-3.0-only",
		[]string{"gnu lesser general public license version 3, 29 june 2007"},
		nil,
	},
	{
		"MIT",
		[]string{
			"permission is hereby granted, free of charge, to any person obtaining a copy",
			"the above copyright notice and this permission notice shall be included in all copies or substantial portions of the software",
		},
		nil,
	},
	{
		"MIT-0",
		[]string{"permission is hereby granted, free of charge, to any person obtaining a copy"},
		[]string{"the above copyright notice and this permission notice shall be included"},
	},
	{
		"MPL-2.0",
		[]string{"mozilla public license version 2.0", "exhibit a - source code form license notice"},
		nil,
	},
	{
		"LicenseRef-public-domain",
		[]string{"has been dedicated to the public domain by the authors", "anyone is free to copy, modify, publish, use, compile, sell, or distribute"},
		nil,
	},
}

var spaces = regexp.MustCompile(`[\s*#>=]+`)

// identify names the licences that a text holds; none when it holds none that
// signs know.
func identify(text string) (ids []string) {
	plain := spaces.ReplaceAllString(strings.ToLower(text), " ")
	in := func(sentence string) bool { return strings.Contains(plain, sentence) }
	for _, s := range signs {
		if !slices.ContainsFunc(s.has, func(x string) bool { return !in(x) }) && !slices.ContainsFunc(s.not, in) {
			ids = append(ids, s.id)
		}
	}
	return ids
}

// notices are files beside a licence that only say something about it.
var notices = []string{"NOTICE", "NOTICE.txt", "PATENTS", "LICENSE-SUMMARY", "LICENSE-LOGO"}

func notice(name string) bool { return slices.Contains(notices, name) }

// permissive licences ask no more than that their text goes along.
var permissive = []string{"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "LicenseRef-public-domain", "MIT", "MIT-0"}

// copyleft are the modules under licences that ask for more. What follows from
// them is in copyleftText.
var copyleft = map[string]string{
	"github.com/go-sql-driver/mysql": "MPL-2.0",
	"go.mau.fi/util":                 "MPL-2.0",
	"go.mau.fi/whatsmeow":            "MPL-2.0",
	"go.mau.fi/libsignal":            "GPL-3.0-only",
}

// check refuses a module without a licence or with one that is not on the lists,
// and the functions the GPL: they are free of it so far, and shall stay so.
func check(modules []module) error {
	var wrong []error
	for _, m := range modules {
		if len(m.licences) == 0 {
			wrong = append(wrong, fmt.Errorf("%s %s has no licence file: it may not be shipped", m.Path, m.Version))
		}
		for _, id := range m.licences {
			if !slices.Contains(permissive, id) && copyleft[m.Path] != id {
				wrong = append(wrong, fmt.Errorf("%s %s is under %s: read what that asks for, then allow or replace it (identify.go)", m.Path, m.Version, id))
			}
			if strings.Contains(id, "GPL") && slices.Contains(m.programs, "functions") {
				wrong = append(wrong, fmt.Errorf("%s %s is under %s and linked into the functions, which were free of it", m.Path, m.Version, id))
			}
		}
	}
	return errors.Join(wrong...)
}
