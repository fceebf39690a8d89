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

-- == exports and backups ==

-- == space ==
