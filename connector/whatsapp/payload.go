package whatsapp

import (
	"fmt"
	"strings"

	"go.mau.fi/whatsmeow/proto/waE2E"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// maxPayload bounds the encoded message that is kept beside the text.
const maxPayload = 64 << 10

// payload encodes a message for the application; nil where the text alone is all of it. Of one that is too large the
// previews go first, and cut tells that the rest was too large still.
func payload(m *waE2E.Message) (data []byte, cut bool, err error) {
	content := contentOf(m)
	if isBareText(content) {
		return nil, false, nil
	}
	if proto.Size(content) > maxPayload {
		dropPreviews(content.ProtoReflect())
	}
	if proto.Size(content) > maxPayload {
		return nil, true, nil
	}
	if data, err = proto.Marshal(content); err != nil {
		return nil, false, fmt.Errorf("marshal message: %w", err)
	}
	return data, false, nil
}

// contentOf copies a message without what comes with it for the devices alone: sender keys, the message's secret, lists
// of devices.
func contentOf(m *waE2E.Message) *waE2E.Message {
	content := proto.Clone(m).(*waE2E.Message)
	content.SenderKeyDistributionMessage, content.FastRatchetKeySenderKeyDistributionMessage = nil, nil
	if info := content.MessageContextInfo; info != nil {
		info.MessageSecret, info.DeviceListMetadata, info.DeviceListMetadataVersion = nil, nil, nil
		if proto.Size(info) == 0 {
			content.MessageContextInfo = nil
		}
	}
	return content
}

// isBareText tells whether a message is nothing but its text: no quoted message, no mentions, no link. What every
// message has for its own transport doesn't count.
func isBareText(content *waE2E.Message) bool {
	if content.Conversation == nil && content.ExtendedTextMessage == nil {
		return false
	}
	rest := &waE2E.Message{}
	proto.Merge(rest, content)
	rest.Conversation, rest.MessageContextInfo = nil, nil
	if extended := rest.ExtendedTextMessage; extended != nil {
		extended.Text = nil
		if extended.GetPreviewType() == waE2E.ExtendedTextMessage_NONE { // phones write it on every text
			extended.PreviewType = nil
		}
		if proto.Size(extended) == 0 {
			rest.ExtendedTextMessage = nil
		}
	}
	return proto.Size(rest) == 0
}

// dropPreviews removes small pictures, and what serves to play a medium before all of it is there, from a message and
// from the messages in it.
func dropPreviews(m protoreflect.Message) {
	m.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		switch {
		case field.IsMap():
		case field.Message() != nil && field.IsList():
			for i := range value.List().Len() {
				dropPreviews(value.List().Get(i).Message())
			}
		case field.Message() != nil:
			dropPreviews(value.Message())
		case field.Kind() == protoreflect.BytesKind && isPreview(string(field.Name())):
			m.Clear(field)
		case field.Name() == "vcard" && !field.IsList():
			m.Set(field, protoreflect.ValueOfString(withoutPhoto(value.String())))
		}
		return true
	})
}

// isPreview goes by the names that such fields have: JPEGThumbnail, streamingSidecar and so on, but not the
// thumbnails' checksums.
func isPreview(name string) bool {
	name = strings.ToLower(name)
	return (strings.Contains(name, "thumb") || strings.Contains(name, "sidecar")) && !strings.Contains(name, "sha256")
}

// withoutPhoto removes a contact's pictures from a card (RFC 6350): a line that begins with a space goes on with the one
// before.
func withoutPhoto(card string) string {
	var kept strings.Builder
	dropping := false
	for line := range strings.Lines(card) {
		if !strings.HasPrefix(line, " ") && !strings.HasPrefix(line, "\t") {
			dropping = isPhoto(line)
		}
		if !dropping {
			kept.WriteString(line)
		}
	}
	return kept.String()
}

// isPhoto tells whether a line of a card begins a picture: PHOTO;ENCODING=b:…, item1.LOGO:… and so on.
func isPhoto(line string) bool {
	end := strings.IndexAny(line, ":;")
	if end < 0 {
		return false
	}
	name := strings.ToUpper(line[:end])
	if dot := strings.LastIndexByte(name, '.'); dot >= 0 {
		name = name[dot+1:]
	}
	return name == "PHOTO" || name == "LOGO"
}
