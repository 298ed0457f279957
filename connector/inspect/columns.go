package inspect

// What of a session's tables Dump shows. A column that stands in neither list,
// and every column of an unknown table, is redacted: a later schema may keep
// keys in it. Tables and columns are whatsmeow's
// (store/sqlstore/upgrades/00-latest-schema.sql) and the inbox's.
//
// Redacted are:
//   - keys: whoever has one can be the device, or read or forge its messages;
//   - contents: what people wrote, and their names for each other;
//   - what only serves to log in (signatures of the account, nonces).
//
// Phone numbers, group ids, message ids and times are shown. A dump is still
// personal data.

var shownColumns = map[string][]string{
	"whatsmeow_device": {
		"jid", "lid", "facebook_uuid", "registration_id", "signed_pre_key_id", "platform", "business_name", "push_name", "lid_migration_ts",
	},
	"whatsmeow_identity_keys":           {"our_jid", "their_id", "identity"}, // public keys
	"whatsmeow_pre_keys":                {"jid", "key_id", "uploaded"},
	"whatsmeow_sessions":                {"our_jid", "their_id"},
	"whatsmeow_sender_keys":             {"our_jid", "chat_id", "sender_id"},
	"whatsmeow_app_state_sync_keys":     {"jid", "key_id", "timestamp", "fingerprint"},
	"whatsmeow_app_state_version":       {"jid", "name", "version", "hash"},
	"whatsmeow_app_state_mutation_macs": {"jid", "name", "version", "index_mac", "value_mac"},
	"whatsmeow_contacts":                {"our_jid", "their_jid"},
	"whatsmeow_chat_settings":           {"our_jid", "chat_jid", "muted_until", "pinned", "archived"},
	"whatsmeow_message_secrets":         {"our_jid", "chat_jid", "sender_jid", "message_id"},
	"whatsmeow_privacy_tokens":          {"our_jid", "their_jid", "timestamp", "sender_timestamp"},
	"whatsmeow_nct_salt":                {"our_jid"},
	"whatsmeow_lid_map":                 {"lid", "pn"},
	"whatsmeow_event_buffer":            {"our_jid", "ciphertext_hash", "server_timestamp", "insert_timestamp"},
	"whatsmeow_retry_buffer":            {"our_jid", "chat_jid", "message_id", "format", "timestamp"},

	"inbox_messages": {
		"seq", "chat", "sender", "id", "chat_pn", "sender_pn", "from_me", "kind", "sent_at", "received_at", "origin",
	},
	"inbox_deliveries": {"seq", "delivered_at"},
	"inbox_sends":      {"idempotency_key", "id", "recipient", "state", "attempts", "created_at", "sent_at"},
	"inbox_history":    {"id", "attempts", "received_at"},
	"inbox_marks":      {"name"},
}

// redactedColumns need no entry to be redacted. They are listed so that a test
// notices when a schema gains a column that nobody has thought about.
var redactedColumns = map[string][]string{
	"whatsmeow_device": {
		"noise_key", "identity_key", "signed_pre_key", // private keys
		"adv_key",                                                                                       // the pairing secret
		"signed_pre_key_sig", "adv_details", "adv_account_sig", "adv_account_sig_key", "adv_device_sig", // serve to log in
		"companion_meta_nonce", // sent as a secret with uploads
	},
	"whatsmeow_pre_keys":            {"key"},        // private keys
	"whatsmeow_sessions":            {"session"},    // ratchets and message keys
	"whatsmeow_sender_keys":         {"sender_key"}, // chains and private signing keys of groups
	"whatsmeow_app_state_sync_keys": {"key_data"},   // decrypts contacts, settings and chats
	"whatsmeow_contacts":            {"first_name", "full_name", "push_name", "business_name", "redacted_phone"},
	"whatsmeow_message_secrets":     {"key"},   // decrypts votes and reactions
	"whatsmeow_privacy_tokens":      {"token"}, // lets write to people who don't know us
	"whatsmeow_nct_salt":            {"salt"},
	"whatsmeow_event_buffer":        {"plaintext"},
	"whatsmeow_retry_buffer":        {"plaintext"},

	"inbox_messages": {"push_name", "text", "payload"},
	"inbox_sends":    {"text", "digest", "error"}, // a short text can be guessed from its digest
	"inbox_history":  {"notification"},            // holds the key of the history's file
	"inbox_marks":    {"value"},
}
