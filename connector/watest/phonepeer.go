package watest

import (
	"context"
	"strconv"
	"time"

	"go.mau.fi/whatsmeow/proto/waCommon"
	"go.mau.fi/whatsmeow/proto/waE2E"
	"go.mau.fi/whatsmeow/proto/waWeb"
	"go.mau.fi/whatsmeow/types"
	"google.golang.org/protobuf/proto"
)

// answerPeer serves a linked device's requests: it sends along the messages
// the device could not read, if the phone has them.
func (p *Phone) answerPeer(ctx context.Context, asking *device, m *waE2E.Message, id string) {
	request := m.GetProtocolMessage().GetPeerDataOperationRequestMessage()
	if p.silent || request.GetPeerDataOperationRequestType() != waE2E.PeerDataOperationRequestType_PLACEHOLDER_MESSAGE_RESEND {
		return
	}
	var results []*waE2E.PeerDataOperationRequestResponseMessage_PeerDataOperationResult
	for _, wanted := range request.GetPlaceholderMessageResendRequest() {
		raw := p.webMessage(wanted.GetMessageKey())
		if raw == nil {
			return
		}
		results = append(results, &waE2E.PeerDataOperationRequestResponseMessage_PeerDataOperationResult{
			PlaceholderMessageResendResponse: &waE2E.PeerDataOperationRequestResponseMessage_PeerDataOperationResult_PlaceholderMessageResendResponse{
				WebMessageInfoBytes: raw,
			},
		})
	}
	answer := &waE2E.Message{ProtocolMessage: &waE2E.ProtocolMessage{
		Type: waE2E.ProtocolMessage_PEER_DATA_OPERATION_REQUEST_RESPONSE_MESSAGE.Enum(),
		PeerDataOperationRequestResponseMessage: &waE2E.PeerDataOperationRequestResponseMessage{
			PeerDataOperationRequestType: request.PeerDataOperationRequestType, StanzaID: new(id),
			PeerDataOperationResult: results,
		},
	}}
	enc, err := p.encrypt(ctx, asking, answer, false)
	if err != nil {
		return // as if the phone were away
	}
	// A device that is gone needs no answer.
	_ = p.submit(&node{
		Tag: "message",
		Attrs: attrs{
			"id": "3EB0" + strconv.FormatInt(time.Now().UnixNano(), 16), "type": "text", "category": "peer",
			"to": asking.address(types.DefaultUserServer),
		},
		Content: []node{enc},
	})
}

// webMessage is a message the phone showed, in the form of history.
func (p *Phone) webMessage(key *waCommon.MessageKey) []byte {
	s := p.service
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range p.messages {
		if r.ID != key.GetID() {
			continue
		}
		raw, err := proto.Marshal(&waWeb.WebMessageInfo{
			Key: key, Message: r.Message, MessageTimestamp: new(uint64(r.Time.Unix())),
			PushName: new(r.PushName), Participant: key.Participant,
		})
		if err != nil {
			return nil
		}
		return raw
	}
	return nil
}
