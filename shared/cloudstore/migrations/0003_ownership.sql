CREATE TABLE IF NOT EXISTS session_owners (
  session_id VARCHAR(255) NOT NULL,
  connector_id VARCHAR(255) NULL,
  epoch BIGINT UNSIGNED NOT NULL,
  wanted VARCHAR(8) NOT NULL DEFAULT 'open',
  reserved_for VARCHAR(255) NULL,
  reserved_until TIMESTAMP(6) NULL,
  state VARCHAR(32) NOT NULL DEFAULT '',
  state_detail VARCHAR(1024) NOT NULL DEFAULT '',
  state_at TIMESTAMP(6) NULL,
  backup VARCHAR(16) NOT NULL DEFAULT 'full',
  failover VARCHAR(8) NOT NULL DEFAULT 'auto',
  synced_at TIMESTAMP(6) NULL,
  PRIMARY KEY (session_id) CLUSTERED,
  KEY by_connector (connector_id)
) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_0900_bin;

-- lease_us is the length of the lease in microseconds: how long a connector
-- must have renewed before it may bury another.
CREATE TABLE IF NOT EXISTS connectors (
  connector_id VARCHAR(255) NOT NULL,
  incarnation VARCHAR(64) NOT NULL,
  dead BOOL NOT NULL DEFAULT FALSE,
  lease_until TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
  renewed_since TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
  lease_us BIGINT UNSIGNED NOT NULL DEFAULT 0,
  queue_url VARCHAR(1024) NOT NULL DEFAULT '',
  version VARCHAR(64) NOT NULL DEFAULT '',
  capacity INT NOT NULL DEFAULT 0,
  sessions INT NOT NULL DEFAULT 0,
  draining BOOL NOT NULL DEFAULT FALSE,
  started_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
  PRIMARY KEY (connector_id) CLUSTERED
) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_0900_bin;
