package watest

import (
	"strconv"
	"time"

	waBinary "go.mau.fi/whatsmeow/binary"
	"go.mau.fi/whatsmeow/types"
)

// Short names for what every file here builds and reads.
type (
	node  = waBinary.Node
	attrs = waBinary.Attrs
)

func jidAttr(n *node, key string) types.JID {
	jid, _ := n.Attrs[key].(types.JID)
	return jid
}

func textAttr(n *node, key string) string {
	text, _ := n.Attrs[key].(string)
	return text
}

// bytesOf is a stanza's content; what is in the dictionary is decoded as text.
func bytesOf(n node) []byte {
	switch content := n.Content.(type) {
	case []byte:
		return content
	case string:
		return []byte(content)
	default:
		return nil
	}
}

// childBytes is the content of the first child with this tag.
func childBytes(n *node, tag string) []byte {
	return bytesOf(n.GetChildByTag(tag))
}

func hasChild(n *node, tag string) bool {
	_, ok := n.GetOptionalChildByTag(tag)
	return ok
}

func now() string { return strconv.FormatInt(time.Now().Unix(), 10) }

// result answers an iq.
func result(request *node, children ...node) node {
	from := jidAttr(request, "to")
	if from.IsEmpty() {
		from = types.ServerJID
	}
	answer := node{Tag: "iq", Attrs: attrs{"id": textAttr(request, "id"), "type": "result", "from": from}}
	if len(children) > 0 {
		answer.Content = children
	}
	return answer
}

// failed answers an iq with an error.
func failed(request *node, code int, text string) node {
	answer := result(request, node{Tag: "error", Attrs: attrs{"code": strconv.Itoa(code), "text": text}})
	answer.Attrs["type"] = "error"
	return answer
}

// copyAttrs gives a copy with only the named attributes.
func copyAttrs(from attrs, keys ...string) attrs {
	copied := make(attrs, len(keys)+6)
	for _, key := range keys {
		if value, ok := from[key]; ok && value != "" {
			copied[key] = value
		}
	}
	return copied
}
