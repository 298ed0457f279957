package baileys

// Report says what an import or export did.
type Report struct {
	Identity Identity `json:"identity"`
	// Exact tells that the Signal state came along; otherwise the session has to be
	// started safely.
	Exact bool `json:"exact"`
	// MaxPreKeyID is the highest prekey id ever given out: a safe start numbers on
	// above it.
	MaxPreKeyID uint32 `json:"max_prekey_id"`

	PreKeys          int `json:"prekeys"`
	Sessions         int `json:"sessions"`
	Identities       int `json:"identities"`
	SenderKeys       int `json:"sender_keys"`
	AppStateKeys     int `json:"app_state_keys"`
	AppStateVersions int `json:"app_state_versions"`
	LIDMappings      int `json:"lid_mappings"`
	PrivacyTokens    int `json:"privacy_tokens"`

	// Lost is what had something to carry and no place to go, in a fixed order.
	Lost []Loss `json:"lost,omitempty"`
	// Foreign lists files of the folder that aren't Baileys'.
	Foreign []string `json:"foreign,omitempty"`
}

// Loss is something that could not be carried over.
type Loss struct {
	What  string `json:"what"`
	Count int    `json:"count"`
	Cost  string `json:"cost"` // what happens because of it
}

func (r *Report) lose(what string, count int, cost string) {
	if count > 0 {
		r.Lost = append(r.Lost, Loss{what, count, cost})
	}
}

// loseRecords reports what the conversion of Signal records left out.
func (r *Report) loseRecords(sessions, senderKeys skipped) {
	const retry = "a message that comes late under one of them is asked for again; it is lost if its sender can't send it again"
	r.lose("keys of skipped messages", sessions.messageKeys, retry)
	r.lose("keys of skipped group messages", senderKeys.messageKeys, retry)
	r.lose("session states without a use", sessions.states, "none, unless a message encrypted to one is still on its way: it is asked for again")
	r.lose("repeated sender key states", senderKeys.duplicates, "none: no message reaches them")
}
