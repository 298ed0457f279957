-- sameness is a hash over what makes two commands one, while the command is
-- unfinished and others may still be one with it; NULL from then on, so that the
-- next one may come.
CREATE TABLE IF NOT EXISTS commands (
  command_id CHAR(26) NOT NULL,
  session_id VARCHAR(255) NOT NULL,
  kind VARCHAR(16) NOT NULL,
  args JSON NOT NULL,
  state VARCHAR(8) NOT NULL,
  attempt INT NOT NULL DEFAULT 0,
  connector_id VARCHAR(255) NULL,
  incarnation VARCHAR(64) NULL,
  requested_by VARCHAR(255) NOT NULL DEFAULT '',
  request_id VARCHAR(255) NOT NULL DEFAULT '',
  error_code VARCHAR(64) NOT NULL DEFAULT '',
  error VARCHAR(1024) NOT NULL DEFAULT '',
  result JSON NULL,
  sameness BINARY(32) NULL,
  created_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
  deadline TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
  started_at TIMESTAMP(6) NULL,
  finished_at TIMESTAMP(6) NULL,
  PRIMARY KEY (command_id) CLUSTERED,
  UNIQUE KEY by_sameness (sameness),
  KEY by_state (state, deadline)
) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_0900_bin
  TTL = created_at + INTERVAL 7 DAY;
