//! The ends of shares: which come when, and telling of each once, ahead of it.
//!
//! A share that was given more than a day is told of a day ahead, any other when a tenth of its
//! time is left. The time counts from when the end was set; a new end is told of anew. What was
//! told is written down together with the event, so no restart tells it twice.

use rusqlite::{Transaction, params};

use super::shares::{one, told};
use super::{Result, Store, column};
use cowl_api::event::Event;
use cowl_api::ids::ShareId;

/// Seconds of a day.
const DAY: u64 = 86_400;

/// The end of a share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareEnd {
    /// Which.
    pub id: ShareId,
    /// Seconds since the epoch.
    pub expires_at: u64,
    /// When it is told of, in seconds since the epoch; `None` once it was.
    pub warn_at: Option<u64>,
}

/// When an end that is set now is told of; all in seconds since the epoch.
pub fn warn_at(now_s: u64, expires_at: u64) -> u64 {
    let life = expires_at.saturating_sub(now_s);
    let ahead = if life > DAY { DAY } else { (life / 10).max(1) };
    expires_at.saturating_sub(ahead)
}

/// Notes a new end, or that there is none.
pub(super) fn set_end(tx: &Transaction<'_>, id: &ShareId, expires_at: Option<u64>, now_s: u64) -> Result<()> {
    let warn = expires_at.map(|at| warn_at(now_s, at));
    tx.execute(
        "UPDATE shares SET expires_at = ?2, warn_at = ?3, expiry_notified = 0 WHERE id = ?1",
        params![id.as_str(), expires_at, warn],
    )?;
    Ok(())
}

impl Store {
    /// All ends, soonest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn share_ends(&self) -> Result<Vec<ShareEnd>> {
        self.read(|c| {
            let mut query = c.prepare(
                "SELECT id, expires_at, CASE WHEN expiry_notified THEN NULL ELSE warn_at END AS warn
                 FROM shares WHERE expires_at IS NOT NULL ORDER BY expires_at, id",
            )?;
            let rows = query.query_map([], |r| {
                Ok(ShareEnd { id: column(r, "id")?, expires_at: r.get("expires_at")?, warn_at: r.get("warn")? })
            })?;
            Ok(rows.collect::<rusqlite::Result<Vec<_>>>()?)
        })
    }

    /// Writes down that the end of a share is told of, with the event that tells it; `None` when that
    /// was done before, or its end has been moved meanwhile.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn tell_share_end(&self, id: &ShareId, now_s: u64) -> Result<Option<Event>> {
        self.write(|tx| {
            let changed = tx.execute(
                "UPDATE shares SET expiry_notified = 1
                 WHERE id = ?1 AND expiry_notified = 0 AND warn_at <= ?2 AND expires_at > ?2",
                params![id.as_str(), now_s],
            )?;
            if changed == 0 {
                return Ok(None);
            }
            told(tx, "storage.share.expiring_soon", &one(tx, id)?).map(Some)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_end_is_told_a_day_ahead_or_when_a_tenth_is_left() {
        let now = 1_000_000;
        assert_eq!(warn_at(now, now + 10 * DAY), now + 9 * DAY);
        assert_eq!(warn_at(now, now + DAY + 1), now + 1);
        assert_eq!(warn_at(now, now + DAY), now + DAY - DAY / 10);
        assert_eq!(warn_at(now, now + 100), now + 90);
        assert_eq!(warn_at(now, now + 5), now + 4);
    }

    proptest! {
        #[test]
        fn an_end_is_told_of_before_it_comes_and_not_before_it_was_set(now in 1u64..1 << 40, life in 1u64..1 << 40) {
            let at = warn_at(now, now + life);
            prop_assert!(now <= at && at < now + life);
        }
    }
}
