-- Layout 3: time travel.

-- == snapshots: notes, pins, who and why; schedules ==

-- == undelete ==

-- == lineage: branches and copies ==

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
