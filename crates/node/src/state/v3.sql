-- Layout 3: time travel.

-- == snapshots: notes, pins, who and why; schedules ==

ALTER TABLE snapshots ADD COLUMN note TEXT;
ALTER TABLE snapshots ADD COLUMN pinned INTEGER NOT NULL DEFAULT 0;
-- Who asked, and why where that is not plain.
ALTER TABLE snapshots ADD COLUMN created_by TEXT NOT NULL DEFAULT 'unknown';
ALTER TABLE snapshots ADD COLUMN reason TEXT;
ALTER TABLE snapshots ADD COLUMN referenced INTEGER;
-- The alias that moves here from another snapshot once this one exists.
ALTER TABLE snapshots ADD COLUMN next_alias TEXT;
-- The safety snapshot of the last restore: what an undo goes back to.
ALTER TABLE containers ADD COLUMN undo_snapshot TEXT;

-- == undelete ==

-- A deleted container's row keeps a name that nobody else can have; what it gave up is here.
ALTER TABLE containers ADD COLUMN deleted_name TEXT;
ALTER TABLE containers ADD COLUMN deleted_key TEXT;
ALTER TABLE containers ADD COLUMN deleted_state TEXT;
ALTER TABLE containers ADD COLUMN deleted_at TEXT;
ALTER TABLE containers ADD COLUMN purge_at TEXT;

-- == lineage: branches and copies ==

-- A copy's row outlives it while something was copied from it, and outlives its source.
CREATE TABLE lineage (
    container_id    TEXT PRIMARY KEY,
    name            TEXT NOT NULL,
    kind            TEXT NOT NULL,
    source_id       TEXT NOT NULL,
    source_name     TEXT NOT NULL,
    -- Name of the snapshot it was made from; NULL is the source's state at that moment.
    source_snapshot TEXT,
    -- The moment of the files.
    taken_at        TEXT NOT NULL,
    created_at      TEXT NOT NULL,
    synced_at       TEXT
) STRICT;
CREATE INDEX lineage_source ON lineage(source_id);
CREATE TRIGGER lineage_names AFTER UPDATE OF name ON containers BEGIN
    UPDATE lineage SET name = NEW.name WHERE container_id = NEW.id;
    UPDATE lineage SET source_name = NEW.name WHERE source_id = NEW.id;
END;

-- == exports and backups ==

-- == space ==

-- == shares ==

-- When its nearing end is told, in seconds since the epoch; NULL without an end.
ALTER TABLE shares ADD COLUMN warn_at INTEGER;
-- Whether it was.
ALTER TABLE shares ADD COLUMN expiry_notified INTEGER NOT NULL DEFAULT 0;
-- As share_expiry::warn_at does for new ones.
UPDATE shares SET warn_at = expires_at - CASE
    WHEN expires_at - CAST(strftime('%s', created_at) AS INTEGER) > 86400 THEN 86400
    ELSE max((expires_at - CAST(strftime('%s', created_at) AS INTEGER)) / 10, 1) END
WHERE expires_at IS NOT NULL;
