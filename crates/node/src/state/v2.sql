-- Layout 2: settings, firewall rules, shares.

-- JSON of api::settings, only what was given.
ALTER TABLE projects ADD COLUMN settings TEXT NOT NULL DEFAULT '{}';
ALTER TABLE containers ADD COLUMN settings TEXT NOT NULL DEFAULT '{}';
-- JSON of the egress configuration; NULL is none.
ALTER TABLE containers ADD COLUMN network TEXT;

-- Rules have no ids: their content tells them apart.
CREATE TABLE firewall_rules (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    container_id TEXT NOT NULL REFERENCES containers(id) ON DELETE CASCADE,
    direction    TEXT NOT NULL,
    enabled      INTEGER NOT NULL,
    rule         TEXT NOT NULL,
    UNIQUE (container_id, direction, rule)
) STRICT;

CREATE TABLE shares (
    id                  TEXT PRIMARY KEY,
    source_container_id TEXT NOT NULL REFERENCES containers(id) ON DELETE CASCADE,
    source_path         TEXT NOT NULL,
    target_container_id TEXT REFERENCES containers(id) ON DELETE CASCADE,
    target_project_id   TEXT REFERENCES projects(id) ON DELETE CASCADE,
    mode                TEXT NOT NULL,
    alias               TEXT,
    label               TEXT,
    description         TEXT,
    enabled             INTEGER NOT NULL,
    expires_at          INTEGER,
    created_at          TEXT NOT NULL,
    updated_at          TEXT NOT NULL,
    CHECK ((target_container_id IS NULL) <> (target_project_id IS NULL))
) STRICT;
CREATE INDEX shares_source ON shares(source_container_id);

-- What each target said about a share; no row is no answer yet.
CREATE TABLE share_mounts (
    share_id     TEXT NOT NULL REFERENCES shares(id) ON DELETE CASCADE,
    container_id TEXT NOT NULL REFERENCES containers(id) ON DELETE CASCADE,
    mount        INTEGER NOT NULL,
    PRIMARY KEY (share_id, container_id)
) STRICT;
