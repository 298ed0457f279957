package template

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"gopkg.in/yaml.v3"
)

const (
	top     = "../.." // the repository
	region  = "ap-southeast-3"
	account = "123456789012"
)

// object is a mapping of the template.
type object = map[string]any

// template is template.yaml as CloudFormation would see it with some
// parameters: conditions decided, references and !Sub filled in. A reference to
// a resource is "<Name>", an attribute "<Name.Attribute>". Dynamic references,
// {{resolve:…}}, stay as they are.
type template struct {
	parameters map[string]string
	root       object // as written, tags turned into their long form
}

// readTemplate reads text, with values for parameters that differ from their defaults.
func readTemplate(text string, parameters map[string]string) (*template, error) {
	var node yaml.Node
	if err := yaml.Unmarshal([]byte(text), &node); err != nil {
		return nil, err
	}
	plain, err := long(node.Content[0])
	if err != nil {
		return nil, err
	}
	t := &template{root: plain.(object), parameters: map[string]string{
		"AWS::Partition": "aws", "AWS::Region": region, "AWS::AccountId": account, "AWS::URLSuffix": "amazonaws.com",
	}}
	for name, p := range at(t.root, "Parameters") {
		if v, ok := p.(object)["Default"]; ok {
			t.parameters[name] = fmt.Sprint(v)
		}
	}
	maps.Copy(t.parameters, parameters)
	return t, nil
}

// long turns a node into plain values, "!Sub x" into {"Fn::Sub": x}.
func long(n *yaml.Node) (v any, err error) {
	switch n.Kind {
	case yaml.MappingNode:
		o := object{}
		for i := 0; i < len(n.Content); i += 2 {
			if o[n.Content[i].Value], err = long(n.Content[i+1]); err != nil {
				return nil, err
			}
		}
		v = o
	case yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, c := range n.Content {
			if list[i], err = long(c); err != nil {
				return nil, err
			}
		}
		v = list
	case yaml.ScalarNode:
		if strings.HasPrefix(n.Tag, "!!") {
			err = n.Decode(&v)
		} else {
			v = n.Value
		}
	default:
		return nil, fmt.Errorf("line %d: aliases are unknown to CloudFormation", n.Line)
	}
	if name := strings.TrimPrefix(n.Tag, "!"); err == nil && name != "" && !strings.HasPrefix(name, "!") {
		if name != "Ref" {
			name = "Fn::" + name
		}
		v = object{name: v}
	}
	return v, err
}

// at walks down mappings; what is not there is an empty one.
func at(o object, path ...string) object {
	for _, name := range path {
		o, _ = o[name].(object)
	}
	return o
}

// noValue is what AWS::NoValue leaves: nothing.
type noValue struct{}

// value fills in v. It panics at a function the template does not use: the
// test must learn it first.
func (t *template) value(v any) any {
	switch v := v.(type) {
	case []any:
		list := []any{}
		for _, item := range v {
			if item = t.value(item); item != (noValue{}) {
				list = append(list, item)
			}
		}
		return list
	case object:
		for name, argument := range v {
			if len(v) == 1 && (name == "Ref" || strings.HasPrefix(name, "Fn::")) {
				return t.call(name, argument)
			}
		}
		o := object{}
		for name, item := range v {
			if item = t.value(item); item != (noValue{}) {
				o[name] = item
			}
		}
		return o
	default:
		return v
	}
}

func (t *template) call(name string, argument any) any {
	switch name {
	case "Ref":
		return t.ref(argument.(string))
	case "Fn::GetAtt":
		return "<" + argument.(string) + ">"
	case "Fn::Sub":
		return regexp.MustCompile(`\$\{[^}]+\}`).ReplaceAllStringFunc(argument.(string), func(hole string) string {
			return fmt.Sprint(t.ref(hole[2 : len(hole)-1]))
		})
	case "Fn::If":
		list := argument.([]any)
		if t.holds(at(t.root, "Conditions")[list[0].(string)]) {
			return t.value(list[1])
		}
		return t.value(list[2])
	}
	panic("the template uses " + name)
}

func (t *template) ref(name string) any {
	if name == "AWS::NoValue" {
		return noValue{}
	}
	if v, ok := t.parameters[name]; ok {
		return v
	}
	return "<" + name + ">"
}

// holds decides a condition.
func (t *template) holds(condition any) bool {
	for name, argument := range condition.(object) {
		list := argument.([]any)
		switch name {
		case "Fn::Not":
			return !t.holds(list[0])
		case "Fn::Equals":
			return t.value(list[0]) == t.value(list[1])
		}
	}
	panic(fmt.Sprintf("the template uses the condition %v", condition))
}

// resources are the resources of a type, or all if it is "", by name.
func (t *template) resources(kind string) map[string]object {
	found := map[string]object{}
	for name, r := range at(t.root, "Resources") {
		if r, ok := r.(object); ok && (kind == "" || r["Type"] == kind) {
			found[name] = r
		}
	}
	return found
}

// properties are a resource's, filled in.
func (t *template) properties(name string) object {
	return t.value(at(t.root, "Resources", name, "Properties")).(object)
}

// functions are the names of the functions, by their folder.
func (t *template) functions() map[string]string {
	found := map[string]string{}
	for name := range t.resources("AWS::Serverless::Function") {
		found[text(t.properties(name)["Handler"])] = name
	}
	return found
}

// text is v if it is a string, else "".
func text(v any) string {
	s, _ := v.(string)
	return s
}

// texts is a string or a list of them.
func texts(v any) (list []string) {
	if s, ok := v.(string); ok {
		return []string{s}
	}
	items, _ := v.([]any)
	for _, item := range items {
		list = append(list, fmt.Sprint(item))
	}
	return list
}

func templateText() (string, error) {
	raw, err := os.ReadFile(filepath.Join(top, "template.yaml"))
	return string(raw), err
}
