package template

import (
	"debug/elf"
	"debug/gosym"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
)

// iamPrefixes says what IAM calls the service of each of the SDK's packages.
var iamPrefixes = map[string]string{"sqs": "sqs"}

// operation is how a client's operation shows in a program: the SDK has one such
// method for each.
var operation = regexp.MustCompile(`^github\.com/aws/aws-sdk-go-v2/service/([a-z0-9]+)\.\(\*Client\)\.addOperation([A-Za-z]+)Middlewares$`)

// programs says which calls of AWS each program can make, as IAM names them; by
// folder of the function, and "connector".
type programs map[string][]string

// readPrograms looks into the built programs. The linker leaves out every method
// that nothing can call, so that what is in a program is what it can call, and
// what is not, it can't, whatever the source looks like.
func readPrograms() (programs, error) {
	files := map[string]string{"connector": filepath.Join(top, ".build", "bin", "connector")}
	for _, folder := range folders() {
		files[folder] = filepath.Join(top, ".build", "lambda", folder, "bootstrap")
	}
	found := programs{}
	for name, file := range files {
		calls, err := awsCalls(file)
		if err != nil {
			return nil, fmt.Errorf("look for calls of AWS in %s: %w", file, err)
		}
		found[name] = calls
	}
	return found, nil
}

func awsCalls(file string) (calls []string, err error) {
	functions, err := functionsOf(file)
	if err != nil {
		return nil, err
	}
	for _, f := range functions {
		m := operation.FindStringSubmatch(f.Name)
		if m == nil {
			continue
		}
		prefix, ok := iamPrefixes[m[1]]
		if !ok {
			return nil, fmt.Errorf("the program calls %s: say what IAM calls it", m[1])
		}
		calls = append(calls, prefix+":"+m[2])
	}
	slices.Sort(calls)
	return calls, nil
}

// functionsOf lists the functions in a program: the runtime's own table of them
// is there in a stripped one too.
func functionsOf(file string) (list []gosym.Func, err error) {
	f, err := elf.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	code, lines := f.Section(".text"), f.Section(".gopclntab")
	if lines == nil {
		lines = f.Section(".data.rel.ro.gopclntab")
	}
	if code == nil || lines == nil {
		return nil, errors.New("no table of functions")
	}
	data, err := lines.Data()
	if err != nil {
		return nil, err
	}
	table, err := gosym.NewTable(nil, gosym.NewLineTable(data, code.Addr))
	if err != nil {
		return nil, err
	}
	if len(table.Funcs) < 1000 {
		return nil, fmt.Errorf("%d functions are no program of ours", len(table.Funcs))
	}
	return table.Funcs, nil
}
