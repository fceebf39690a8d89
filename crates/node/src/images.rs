//! Image tiers: which exist, building them in the background, waiting for one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard, watch};

use super::Node;
use super::clock;
use super::state::events::NewEvent;
use cowl_api::server::{BuildProgress, Image, ImageState};
use cowl_engine::storage::build::is_current;
use cowl_engine::storage::pool::BuiltImage;

/// Tiers this version can build, as the engine names them.
pub const TIERS: [&str; 1] = ["debian-13"];
/// The tier of a container that names none.
pub const DEFAULT_TIER: &str = TIERS[0];
/// Progress is told to listeners at most this often.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// `debian-13` as people and the public API write it: `debian/13`.
pub fn display_name(tier: &str) -> String {
    tier.replacen('-', "/", 1)
}

/// The tier that a name means: `debian`, `debian/13`, `debian-13` and `debian:13` are one.
pub fn tier(name: &str) -> Option<&'static str> {
    let flat = name.trim().to_ascii_lowercase().replace(['/', ':'], "-");
    let flat = if flat == "debian" { DEFAULT_TIER } else { &flat };
    TIERS.into_iter().find(|tier| *tier == flat)
}

/// All tiers and where each is in its life.
#[derive(Debug)]
pub struct Images {
    tiers: BTreeMap<&'static str, watch::Sender<Image>>,
    logs: PathBuf,
    /// Held for reading from the choice of an image until there is a disk of it, and for writing while
    /// images are pruned.
    chosen: RwLock<()>,
}

impl Images {
    /// Tiers of which nothing is known yet.
    pub fn new(state_dir: &Path) -> Self {
        let logs = state_dir.join("logs");
        let unknown = |tier: &str| Image {
            name: display_name(tier),
            id: None,
            state: ImageState::Absent,
            size: 0,
            created_at: None,
            progress: None,
            error: None,
            log: None,
            outdated: false,
        };
        Self {
            tiers: TIERS.into_iter().map(|t| (t, watch::Sender::new(unknown(t)))).collect(),
            logs,
            chosen: RwLock::new(()),
        }
    }

    /// Lets no image be pruned until the guard goes.
    pub async fn choose(&self) -> RwLockReadGuard<'_, ()> {
        self.chosen.read().await
    }

    /// Lets nobody choose an image until the guard goes.
    pub async fn settle(&self) -> RwLockWriteGuard<'_, ()> {
        self.chosen.write().await
    }

    /// Ids of the images that new containers are made from.
    pub fn current(&self) -> BTreeSet<String> {
        self.tiers.values().filter_map(|tier| tier.borrow().id.clone()).collect()
    }

    fn log(&self, tier: &str) -> PathBuf {
        self.logs.join(format!("image-{tier}.log"))
    }

    /// All tiers as the API shows them.
    pub fn list(&self) -> Vec<Image> {
        self.tiers.values().map(|tier| tier.borrow().clone()).collect()
    }

    /// One tier as the API shows it.
    pub fn get(&self, tier: &str) -> Option<Image> {
        self.tiers.get(tier).map(|tier| tier.borrow().clone())
    }

    /// Notes that a tier can be used.
    pub fn set_ready(&self, built: &BuiltImage) {
        if let Some(tier) = self.tiers.get(built.tier.as_str()) {
            tier.send_modify(|image| {
                image.id = Some(built.id.clone());
                image.state = ImageState::Ready;
                image.size = built.size;
                image.created_at = Some(clock::iso_ms(built.created_at.saturating_mul(1000)));
                image.progress = None;
                image.error = None;
                image.outdated = !is_current(built);
            });
        }
    }

    fn set_failed(&self, tier: &str, reason: &str) {
        if let Some(tier) = self.tiers.get(tier) {
            tier.send_modify(|image| {
                // What there was before can be used as before.
                image.state = if image.id.is_some() { ImageState::Ready } else { ImageState::Failed };
                image.progress = None;
                image.error = Some(reason.to_owned());
            });
        }
    }

    fn set_progress(&self, tier: &str, progress: BuildProgress) {
        if let Some(tier) = self.tiers.get(tier) {
            tier.send_modify(|image| image.progress = Some(progress));
        }
    }

    /// Claims a build with its log; false when one runs already, or the tier is there and, unless
    /// `anew`, of this version's recipe.
    fn claim(&self, tier: &str, log: Option<&Path>, anew: bool) -> bool {
        self.tiers.get(tier).is_some_and(|tier| {
            tier.send_if_modified(|image| {
                let free = match image.state {
                    ImageState::Absent | ImageState::Failed => true,
                    ImageState::Ready => image.outdated || anew,
                    ImageState::Building => false,
                };
                if free {
                    image.state = ImageState::Building;
                    image.error = None;
                    image.log = log.map(|path| path.display().to_string());
                }
                free
            })
        })
    }

    /// What a container of this tier waits for, in one sentence.
    pub fn describe(&self, tier: &str) -> Option<String> {
        let image = self.get(tier).filter(|image| image.id.is_none())?;
        match (image.state, image.progress) {
            (ImageState::Building, Some(p)) => {
                Some(format!("waits for image {}: {}, {:.0} %", image.name, p.step, p.percent))
            }
            (ImageState::Building | ImageState::Absent, _) => Some(format!("waits for image {}", image.name)),
            (ImageState::Failed | ImageState::Ready, _) => None,
        }
    }

    /// Waits until a tier is ready and gives its id; one that is built anew is ready all the while.
    ///
    /// # Errors
    /// Why its build failed.
    pub async fn ready(&self, tier: &str) -> Result<String, String> {
        let Some(sender) = self.tiers.get(tier) else { return Err(format!("there is no image {tier}")) };
        let mut changes = sender.subscribe();
        let settled = changes.wait_for(|image| image.id.is_some() || image.state == ImageState::Failed).await;
        let image = settled.map_err(|_| "the node ends".to_owned())?;
        let reason = image.error.as_deref().unwrap_or("no reason was given");
        image.id.clone().ok_or_else(|| format!("image {} could not be built: {reason}", image.name))
    }
}

/// Looks which tiers exist, and starts building the default one when it does not. With `import` it
/// is read from that file instead.
pub async fn begin(node: &Arc<Node>, import: Option<PathBuf>) {
    for tier in TIERS {
        match node.engine(move |m| m.image(tier)).await {
            Ok(Some(built)) => {
                if !is_current(&built) {
                    let how = "`cowl images build` makes a new one";
                    tracing::info!(image = built.id, "built by an older recipe; {how}");
                }
                node.images.set_ready(&built);
            }
            Ok(None) if tier == DEFAULT_TIER => {
                build(node, tier, import.clone(), false);
            }
            Ok(None) => {}
            Err(error) => node.images.set_failed(tier, &error.to_string()),
        }
    }
}

/// Starts building a tier unless it is being built, or there and (unless `anew`) not outdated; says
/// whether it did. New containers use the old image until the new one is ready.
pub fn build(node: &Arc<Node>, tier: &'static str, import: Option<PathBuf>, anew: bool) -> bool {
    // An import writes no log.
    let log = import.is_none().then(|| node.images.log(tier));
    if !node.images.claim(tier, log.as_deref(), anew) {
        return false;
    }
    let building = Arc::clone(node);
    // A thread of its own, not one of the runtime's: the node's end does not wait for a build.
    let thread = std::thread::Builder::new().name(format!("build {tier}"));
    let spawned = thread.spawn(move || {
        tracing::info!(image = tier, "build begins");
        let result = match &import {
            Some(file) => building.machine.import_image(file),
            None => run(&building, tier),
        };
        match result {
            Ok(built) => {
                tracing::info!(image = built.id, "ready");
                building.images.set_ready(&built);
                tell(&building, "image.ready", tier);
            }
            Err(error) => {
                tracing::error!(image = tier, %error, "build failed");
                building.images.set_failed(tier, &error.to_string());
                tell(&building, "image.failed", tier);
            }
        }
    });
    if let Err(error) = spawned {
        node.images.set_failed(tier, &format!("no thread for it: {error}"));
    }
    true
}

fn run(node: &Arc<Node>, tier: &'static str) -> cowl_engine::Result<BuiltImage> {
    let log = node.images.log(tier);
    if let Some(dir) = log.parent() {
        std::fs::create_dir_all(dir)
            .map_err(|source| cowl_engine::Error::Sys { what: format!("make {}", dir.display()), source })?;
    }
    let mut told: Option<(Instant, String)> = None;
    node.machine.build_image(tier, &log, &mut |progress| {
        let news = told.as_ref().is_none_or(|(at, step)| at.elapsed() >= PROGRESS_EVERY || *step != progress.step);
        if news {
            told = Some((Instant::now(), progress.step.clone()));
            node.images.set_progress(tier, progress);
            tell(node, "image.progress", tier);
        }
    })
}

/// Streams an image as it is now; these events are not stored.
fn tell(node: &Arc<Node>, event_type: &'static str, tier: &str) {
    let data = serde_json::to_value(node.images.get(tier)).unwrap_or_default();
    node.bus.tell(NewEvent::server(event_type, node.place.server_id.to_string(), data).stamp());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ways_to_write_debian_13_mean_one_tier() {
        for name in ["debian", "debian/13", "debian-13", "debian:13", "Debian/13"] {
            assert_eq!(tier(name), Some("debian-13"), "{name}");
        }
        for name in ["", "ubuntu", "debian/12", "debian/13/x", "../debian"] {
            assert_eq!(tier(name), None, "{name}");
        }
        assert_eq!(display_name("debian-13"), "debian/13");
    }
}
