//! Room in the pool: told when it gets scarce, and kept for what runs when it is nearly gone.
//!
//! ```text
//!  ok ──(less than a tenth is free)──▶ low ──(less than the reserve is free)──▶ full
//! ```
//! With a full pool nothing new is made: no container, no snapshot; both are 507. What runs runs on and
//! may write the reserve; a restore is allowed, for it needs next to nothing and may be what helps.

use std::sync::Arc;
use std::time::Duration;

use super::Node;
use super::driver::failure;
use super::state::events::NewEvent;
use cowl_api::ApiError;
use cowl_api::space::{ContainerSpace, Level, PoolSpace};
use cowl_engine::storage::pool::PoolUsage;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(30);
/// The reserve is a fiftieth of the pool, within these bounds, in bytes…
const RESERVE: (u64, u64) = (256 << 20, 10 << 30);
/// …and never more than this share of it.
const RESERVE_SHARE: u64 = 10;

/// Bytes kept for what runs.
fn reserve(usage: &PoolUsage) -> u64 {
    let room = room(usage);
    (room / 50).clamp(RESERVE.0, RESERVE.1).min(room / RESERVE_SHARE)
}

/// What can be in the pool: a sparse one is bounded by the disk below it.
fn room(usage: &PoolUsage) -> u64 {
    usage.used.saturating_add(usage.free)
}

/// How full a pool is.
fn level(usage: &PoolUsage) -> Level {
    if usage.free < reserve(usage) {
        Level::Full
    } else if usage.free < room(usage) / 10 {
        Level::Low
    } else {
        Level::Ok
    }
}

fn event_type(level: Level) -> &'static str {
    match level {
        Level::Ok => "server.storage.ok",
        Level::Low => "server.storage.low",
        Level::Full => "server.storage.full",
    }
}

impl Node {
    /// Refuses what would take the last of the pool.
    ///
    /// # Errors
    /// 507, saying what helps.
    pub async fn room_for_more(&self) -> Result<(), ApiError> {
        let usage = self.engine(|m| m.usage()).await.map_err(failure)?;
        if level(&usage) != Level::Full {
            return Ok(());
        }
        let mib = |bytes: u64| bytes >> 20;
        Err(ApiError::new(
            507,
            format!(
                "the pool has {} MiB left, and {} MiB are kept for what runs; delete snapshots or containers \
                 (cowl pool status shows what takes most), or make the pool larger",
                mib(usage.free),
                mib(reserve(&usage))
            ),
        ))
    }

    /// What the pool holds, and how it is.
    ///
    /// # Errors
    /// When the file system cannot be asked.
    pub async fn pool_space(&self) -> Result<PoolSpace, ApiError> {
        let (usage, dying, health) =
            self.engine(|m| Ok((m.usage()?, m.dying()?, m.health()?))).await.map_err(failure)?;
        let (rows, counts) = self.db(|store| Ok((store.all_containers()?, store.snapshot_counts()?))).await?;
        let mut containers: Vec<ContainerSpace> = rows
            .into_iter()
            .map(|row| {
                let counted = self.machine.disk_use(&row.id);
                ContainerSpace {
                    id: row.id,
                    used: counted.map(|c| c.used),
                    limit: counted.and_then(|c| c.limit),
                    snapshots: counts.get(&row.id).copied().unwrap_or(0),
                    name: row.name,
                    project: row.project_alias,
                }
            })
            .collect();
        containers.sort_by(|a, b| b.used.cmp(&a.used).then_with(|| a.name.cmp(&b.name)));
        Ok(PoolSpace {
            kind: self.machine.pool_kind().to_owned(),
            total: usage.total,
            used: usage.used,
            free: usage.free,
            reserve: reserve(&usage),
            level: level(&usage),
            dying,
            health,
            containers,
        })
    }
}

/// Watches the pool until the node ends: a change of its level, and new errors of its devices, are
/// events.
pub async fn watch(node: Arc<Node>) {
    let mut known = (Level::Ok, None);
    loop {
        match look(&node, known).await {
            Ok(seen) => known = seen,
            Err(error) => tracing::warn!(%error, "the pool cannot be asked for its space"),
        }
        tokio::select! {
            () = node.shutdown.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

/// One look; gives the level and the number of errors it saw.
async fn look(
    node: &Arc<Node>,
    (before, errors_before): (Level, Option<u64>),
) -> Result<(Level, Option<u64>), ApiError> {
    let (usage, errors) = node.engine(|m| Ok((m.usage()?, m.device_errors()))).await.map_err(failure)?;
    let now = level(&usage);
    if now != before {
        let data = serde_json::json!({
            "level": now, "free": usage.free, "total": usage.total, "reserve": reserve(&usage),
        });
        if now != Level::Ok {
            tracing::warn!(%data, "the pool fills up");
        }
        tell(node, event_type(now), data).await?;
    }
    let total = errors.total();
    if errors_before.is_some_and(|before| total > before) || (errors_before.is_none() && total > 0) {
        tracing::error!(?errors, "the pool's devices report errors");
        tell(node, "server.storage.errors", serde_json::json!({ "errors": errors })).await?;
    }
    Ok((now, Some(total)))
}

async fn tell(node: &Arc<Node>, event_type: &'static str, data: serde_json::Value) -> Result<(), ApiError> {
    let event = NewEvent::server(event_type, node.place.server_id.to_string(), data);
    let event = node.db(move |store| store.record(event)).await?;
    node.bus.tell(event);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(used_gib: f64, free_gib: f64) -> PoolUsage {
        let bytes = |gib: f64| (gib * f64::from(1 << 30)) as u64;
        PoolUsage { total: bytes(used_gib + free_gib), used: bytes(used_gib), free: bytes(free_gib) }
    }

    #[test]
    fn a_pool_is_low_below_a_tenth_and_full_below_its_reserve() {
        assert_eq!(level(&usage(50.0, 50.0)), Level::Ok);
        assert_eq!(level(&usage(91.0, 9.0)), Level::Low);
        assert_eq!(level(&usage(98.5, 1.5)), Level::Full);
        // Of a very large one ten gibibytes are enough…
        assert_eq!(level(&usage(9_980.0, 20.0)), Level::Low);
        // …and a very small one is not all reserve.
        assert_eq!(level(&usage(0.8, 0.2)), Level::Ok);
        assert_eq!(level(&usage(0.95, 0.05)), Level::Full);
        assert_eq!(level(&PoolUsage::default()), Level::Ok);
    }

    #[test]
    fn a_sparse_pool_is_as_large_as_the_disk_below_it_allows() {
        let sparse = PoolUsage { total: 100 << 30, used: 10 << 30, free: 1 << 30 };
        assert_eq!(level(&sparse), Level::Low);
    }
}
