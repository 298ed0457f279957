package capturetest

import (
	"context"
	"errors"
	"time"

	"go.mau.fi/whatsmeow/appstate"
	"go.mau.fi/whatsmeow/store"
	"go.mau.fi/whatsmeow/types"
)

// errRollback ends a transaction that is meant to leave nothing behind.
var errRollback = errors.New("roll back")

// operations are all that write.
var operations = []operation{
	{"PutDevice", func(ctx context.Context, o *Ops) error {
		o.Device.PushName = string(o.bytes(3)) + "é"
		o.Device.LIDMigrationTimestamp = o.rand.Int64N(1 << 40)
		return o.Device.Save(ctx)
	}},
	{"PutIdentity", func(ctx context.Context, o *Ops) error {
		return o.Device.Identities.PutIdentity(ctx, o.address(), [32]byte(o.bytes(32)))
	}},
	{"DeleteIdentity", func(ctx context.Context, o *Ops) error {
		return o.Device.Identities.DeleteIdentity(ctx, o.address())
	}},
	{"DeleteAllIdentities", func(ctx context.Context, o *Ops) error {
		return o.Device.Identities.DeleteAllIdentities(ctx, o.user().User)
	}},
	{"PutSession", func(ctx context.Context, o *Ops) error {
		return o.Device.Sessions.PutSession(ctx, o.address(), o.some())
	}},
	{"PutManySessions", func(ctx context.Context, o *Ops) error {
		many := make(map[string][]byte)
		for range o.rand.IntN(20) {
			many[o.address()] = o.some()
		}
		return o.Device.Sessions.PutManySessions(ctx, many)
	}},
	{"DeleteSession", func(ctx context.Context, o *Ops) error {
		return o.Device.Sessions.DeleteSession(ctx, o.address())
	}},
	{"DeleteAllSessions", func(ctx context.Context, o *Ops) error {
		return o.Device.Sessions.DeleteAllSessions(ctx, o.user().User)
	}},
	{"MigratePNToLID", func(ctx context.Context, o *Ops) error {
		return o.Device.Sessions.MigratePNToLID(ctx, o.user(), o.lid())
	}},
	{"GetOrGenPreKeys", func(ctx context.Context, o *Ops) error {
		_, err := o.Device.PreKeys.GetOrGenPreKeys(ctx, o.rand.Uint32N(15)+1)
		return err
	}},
	{"GenOnePreKey", func(ctx context.Context, o *Ops) error {
		_, err := o.Device.PreKeys.GenOnePreKey(ctx)
		return err
	}},
	{"RemovePreKey", func(ctx context.Context, o *Ops) error {
		return o.Device.PreKeys.RemovePreKey(ctx, o.rand.Uint32N(20)+1)
	}},
	{"MarkPreKeysAsUploaded", func(ctx context.Context, o *Ops) error {
		return o.Device.PreKeys.MarkPreKeysAsUploaded(ctx, o.rand.Uint32N(30)+1)
	}},
	{"PutSenderKey", func(ctx context.Context, o *Ops) error {
		return o.Device.SenderKeys.PutSenderKey(ctx, o.group().String(), o.address(), o.some())
	}},
	{"PutAppStateSyncKey", putAppStateSyncKey},
	{"PutAppStateVersion", func(ctx context.Context, o *Ops) error {
		return o.Device.AppState.PutAppStateVersion(ctx, o.patchName(), o.rand.Uint64N(50)+1, [128]byte(o.bytes(128)))
	}},
	{"DeleteAppStateVersion", func(ctx context.Context, o *Ops) error {
		o.appState.Lock()
		defer o.appState.Unlock()
		return o.Device.AppState.DeleteAppStateVersion(ctx, o.patchName())
	}},
	{"PutAppStateMutationMACs", putMutationMACs},
	{"DeleteAppStateMutationMACs", func(ctx context.Context, o *Ops) error {
		mac, ok := pick(o, o.macs)
		if !ok {
			return nil
		}
		return o.Device.AppState.DeleteAppStateMutationMACs(ctx, o.patchName(), [][]byte{mac, o.bytes(32)})
	}},
	{"PutPushName", func(ctx context.Context, o *Ops) error {
		_, _, err := o.Device.Contacts.PutPushName(ctx, o.user(), string(o.bytes(2)))
		return err
	}},
	{"PutBusinessName", func(ctx context.Context, o *Ops) error {
		_, _, err := o.Device.Contacts.PutBusinessName(ctx, o.user(), "toko")
		return err
	}},
	{"PutContactName", func(ctx context.Context, o *Ops) error {
		return o.Device.Contacts.PutContactName(ctx, o.user(), "a", string(o.bytes(1)))
	}},
	{"PutAllContactNames", putAllContactNames},
	{"PutManyRedactedPhones", func(ctx context.Context, o *Ops) error {
		return o.Device.Contacts.PutManyRedactedPhones(ctx, []store.RedactedPhoneEntry{
			{JID: o.lid(), RedactedPhone: "+62∙∙∙∙1"}, {JID: o.lid(), RedactedPhone: "+62∙∙∙∙2"},
		})
	}},
	{"PutMutedUntil", func(ctx context.Context, o *Ops) error {
		until := time.Unix(o.rand.Int64N(1<<31), 0)
		if o.bool() {
			until = store.MutedForever
		}
		return o.Device.ChatSettings.PutMutedUntil(ctx, o.chat(), until)
	}},
	{"PutPinned", func(ctx context.Context, o *Ops) error {
		return o.Device.ChatSettings.PutPinned(ctx, o.chat(), o.bool())
	}},
	{"PutArchived", func(ctx context.Context, o *Ops) error {
		return o.Device.ChatSettings.PutArchived(ctx, o.chat(), o.bool())
	}},
	{"PutMessageSecret", func(ctx context.Context, o *Ops) error {
		return o.Device.MsgSecrets.PutMessageSecret(ctx, o.chat(), o.user(), o.messageID(), o.bytes(32))
	}},
	{"PutMessageSecrets", func(ctx context.Context, o *Ops) error {
		chat, user, id := o.chat(), o.user(), o.messageID()
		return o.Device.MsgSecrets.PutMessageSecrets(ctx, []store.MessageSecretInsert{
			{Chat: chat, Sender: user, ID: id, Secret: o.bytes(32)},
			{Chat: chat, Sender: user, ID: id, Secret: o.bytes(32)}, // does nothing
			{Chat: o.chat(), Sender: o.lid(), ID: o.messageID(), Secret: []byte{}},
		}[:o.rand.IntN(3)+1])
	}},
	{"PutPrivacyTokens", func(ctx context.Context, o *Ops) error {
		return o.Device.PrivacyTokens.PutPrivacyTokens(ctx,
			store.PrivacyToken{User: o.user(), Token: o.bytes(12), Timestamp: time.Unix(o.rand.Int64N(1000), 0)},
			store.PrivacyToken{User: o.lid(), Token: o.bytes(12), Timestamp: time.Unix(o.rand.Int64N(1000), 0), SenderTimestamp: time.Unix(7, 0)})
	}},
	{"DeleteExpiredPrivacyTokens", func(ctx context.Context, o *Ops) error {
		_, err := o.Device.PrivacyTokens.DeleteExpiredPrivacyTokens(ctx, time.Unix(o.rand.Int64N(600), 0))
		return err
	}},
	{"PutNCTSalt", func(ctx context.Context, o *Ops) error {
		return o.Device.NCTSalt.PutNCTSalt(ctx, o.bytes(16))
	}},
	{"DeleteNCTSalt", func(ctx context.Context, o *Ops) error {
		return o.Device.NCTSalt.DeleteNCTSalt(ctx)
	}},
	{"PutBufferedEvent", putBufferedEvent},
	{"ClearBufferedEventPlaintext", func(ctx context.Context, o *Ops) error {
		hash, ok := pick(o, o.hashes)
		if !ok {
			return nil
		}
		return o.Device.EventBuffer.ClearBufferedEventPlaintext(ctx, hash)
	}},
	{"DeleteOldBufferedHashes", func(ctx context.Context, o *Ops) error {
		return o.Device.EventBuffer.DeleteOldBufferedHashes(ctx)
	}},
	{"AddOutgoingEvent", func(ctx context.Context, o *Ops) error {
		return o.Device.EventBuffer.AddOutgoingEvent(ctx, o.chat(), o.messageID(), "wa", o.some())
	}},
	{"DeleteOldOutgoingEvents", func(ctx context.Context, o *Ops) error {
		return o.Device.EventBuffer.DeleteOldOutgoingEvents(ctx)
	}},
	{"PutLIDMapping", func(ctx context.Context, o *Ops) error {
		return o.Device.LIDs.PutLIDMapping(ctx, o.lid(), o.user())
	}},
	{"PutManyLIDMappings", func(ctx context.Context, o *Ops) error {
		many := make([]store.LIDMapping, o.rand.IntN(6))
		for i := range many {
			many[i] = store.LIDMapping{LID: o.lid(), PN: o.user()}
		}
		return o.putMappings(ctx, many)
	}},
	{"DoDecryptionTxn", decrypt},
	{"DoDecryptionTxn, rolled back", func(ctx context.Context, o *Ops) error {
		err := o.Device.EventBuffer.DoDecryptionTxn(ctx, func(ctx context.Context) error {
			if err := o.Device.Sessions.PutSession(ctx, o.address(), o.some()); err != nil {
				return err
			}
			return errRollback
		})
		if errors.Is(err, errRollback) {
			return nil
		}
		return err
	}},
}

func (o *Ops) patchName() string {
	return string(appstate.AllPatchNames[o.rand.IntN(len(appstate.AllPatchNames))])
}

func putAppStateSyncKey(ctx context.Context, o *Ops) error {
	return o.Device.AppStateKeys.PutAppStateSyncKey(ctx, []byte{0, byte(o.rand.IntN(5))}, store.AppStateSyncKey{
		Data: o.bytes(32), Fingerprint: o.bytes(8), Timestamp: o.rand.Int64N(1000),
	})
}

// putMutationMACs needs the version row that the foreign key points to.
func putMutationMACs(ctx context.Context, o *Ops) error {
	o.appState.Lock()
	defer o.appState.Unlock()
	name, version := o.patchName(), o.rand.Uint64N(50)+1
	if err := o.Device.AppState.PutAppStateVersion(ctx, name, version, [128]byte(o.bytes(128))); err != nil {
		return err
	}
	macs := make([]store.AppStateMutationMAC, o.rand.IntN(500)+1)
	for i := range macs {
		macs[i] = store.AppStateMutationMAC{IndexMAC: o.bytes(32), ValueMAC: o.bytes(32)}
	}
	o.macs = append(o.macs, macs[0].IndexMAC)
	return o.Device.AppState.PutAppStateMutationMACs(ctx, name, version, macs)
}

func putAllContactNames(ctx context.Context, o *Ops) error {
	contacts := make([]store.ContactEntry, o.rand.IntN(350))
	for i := range contacts {
		contacts[i] = store.ContactEntry{JID: types.NewJID("629"+o.user().User, types.DefaultUserServer), FirstName: "b", FullName: string(o.bytes(1))}
	}
	return o.Device.Contacts.PutAllContactNames(ctx, contacts)
}

func putBufferedEvent(ctx context.Context, o *Ops) error {
	hash := [32]byte(o.bytes(32))
	o.hashes = append(o.hashes, hash)
	return o.Device.EventBuffer.PutBufferedEvent(ctx, hash, o.some(), time.Unix(o.rand.Int64N(1<<31), 0))
}

// putMappings keeps LIDs and numbers unique within one call, as the service does.
func (o *Ops) putMappings(ctx context.Context, many []store.LIDMapping) error {
	lids, numbers := make(map[string]bool), make(map[string]bool)
	var unique []store.LIDMapping
	for _, m := range many {
		if !lids[m.LID.User] && !numbers[m.PN.User] {
			unique = append(unique, m)
		}
		lids[m.LID.User], numbers[m.PN.User] = true, true
	}
	return o.Device.LIDs.PutManyLIDMappings(ctx, unique)
}

// decrypt does what whatsmeow does with a message that uses up a prekey.
func decrypt(ctx context.Context, o *Ops) error {
	return o.Device.EventBuffer.DoDecryptionTxn(ctx, func(ctx context.Context) error {
		address := o.address()
		if err := o.Device.Identities.PutIdentity(ctx, address, [32]byte(o.bytes(32))); err != nil {
			return err
		}
		if err := o.Device.Sessions.PutSession(ctx, address, o.some()); err != nil {
			return err
		}
		if err := o.Device.PreKeys.RemovePreKey(ctx, o.rand.Uint32N(20)+1); err != nil {
			return err
		}
		return putBufferedEvent(ctx, o)
	})
}
