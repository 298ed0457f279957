-- For whoever watches the connectors. retired: the process ended in order, or its
-- operator gave it up; NULL in rows that an earlier version wrote last, which did
-- not tell one death from another: those count as ended in order once they are dead.
-- sync_lag_us, in microseconds: the age of its oldest change that was not durable
-- at its last renewal. Both are metadata only: no row is rewritten.
ALTER TABLE connectors
  ADD COLUMN IF NOT EXISTS retired BOOL NULL;
ALTER TABLE connectors
  ADD COLUMN IF NOT EXISTS sync_lag_us BIGINT UNSIGNED NOT NULL DEFAULT 0;
