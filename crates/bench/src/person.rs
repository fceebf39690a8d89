//! What a person waits for, on the node that runs: no peer, no bars.

use std::time::Instant;

use serde::Serialize;

use super::row::Figure;
use super::{Error, Report, Result, own};
use cowl_api::container::{Container, CreateContainer, Operation};
use cowl_api::project::{CreateProject, Project};
use cowl_api::snapshot::CreateSnapshot;
use cowl_api::{ContainerId, Service};
use cowl_client::Client;

/// One thing to wait for, in milliseconds.
#[derive(Debug, Clone, Serialize)]
pub struct Wait {
    /// What is waited for.
    pub what: &'static str,
    /// The median.
    pub median: Option<f64>,
    /// Least and most.
    pub range: Option<[f64; 2]>,
}

const WHATS: [&str; 6] = [
    "create a container, until its terminal answers",
    "run a command in it",
    "list a directory of it",
    "take a snapshot",
    "restore a snapshot, running",
    "restart",
];

/// Measures each `runs` times, in a project of its own that is removed afterwards.
///
/// # Errors
/// What kept it from beginning.
pub async fn measure(client: &Client, runs: usize, say: &dyn Fn(&str)) -> Result<Report<Wait>> {
    let server = client.status().await?.server_id.to_string();
    let alias = format!("bench-{}", std::process::id());
    let project = client.create_project(&CreateProject { alias, ..CreateProject::default() }).await?;
    let mut figures: [Figure; WHATS.len()] = Default::default();
    let measured = tokio::select! {
        measured = rounds(client, &project, &server, runs, say, &mut figures) => measured,
        _ = tokio::signal::ctrl_c() => Err(Error::Interrupted),
    };
    let mut failures: Vec<Error> = measured.err().into_iter().collect();
    failures.extend(own::clear(client, &project.id).await);
    let wait = |(what, figure): (&'static str, Figure)| Wait { what, median: figure.median(), range: figure.range() };
    let rows = WHATS.into_iter().zip(figures).map(wait).filter(|wait| wait.median.is_some()).collect();
    Ok(Report { rows, failures })
}

async fn rounds(
    client: &Client,
    project: &Project,
    server: &str,
    runs: usize,
    say: &dyn Fn(&str),
    figures: &mut [Figure; WHATS.len()],
) -> Result<()> {
    for round in 1..=runs {
        say(&format!("{round} of {runs}"));
        let mut lap = Lap::default();
        let container = create(client, project, server, round).await?;
        lap.end();
        let id = container.id;
        own::run(&client.kit(&container, Service::Terminal, 1), "true").await?;
        lap.end();
        client.disk_list(&id, None, "/etc").await?;
        lap.end();
        let snapshot = client.create_snapshot(&id, &CreateSnapshot::default()).await?;
        lap.end();
        client.restore_snapshot(&id, &snapshot.name).await?;
        lap.end();
        restart(client, &id).await?;
        lap.end();
        client.delete_container(&id).await?;
        for (figure, took) in figures.iter_mut().zip(lap.took) {
            figure.push(took);
        }
    }
    Ok(())
}

/// Times of steps that follow each other, in milliseconds.
struct Lap {
    begun: Instant,
    took: Vec<f64>,
}

impl Default for Lap {
    fn default() -> Self {
        Self { begun: Instant::now(), took: Vec::new() }
    }
}

impl Lap {
    fn end(&mut self) {
        self.took.push(self.begun.elapsed().as_secs_f64() * 1e3);
        self.begun = Instant::now();
    }
}

async fn create(client: &Client, project: &Project, server: &str, round: usize) -> Result<Container> {
    let body = CreateContainer {
        server_id: Some(server.to_owned()),
        name: Some(format!("bench-{round}")),
        ..CreateContainer::default()
    };
    let container = client.create_container(&project.id, &body).await?;
    own::first200(&client.kit(&container, Service::Terminal, 1)).await?;
    Ok(container)
}

async fn restart(client: &Client, id: &ContainerId) -> Result<()> {
    client.operate(id, Operation::Restart).await?;
    Ok(())
}
