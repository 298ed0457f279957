// Package webhook delivers a session's messages to the application by HTTP.
//
// # What the application gets
//
// Each message is one POST to WEBHOOK_URL whose body is a Message as JSON:
//
//	POST /hooks/whatsapp HTTP/1.1
//	content-type: application/json
//	webhook-id: msg_bd3d0f6d0f8a4b1f9c5e0a7d2a64f4f1f0c2f9f3
//	webhook-timestamp: 1769077845
//	webhook-signature: v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=
//	webhook-attempt: 1
//
//	{"type":"message.received","key":"msg_bd3d0f6d0f8a4b1f9c5e0a7d2a64f4f1f0c2f9f3",
//	 "session_id":"personal","id":"3EB0C431C26A1916EA9A","chat":"123456789@lid","sender":"123456789@lid",
//	 "chat_pn":"6281244445555@s.whatsapp.net","sender_pn":"6281244445555@s.whatsapp.net","from_me":false,
//	 "push_name":"Ani","kind":"text","text":"hello","timestamp":"2026-01-22T10:30:45Z",
//	 "received_at":"2026-01-22T10:30:45.123Z"}
//
// The headers and the signature are those of Standard Webhooks 1.0.0 (standardwebhooks.com). Its libraries verify them
// when WEBHOOK_SECRET has their form, whsec_ and base64; the bytes of any other secret are the key as they stand.
// Verify is the check in Go. While WEBHOOK_SECRET_PREVIOUS is set, each message is signed with both secrets.
//
// webhook-attempt counts the attempts that this process made for the message, from 1.
//
// # What the application may rely on
//
// An answer with a status from 200 to 299 within 10 seconds means that the application has the message. Anything
// else, redirects too, means that it doesn't: the message comes again, after a pause that grows from a second to five
// minutes, or after the time that a Retry-After header names (an hour at most), until it is taken. Only when those of a
// session weigh more than 64 MiB, the oldest are not kept once they are older than 14 days.
//
// Every message comes at least once, and always with the same key (webhook-id, and key in the body), whichever
// connector delivers it. It comes again when the answer was lost, or when the connector ended between the answer and
// its note of it; and after a restore of an older state, which doesn't know of later deliveries. An application that
// remembers keys for 14 days, for longer where itself or a session was away for longer, handles each message exactly
// once. Fields of a message that comes again may say more than the first time, such as a phone number that was learnt
// since; the key is the same.
//
// Within a chat messages come in the order in which the session received them: the next one is not sent before the
// one before it was taken. A chat whose message isn't taken holds up no other chat. There is no order among chats.
// Two connectors may deliver messages of one chat at the same time in one case only: one that has lost the session
// delivers what it alone has, while the new owner delivers the rest.
//
// Delivered is what came in after a connector with a webhook first opened the session, and what other devices of the
// account sent since (from_me). What came in earlier is not delivered. A session that was held by a connector without a
// webhook for a while is not forgotten: its next connector with one delivers what came in meanwhile.
package webhook
