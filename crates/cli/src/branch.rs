//! `cowl containers copy`, `branch`, `sync` and `tree`; `cowl snapshots branch`.

use std::process::ExitCode;

use super::context::{Context, Which};
use super::fail::{Fail, Outcome};
use super::progress::Bar;
use super::{containers, print, resolve, wait};
use cowl_api::Container;
use cowl_api::lineage::{BranchContainer, Copied, CopyContainer, Kin};
use cowl_client::Client;

#[derive(Debug, clap::Args)]
pub(super) struct BranchArgs {
    /// The container to branch from, or CONTAINER@SNAPSHOT for one of its snapshots
    #[arg(value_name = "CONTAINER[@SNAPSHOT]")]
    source: String,
    #[command(flatten)]
    options: BranchOptions,
}

#[derive(Debug, clap::Args)]
pub(super) struct BranchOptions {
    /// Its name [default: SOURCE-branch-N]
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// The project it will belong to (id or alias) [default: the source's]
    #[arg(long)]
    project: Option<String>,
    /// A variable beside, or in place of, the source's; may be given several times
    #[arg(long = "env", value_name = "KEY=VALUE", value_parser = super::create::key_value)]
    env: Vec<(String, String)>,
    /// Take the source's snapshots along
    #[arg(long)]
    copy_snapshots: bool,
    /// Do not start it
    #[arg(long)]
    no_start: bool,
    /// Return as soon as the node has taken the order
    #[arg(long)]
    no_wait: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct CopyArgs {
    /// The container to copy, or CONTAINER@SNAPSHOT for one of its snapshots
    #[arg(value_name = "CONTAINER[@SNAPSHOT]")]
    source: String,
    /// Its name [default: the source's where that is free, else SOURCE-copy-N]
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// The project it will belong to (id or alias) [default: the source's]
    #[arg(long, visible_alias = "target-project-id")]
    project: Option<String>,
    /// The snapshot to copy, by name or alias
    #[arg(long, value_name = "SNAPSHOT")]
    source_snapshot: Option<String>,
    /// File with the public key for SSH
    #[arg(long, value_name = "FILE")]
    ssh_public_key: Option<std::path::PathBuf>,
    /// Take the firewall rules along
    #[arg(long)]
    copy_firewall_rules: bool,
    /// Take the way to the world (`cowl network`) along
    #[arg(long)]
    copy_network_rules: bool,
    /// Leave the source's snapshots behind
    #[arg(long)]
    no_snapshots: bool,
    /// Do not start it
    #[arg(long)]
    no_start: bool,
    /// Return as soon as the node has taken the order
    #[arg(long)]
    no_wait: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct TreeArgs {
    #[command(flatten)]
    which: Which,
    /// Families with members in this project (id or alias)
    #[arg(long, conflicts_with = "first")]
    project: Option<String>,
}

/// `CONTAINER@SNAPSHOT`. A project's alias may hold an `@`, too; a snapshot's name holds no slash.
fn at(source: &str) -> (&str, Option<&str>) {
    match source.rsplit_once('@') {
        Some((container, snapshot)) if !snapshot.contains('/') => (container, Some(snapshot)),
        _ => (source, None),
    }
}

async fn shown(context: &Context, client: &Client, copied: Copied, start: bool, no_wait: bool) -> Outcome {
    let mut copied = copied;
    if !no_wait && start {
        let mut bar = Bar::only_moving(context.json);
        copied.container = wait::first_answer(client, &copied.container.id, &mut bar).await?;
    } else if !no_wait {
        copied.container = copying_ends(client, &copied.container).await?;
    }
    context.show(&copied, |c| containers::one(&c.container))?;
    Ok(ExitCode::SUCCESS)
}

async fn copying_ends(client: &Client, container: &Container) -> Result<Container, Fail> {
    use cowl_api::ContainerState::{Copying, Failed};
    let deadline = std::time::Duration::from_secs(180);
    wait::until(&format!("{} to be copied", container.name), deadline, async || {
        let now = client.container(&container.id).await?;
        match now.status {
            Copying => Ok(None),
            Failed => Err(Fail::other(format!("{}: {}", now.name, now.status_reason.unwrap_or_default()))),
            _ => Ok(Some(now)),
        }
    })
    .await
}

pub(super) async fn branch(context: &Context, args: BranchArgs) -> Outcome {
    let (container, snapshot) = at(&args.source);
    branch_of(context, container, snapshot, args.options).await
}

/// Branches from a container's present state, or from one of its snapshots.
pub(super) async fn branch_of(
    context: &Context,
    container: &str,
    snapshot: Option<&str>,
    options: BranchOptions,
) -> Outcome {
    let client = context.client()?;
    let source = resolve::container(&client, container).await?;
    let target_project_id = match &options.project {
        Some(word) => Some(resolve::project(&client, word).await?.id.to_string()),
        None => None,
    };
    let body = BranchContainer {
        snapshot: snapshot.map(str::to_owned),
        name: options.name,
        target_project_id,
        env: options.env.into_iter().collect(),
        copy_snapshots: options.copy_snapshots,
        start: Some(!options.no_start),
        ..BranchContainer::default()
    };
    let copied = client.branch_container(&source.id, &body).await?;
    shown(context, &client, copied, !options.no_start, options.no_wait).await
}

pub(super) async fn copy(context: &Context, args: CopyArgs) -> Outcome {
    let (container, snapshot) = at(&args.source);
    if snapshot.is_some() && args.source_snapshot.is_some() {
        return Err(Fail::usage("the snapshot is named twice: by @ and by --source-snapshot"));
    }
    let client = context.client()?;
    let source = resolve::container(&client, container).await?;
    let project = match &args.project {
        Some(word) => resolve::project(&client, word).await?.id,
        None => source.project_id,
    };
    let ssh_public_key = match &args.ssh_public_key {
        Some(path) => {
            let key = std::fs::read_to_string(path).map_err(|e| Fail::io(format!("read {}", path.display()), &e))?;
            Some(key.trim().to_owned())
        }
        None => None,
    };
    let body = CopyContainer {
        target_project_id: Some(project.to_string()),
        name: args.name,
        ssh_public_key,
        source_snapshot: args.source_snapshot.or(snapshot.map(str::to_owned)),
        copy_firewall_rules: args.copy_firewall_rules,
        copy_network_rules: args.copy_network_rules,
        copy_snapshots: Some(!args.no_snapshots),
        start: Some(!args.no_start),
        ..CopyContainer::default()
    };
    let copied = client.copy_container(&source.id, &body).await?;
    shown(context, &client, copied, !args.no_start, args.no_wait).await
}

pub(super) async fn sync(context: &Context, which: &Which) -> Outcome {
    let client = context.client()?;
    let container = resolve::container(&client, which.name()?).await?;
    context
        .confirm(&format!("Put {} to its source's present state? Its own is kept as a snapshot.", container.name))?;
    let synced = client.sync_container(&container.id).await?;
    context.show(&synced, |s| {
        print::line(&format!("{} has its source's present state and is {}", container.name, s.status))?;
        print::line(&format!("the state before is kept as {}", s.safety_snapshot))
    })?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn tree(context: &Context, args: TreeArgs) -> Outcome {
    let client = context.client()?;
    if let Some(word) = args.which.first.as_deref().or(args.which.other.container.as_deref()) {
        let container = resolve::container(&client, word).await?;
        let lineage = client.lineage(&container.id).await?;
        context.show(&lineage, |l| draw(&l.tree).iter().try_for_each(|line| print::line(line)))?;
        return Ok(ExitCode::SUCCESS);
    }
    let project = match &args.project {
        Some(word) => Some(resolve::project(&client, word).await?.id),
        None => None,
    };
    let forest = client.forest(project.as_ref()).await?;
    context.show(&forest.trees, |trees| trees.iter().flat_map(draw).try_for_each(|line| print::line(&line)))?;
    Ok(ExitCode::SUCCESS)
}

/// A family as lines.
fn draw(tree: &Kin) -> Vec<String> {
    let mut lines = vec![title(tree)];
    below(tree, "", &mut lines);
    lines
}

fn title(one: &Kin) -> String {
    let state = one.status.map_or_else(|| "gone".to_owned(), |s| s.to_string());
    let project = one.project_alias.as_ref().map(|p| format!("{p}/")).unwrap_or_default();
    let disk = one.disk.map(|n| format!("  {}", print::bytes(n))).unwrap_or_default();
    let synced = one.origin.as_ref().and_then(|o| o.synced_at.as_deref());
    let synced = synced.map(|at| format!("  synced {}", print::ago(Some(at)))).unwrap_or_default();
    format!("{project}{}  {state}{disk}{synced}", one.name)
}

fn below(one: &Kin, margin: &str, lines: &mut Vec<String>) {
    let all = one.snapshots.len() + one.branches.len();
    let edge = |n: usize| if n + 1 == all { ("└─ ", "   ") } else { ("├─ ", "│  ") };
    for (n, snapshot) in one.snapshots.iter().enumerate() {
        let (arm, space) = edge(n);
        let alias = snapshot.alias.as_ref().map(|a| format!(" ({a})")).unwrap_or_default();
        lines.push(format!("{margin}{arm}@{}{alias}  {}", snapshot.name, print::bytes(snapshot.size)));
        let inner = format!("{margin}{space}");
        for (m, branch) in snapshot.branches.iter().enumerate() {
            let last = m + 1 == snapshot.branches.len();
            lines.push(format!("{inner}{}{}", if last { "└─ " } else { "├─ " }, title(branch)));
            below(branch, &format!("{inner}{}", if last { "   " } else { "│  " }), lines);
        }
    }
    for (n, branch) in one.branches.iter().enumerate() {
        let (arm, space) = edge(one.snapshots.len() + n);
        lines.push(format!("{margin}{arm}{}", title(branch)));
        below(branch, &format!("{margin}{space}"), lines);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cowl_api::ContainerId;
    use cowl_api::lineage::KinSnapshot;

    fn kin(name: &str) -> Kin {
        Kin {
            id: ContainerId::generate(),
            name: name.into(),
            project_id: None,
            project_alias: None,
            status: None,
            disk: None,
            origin: None,
            snapshots: Vec::new(),
            branches: Vec::new(),
        }
    }

    fn snapshot(name: &str, branches: Vec<Kin>) -> KinSnapshot {
        KinSnapshot { name: name.into(), alias: None, created_at: String::new(), size: 1024, branches }
    }

    #[test]
    fn a_family_is_drawn_with_unbroken_lines() {
        let mut inner = kin("b");
        inner.snapshots = vec![snapshot("s3", vec![])];
        let mut root = kin("a");
        root.snapshots = vec![snapshot("s1", vec![inner, kin("c")]), snapshot("s2", vec![])];
        root.branches = vec![kin("d")];
        let drawn = draw(&root).join("\n");
        let expected =
            "a  gone\n├─ @s1  1.0K\n│  ├─ b  gone\n│  │  └─ @s3  1.0K\n│  └─ c  gone\n├─ @s2  1.0K\n└─ d  gone";
        assert_eq!(drawn, expected);
    }

    #[test]
    fn a_snapshot_is_named_behind_the_last_at_sign() {
        assert_eq!(at("demo/web@gold"), ("demo/web", Some("gold")));
        assert_eq!(at("me@home/web"), ("me@home/web", None));
        assert_eq!(at("web"), ("web", None));
    }
}
