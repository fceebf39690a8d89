//! Waiting for the node: for an image, for a container's first answer. Each wait has a deadline.

use std::time::{Duration, Instant};

use http::Method;

use super::fail::Fail;
use super::progress::Bar;
use cowl_api::container::ContainerState;
use cowl_api::event::Event;
use cowl_api::server::{BuildProgress, Image, ImageState};
use cowl_api::{Container, ContainerId, Service};
use cowl_client::{Client, EventStream};

const POLL: Duration = Duration::from_millis(50);
/// Longest time an image build may take before we stop watching it.
const IMAGE: Duration = Duration::from_secs(3600);
/// Longest time from a ready image to the first answer.
const BOOT: Duration = Duration::from_secs(180);

/// Asks `done` again and again until it gives a value.
pub(super) async fn until<T>(
    what: &str,
    deadline: Duration,
    mut done: impl AsyncFnMut() -> Result<Option<T>, Fail>,
) -> Result<T, Fail> {
    let end = Instant::now() + deadline;
    loop {
        if let Some(value) = done().await? {
            return Ok(value);
        }
        if Instant::now() >= end {
            return Err(Fail::other(format!("waited {} s for {what}", deadline.as_secs())));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Waits until an image can be used, showing how its build moves.
pub(super) async fn image(client: &Client, name: &str, bar: &mut Bar) -> Result<(), Fail> {
    let end = Instant::now() + IMAGE;
    let mut events: Option<EventStream> = None;
    while Instant::now() < end {
        let images = client.images().await?;
        let image = images.iter().find(|i| i.name == name);
        match image.map(|i| (i.state, i)) {
            Some((ImageState::Ready, _)) => {
                bar.finish();
                return Ok(());
            }
            Some((ImageState::Failed, image)) => {
                bar.finish();
                return Err(build_failed(image));
            }
            Some((_, image)) => {
                if let Some(progress) = &image.progress {
                    bar.build(name, progress);
                }
            }
            None => return Err(Fail::other(format!("the node has no image {name}"))),
        }
        if events.is_none() {
            events = Some(client.events().await?);
        }
        // Events move the bar; the list is asked again now and then in case one was missed.
        let again = Instant::now() + Duration::from_secs(2);
        while let Some(stream) = &mut events {
            let next = tokio::time::timeout(again.saturating_duration_since(Instant::now()), stream.next());
            match next.await {
                Err(_) => break,
                Ok(Ok(Some(event))) => {
                    if !moved(&event, name, bar) {
                        break;
                    }
                }
                Ok(_) => {
                    events = None;
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
    }
    Err(Fail::other(format!("waited {} s for the image {name}", IMAGE.as_secs())))
}

/// Shows an event of the build; false when the build has ended.
fn moved(event: &Event, name: &str, bar: &mut Bar) -> bool {
    match event.event_type.as_str() {
        "image.progress" => {
            let data = event.data.get("progress").unwrap_or(&event.data);
            if let Ok(progress) = serde_json::from_value::<BuildProgress>(data.clone()) {
                bar.build(name, &progress);
            }
            true
        }
        "image.ready" | "image.failed" => false,
        _ => true,
    }
}

fn build_failed(image: &Image) -> Fail {
    let reason = image.error.as_deref().unwrap_or("no reason was given");
    let log = image.log.as_deref().map(|l| format!("; log: {l}")).unwrap_or_default();
    Fail::other(format!("the image {} could not be built: {reason}{log}; `cowl images build` tries again", image.name))
}

/// Waits until a container that is being made runs and its terminal answers.
pub(super) async fn first_answer(client: &Client, id: &ContainerId, bar: &mut Bar) -> Result<Container, Fail> {
    let asked = client.container(id).await?;
    if asked.status == ContainerState::Creating {
        // Without a ready image the node waits for it; so do we, with something to look at.
        image(client, &asked.container_image, bar).await?;
    }
    bar.step(&format!("{} boots", asked.name));
    let running = until(&format!("{} to run", asked.name), BOOT, async || {
        let now = client.container(id).await?;
        match now.status {
            // One that sleeps wakes by being asked below.
            ContainerState::Running | ContainerState::Asleep => Ok(Some(now)),
            ContainerState::Creating | ContainerState::Copying | ContainerState::Stopped => Ok(None),
            other => {
                let reason = now.status_reason.as_deref().unwrap_or("see its status log");
                Err(Fail::other(format!("{} is {other}: {reason}", now.name)))
            }
        }
    })
    .await?;
    if running.hoody_kit {
        let kit = client.kit(&running, Service::Terminal, 1);
        until(&format!("an answer of {}", kit.host()), BOOT, async || {
            let answer = kit.json::<serde_json::Value>(Method::GET, "/api/v1/terminal/sessions", None::<&()>).await;
            match answer {
                Err(e) if e.is_not_yet() => Ok(None),
                Err(e @ (cowl_client::Error::NoNode { .. } | cowl_client::Error::Permission { .. })) => Err(e.into()),
                // Any other answer is one.
                _ => Ok(Some(())),
            }
        })
        .await?;
    }
    bar.finish();
    Ok(running)
}
