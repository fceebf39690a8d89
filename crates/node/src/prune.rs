//! Removes images and kits that nobody needs: kits by itself at the start, for only upgrades leave
//! some; images only when asked.

use std::sync::Arc;

use super::Node;
use super::driver::failure;
use cowl_api::ApiError;
use cowl_api::prune::{Gone, Prune, Pruned};
use cowl_api::server::ImageState;
use cowl_engine::storage::prune::{Order, Unneeded, UnneededKind};

/// Removes, or only tells, what nobody needs. Stays: the newest image of each tier, and what a disk,
/// a snapshot, a shim or the database knows.
///
/// # Errors
/// 409 while an image is being built, or when it cannot be told what is needed; nothing is removed
/// then.
pub async fn prune(node: &Node, order: Prune) -> Result<Pruned, ApiError> {
    let _nobody_chooses = node.images.settle().await;
    if let Some(image) = node.images.list().into_iter().find(|image| image.state == ImageState::Building) {
        let says = format!("image {} is being built; try again when it is ready", image.name);
        return Err(ApiError::conflict(says));
    }
    let rows = node.db(|store| store.all_containers()).await?;
    let mut keep = node.images.current();
    keep.extend(rows.into_iter().filter_map(|row| row.image_id));
    let dry_run = order.dry_run;
    let order = Order { images_but: Some(keep), dry_run };
    let found = node.engine(move |m| m.prune(&order)).await.map_err(failure)?;
    if !dry_run {
        tell(&found);
    }
    let of = |kind: UnneededKind| {
        let some = found.iter().filter(|thing| thing.kind == kind);
        some.map(|thing| Gone { id: thing.id.clone(), frees: thing.bytes }).collect()
    };
    let frees = found.iter().map(|thing| thing.bytes).sum();
    Ok(Pruned { dry_run, images: of(UnneededKind::Image), kits: of(UnneededKind::Kit), frees })
}

/// Removes the kits of versions before this one that no container runs any more.
pub async fn old_kits(node: Arc<Node>) {
    match node.engine(|m| m.prune(&Order::default())).await {
        Ok(gone) => tell(&gone),
        Err(error) => tracing::warn!(%error, "kits of earlier versions stay"),
    }
}

fn tell(gone: &[Unneeded]) {
    for thing in gone {
        tracing::info!(kind = ?thing.kind, id = thing.id, bytes = thing.bytes, "nobody needs it any more: removed");
    }
}
