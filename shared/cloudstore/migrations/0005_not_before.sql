-- Until then no connector takes the session: WhatsApp has banned it for a while.
-- NULL is metadata only: no row is rewritten.
ALTER TABLE session_owners
  ADD COLUMN IF NOT EXISTS not_before TIMESTAMP(6) NULL;
