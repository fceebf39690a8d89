//! `cowl projects`: named groups of containers.

use std::process::ExitCode;

use serde_json::json;

use super::context::Context;
use super::fail::Outcome;
use super::print::{self, Table};
use super::resolve;
use super::settings;
use cowl_api::Project;
use cowl_api::project::{CreateProject, UpdateProject};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Make a project
    Create {
        /// Its name, unique on this box
        #[arg(long)]
        alias: String,
        /// Its colour: #RRGGBB or #RGB
        #[arg(long)]
        color: Option<String>,
        /// How many containers it may hold
        #[arg(long, value_name = "N")]
        max_containers: Option<u32>,
        #[command(flatten)]
        settings: settings::Given,
    },
    /// Change what its containers may use where they set nothing themselves
    Set {
        /// Id or alias
        project: String,
        #[command(flatten)]
        change: settings::Change,
    },
    /// List all projects
    #[command(visible_alias = "ls")]
    List,
    /// Show one project
    Get {
        /// Id or alias
        project: String,
    },
    /// Delete a project with all its containers
    #[command(visible_alias = "rm")]
    Delete {
        /// Id or alias
        project: String,
    },
}

pub(super) async fn run(context: &Context, command: Command) -> Outcome {
    let client = context.client()?;
    match command {
        Command::Create { alias, color, max_containers, settings } => {
            let settings = settings.patch();
            let body = CreateProject { alias, color, max_containers, settings, realm_ids: Vec::new() };
            context.show(&client.create_project(&body).await?, one)?;
        }
        Command::Set { project, change } => {
            let patch = change.patch()?;
            let project = resolve::project(&client, &project).await?;
            let body = UpdateProject { settings: Some(Some(patch).filter(|p| !p.is_null())), ..Default::default() };
            context.show(&client.update_project(&project.id, &body).await?, one)?;
        }
        Command::List => context.show(client.projects().await?.as_slice(), table)?,
        Command::Get { project } => context.show(&resolve::project(&client, &project).await?, one)?,
        Command::Delete { project } => {
            let project = resolve::project(&client, &project).await?;
            let count = client.containers(Some(&project.id)).await?.len();
            context.confirm(&format!("Delete project {} with its {count} containers?", project.alias))?;
            client.delete_project(&project.id).await?;
            let gone = json!({ "id": project.id, "deleted": true });
            context.show(&gone, |_| print::line(&format!("deleted {}", project.alias)))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn table(all: &[Project]) -> std::io::Result<()> {
    let mut table = Table::new(&["ALIAS", "ID", ">LIMIT", "CREATED"]);
    for p in all {
        let limit = p.max_containers.map_or("-".into(), |n| n.to_string());
        table.row([p.alias.clone(), p.id.to_string(), limit, print::ago(Some(&p.created_at))]);
    }
    table.print()
}

fn one(p: &Project) -> std::io::Result<()> {
    let mut facts = vec![
        ("alias", p.alias.clone()),
        ("id", p.id.to_string()),
        ("colour", p.color.clone()),
        ("most containers", p.max_containers.map_or("none".into(), |n| n.to_string())),
        ("created", p.created_at.clone()),
    ];
    facts.extend(settings::facts(&p.settings, &p.settings));
    facts.extend(p.warnings.iter().map(|w| ("warning", w.message.clone())));
    print::facts(&facts)
}
