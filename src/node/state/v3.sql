-- Layout 3: time travel.

-- == snapshots: notes, pins, who and why; schedules ==

-- == undelete ==

-- == lineage: branches and copies ==

-- == exports and backups ==

-- == space ==
