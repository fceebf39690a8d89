-- Layout 1. Times are ISO 8601 UTC with milliseconds, booleans are 0 and 1.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

CREATE TABLE projects (
    id             TEXT PRIMARY KEY,
    alias          TEXT NOT NULL UNIQUE,
    color          TEXT NOT NULL,
    max_containers INTEGER,
    is_default     INTEGER NOT NULL,
    deleting       INTEGER NOT NULL DEFAULT 0,
    created_at     TEXT NOT NULL,
    updated_at     TEXT NOT NULL
) STRICT;

CREATE TABLE containers (
    id                  TEXT PRIMARY KEY,
    project_id          TEXT NOT NULL REFERENCES projects(id),
    name                TEXT NOT NULL,
    color               TEXT NOT NULL,
    tier                TEXT NOT NULL,
    image_id            TEXT,
    hoody_kit           INTEGER NOT NULL,
    dev_kit             INTEGER NOT NULL,
    ai                  INTEGER NOT NULL,
    autostart           INTEGER NOT NULL,
    ramdisk             INTEGER NOT NULL,
    ramdisk_scope       TEXT NOT NULL,
    is_default          INTEGER NOT NULL,
    state               TEXT NOT NULL,
    reason              TEXT,
    wanted              INTEGER NOT NULL,
    env                 TEXT NOT NULL,
    ssh_public_key      TEXT,
    comment             TEXT,
    source_container_id TEXT,
    address_idx         INTEGER NOT NULL,
    warnings            TEXT NOT NULL,
    created_at          TEXT NOT NULL,
    updated_at          TEXT NOT NULL,
    started_at          TEXT,
    state_since_ms      INTEGER NOT NULL,
    last_used_snapshot  TEXT,
    UNIQUE (project_id, name)
) STRICT;
CREATE UNIQUE INDEX containers_ssh_key ON containers(ssh_public_key) WHERE ssh_public_key IS NOT NULL;

CREATE TABLE addresses (
    idx          INTEGER PRIMARY KEY,
    container_id TEXT UNIQUE,
    freed_at_ms  INTEGER
) STRICT;

CREATE TABLE snapshots (
    container_id TEXT NOT NULL REFERENCES containers(id) ON DELETE CASCADE,
    name         TEXT NOT NULL,
    alias        TEXT,
    kind         TEXT NOT NULL,
    state        TEXT NOT NULL,
    created_at   TEXT NOT NULL,
    last_used_at TEXT,
    expires_at   TEXT,
    size         INTEGER,
    sized_at_ms  INTEGER,
    PRIMARY KEY (container_id, name),
    UNIQUE (container_id, alias)
) STRICT;

CREATE TABLE status_logs (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    container_id    TEXT NOT NULL REFERENCES containers(id) ON DELETE CASCADE,
    from_status     TEXT,
    to_status       TEXT NOT NULL,
    transition_time TEXT NOT NULL,
    duration_ms     INTEGER,
    triggered_by    TEXT NOT NULL,
    metadata        TEXT NOT NULL
) STRICT;
CREATE INDEX status_logs_container ON status_logs(container_id);

CREATE TABLE events (
    seq           INTEGER PRIMARY KEY AUTOINCREMENT,
    id            TEXT NOT NULL UNIQUE,
    event_type    TEXT NOT NULL,
    resource_type TEXT NOT NULL,
    resource_id   TEXT NOT NULL,
    project_id    TEXT,
    container_id  TEXT,
    data          TEXT NOT NULL,
    created_at    TEXT NOT NULL
) STRICT;

-- At most one operation per container is under way; the row is gone when it is done.
CREATE TABLE operations (
    container_id TEXT PRIMARY KEY REFERENCES containers(id) ON DELETE CASCADE,
    kind         TEXT NOT NULL,
    step         TEXT NOT NULL,
    args         TEXT NOT NULL,
    started_at   TEXT NOT NULL
) STRICT;
