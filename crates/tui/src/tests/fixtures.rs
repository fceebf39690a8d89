//! Containers, projects and a status to show.

use std::collections::BTreeMap;

use cowl_api::server::{HostStats, Image, ImageState, NodeStatus, PoolStatus, Versions};
use cowl_api::{Container, ContainerState, Project, ProjectId, ServerId};

/// An id that is the same in every run, different for every seed.
pub fn id<T: std::str::FromStr>(seed: &str) -> T
where
    T::Err: std::fmt::Debug,
{
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut h = DefaultHasher::new();
    seed.hash(&mut h);
    let n = h.finish();
    format!("{n:016x}{:08x}", n >> 32).parse().unwrap()
}

/// The project `default`.
pub fn project() -> Project {
    Project {
        id: id("default"),
        user_id: "owner".into(),
        alias: "default".into(),
        color: "#123456".into(),
        max_containers: None,
        is_default: true,
        realm_ids: Vec::new(),
        warnings: Vec::new(),
        settings: Default::default(),
        created_at: "2026-11-20T12:00:00Z".into(),
        updated_at: "2026-11-20T12:00:00Z".into(),
    }
}

/// A container of the project `default`.
pub fn container(name: &str, status: ContainerState) -> Container {
    let running = status == ContainerState::Running;
    Container {
        id: id(name),
        project_id: id::<ProjectId>("default"),
        project_alias: "default".into(),
        server_id: id::<ServerId>("server"),
        server_name: "node-fra-1".into(),
        subserver_name: "node-fra-1".into(),
        ssh_hostname: None,
        name: name.into(),
        color: "#123456".into(),
        container_image: "debian/13".into(),
        ai: true,
        hoody_kit: true,
        dev_kit: false,
        kvm: false,
        autostart: true,
        ramdisk: false,
        ramdisk_scope: "container".into(),
        prespawn: false,
        is_default: false,
        status,
        status_reason: (status == ContainerState::Failed).then(|| "init was killed (out of memory)".into()),
        environment_vars: BTreeMap::new(),
        settings: Default::default(),
        effective_settings: Default::default(),
        volumes: BTreeMap::new(),
        ssh_public_key: None,
        comment: None,
        source_container_id: None,
        realm_ids: Vec::new(),
        created_at: "2026-11-20T08:00:00Z".into(),
        updated_at: "2026-11-20T08:00:00Z".into(),
        started_at: running.then(|| "2026-11-20T08:00:00Z".into()),
        address: running.then(|| "10.201.0.5".into()),
        address6: None,
        deleted_at: None,
        purge_at: None,
        snapshot_count: 0,
        last_snapshot_at: None,
        last_used_snapshot: None,
        warnings: Vec::new(),
    }
}

/// An image tier.
pub fn image(state: ImageState) -> Image {
    Image {
        name: "debian/13".into(),
        id: None,
        state,
        size: 300 << 20,
        created_at: None,
        progress: None,
        error: None,
        log: None,
        outdated: false,
    }
}

/// The status of a box with this image.
pub fn status(image: Image) -> NodeStatus {
    NodeStatus {
        server_id: id("server"),
        server_name: "node-fra-1".into(),
        domains: vec!["cowl.localhost".into(), "cowl.internal".into()],
        listen: "127.0.0.1:8443".into(),
        api_url: "https://api.cowl.localhost:8443".into(),
        network: "10.201.0.0/16".into(),
        network6: None,
        dns: None,
        pool: PoolStatus { path: "/p".into(), kind: "loop".into(), total: 100 << 30, used: 41 << 30, free: 59 << 30 },
        images: vec![image],
        host: HostStats { cores: 2, cpu_percent: 14.0, memory_total: 24 << 30, memory_used: 6_550_000_000 },
        versions: Versions { cowl: "0.1.0".into(), kit: "0.1.0".into(), kernel: "6.18".into() },
        pid: 1,
        started_at: "2026-11-20T08:00:00Z".into(),
        containers: BTreeMap::new(),
        hints: Vec::new(),
    }
}
