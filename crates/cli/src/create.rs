//! `cowl containers create`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use super::context::Context;
use super::fail::{Fail, Outcome};
use super::progress::Bar;
use super::{containers, resolve, settings, wait};
use cowl_api::container::CreateContainer;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The project it will belong to (id or alias)
    #[arg(long)]
    project: String,
    /// The box it will live on (id or name); this node when left out
    #[arg(long, value_name = "ID|NAME")]
    server_id: Option<String>,
    /// 3 to 100 letters, digits, '-' and '_'; random when left out
    #[arg(long)]
    name: Option<String>,
    /// #RRGGBB or #RGB; random when left out
    #[arg(long)]
    color: Option<String>,
    /// What it is made from
    #[arg(long = "container-image", visible_alias = "image", value_name = "IMAGE")]
    image: Option<String>,
    /// Run the kit services in it [default: true]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    hoody_kit: Option<bool>,
    /// Bring developer tools [default: as --hoody-kit]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    dev_kit: Option<bool>,
    /// Start it with the node [default: true]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    autostart: Option<bool>,
    /// Mount /ramdisk [default: true]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    ramdisk: Option<bool>,
    /// A virtual machine instead of a container; refused where that cannot be
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    kvm: Option<bool>,
    /// A variable of its sessions; may be given several times
    #[arg(long = "env", value_name = "KEY=VALUE", value_parser = key_value)]
    env: Vec<(String, String)>,
    /// File with the public key for SSH
    #[arg(long, value_name = "FILE")]
    ssh_public_key: Option<PathBuf>,
    /// Free text
    #[arg(long)]
    comment: Option<String>,
    /// Return as soon as the node has taken the order
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    settings: settings::Given,
}

pub(super) fn key_value(word: &str) -> Result<(String, String), String> {
    let (key, value) = word.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

pub(super) async fn run(context: &Context, args: Args) -> Outcome {
    let client = context.client()?;
    let project = resolve::project(&client, &args.project).await?;
    let no_wait = args.no_wait;
    let mut body = body(args)?;
    if body.server_id.is_none() {
        body.server_id = Some(client.status().await?.server_id.to_string());
    }
    let mut container = client.create_container(&project.id, &body).await?;
    if !no_wait {
        // What the order's reply remarked is not said again later.
        let said = std::mem::take(&mut container.warnings);
        let mut bar = Bar::only_moving(context.json);
        container = wait::first_answer(&client, &container.id, &mut bar).await?;
        let unsaid = said.into_iter().filter(|w| !container.warnings.contains(w)).collect::<Vec<_>>();
        container.warnings.extend(unsaid);
    }
    context.show(&container, containers::one)?;
    Ok(ExitCode::SUCCESS)
}

fn body(args: Args) -> Result<CreateContainer, Fail> {
    let ssh_public_key = match &args.ssh_public_key {
        None => None,
        Some(path) => {
            let key = std::fs::read_to_string(path);
            Some(key.map_err(|e| Fail::io(format!("read {}", path.display()), &e))?.trim().to_owned())
        }
    };
    Ok(CreateContainer {
        server_id: args.server_id,
        name: args.name,
        color: args.color,
        container_image: args.image,
        hoody_kit: args.hoody_kit,
        dev_kit: args.dev_kit,
        autostart: args.autostart,
        ramdisk: args.ramdisk,
        settings: args.settings.patch(),
        environment_vars: args.env.into_iter().collect::<BTreeMap<_, _>>(),
        ssh_public_key,
        comment: args.comment,
        kvm: args.kvm,
        ..CreateContainer::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_may_hold_further_equal_signs() {
        assert_eq!(key_value("A=b=c"), Ok(("A".into(), "b=c".into())));
        assert!(key_value("A").is_err());
    }
}
