//! `cowl firewall`: rules for what passes to and from a container.

use std::process::ExitCode;

use clap::ValueEnum;

use super::context::{Context, InContainer, Which};
use super::fail::{Fail, Outcome};
use super::print::{self, Table, word};
use super::resolve;
use cowl_api::firewall::{Action, Direction, Protocol, RuleBody, RuleList, RuleState};
use cowl_client::Client;

/// Evaluated in the order drop, reject, allow; once a direction has a rule that counts, everything
/// else in that direction is rejected. Replies always pass, and so does what comes through the
/// container's URLs.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List a container's rules
    #[command(visible_alias = "ls")]
    List(Which),
    /// Rules for what comes in
    #[command(subcommand)]
    Ingress(Edit),
    /// Rules for what goes out
    #[command(subcommand)]
    Egress(Edit),
    /// Let something pass: `cowl firewall allow ingress tcp/22 --from 192.0.2.7 -c web`
    Allow(Short),
    /// Reject something: `cowl firewall deny egress tcp/25 -c web`
    Deny(Short),
    /// Remove all rules
    Reset(Which),
}

#[derive(Debug, clap::Subcommand)]
pub(super) enum Edit {
    /// Add a rule
    #[command(visible_alias = "add")]
    Create(Fields),
    /// Remove the first rule that has these fields, or with --all every one
    #[command(visible_alias = "rm")]
    Delete {
        #[command(flatten)]
        fields: Fields,
        /// Remove all that fit
        #[arg(long)]
        all: bool,
    },
    /// Switch the first rule that has these fields on or off, by --state
    Toggle(Fields),
}

#[derive(Debug, Clone, clap::Args)]
pub(super) struct Fields {
    #[command(flatten)]
    container: InContainer,
    /// allow, reject (with an answer) or drop (without)
    #[arg(long, value_enum)]
    action: Option<ActionWord>,
    /// tcp, udp or icmp4
    #[arg(long, value_enum)]
    protocol: Option<ProtocolWord>,
    /// A note for people
    #[arg(long)]
    description: Option<String>,
    /// Like 80, 80-90 or 80,443; 1-65535 is all
    #[arg(long, value_name = "PORTS")]
    destination_port: Option<String>,
    /// Where it comes from: IPv4 addresses or networks (ingress)
    #[arg(long, value_name = "ADDRESSES")]
    source: Option<String>,
    /// Where it goes to: IPv4 addresses or networks (egress)
    #[arg(long, value_name = "ADDRESSES")]
    destination: Option<String>,
    /// Like --destination-port
    #[arg(long, value_name = "PORTS")]
    source_port: Option<String>,
    /// enabled or disabled
    #[arg(long, value_enum)]
    state: Option<StateWord>,
    /// 0 to 255, e.g. 8 for an echo request
    #[arg(long, value_name = "NUMBER")]
    icmp_type: Option<String>,
    /// 0 to 255
    #[arg(long, value_name = "NUMBER")]
    icmp_code: Option<String>,
}

#[derive(Debug, Clone, clap::Args)]
pub(super) struct Short {
    /// ingress or egress
    #[arg(value_enum)]
    direction: DirectionWord,
    /// PROTOCOL/PORTS like tcp/22, udp/1-65535 or tcp/80,443; or icmp4
    what: String,
    /// The far end: IPv4 addresses or networks; anywhere when left out
    #[arg(long, visible_aliases = ["from", "to"], value_name = "ADDRESSES")]
    address: Option<String>,
    /// A note for people
    #[arg(long)]
    description: Option<String>,
    #[command(flatten)]
    container: InContainer,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ActionWord {
    Allow,
    Reject,
    Drop,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ProtocolWord {
    Tcp,
    Udp,
    Icmp4,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum StateWord {
    Enabled,
    Disabled,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum DirectionWord {
    Ingress,
    Egress,
}

impl Fields {
    fn body(&self) -> RuleBody {
        RuleBody {
            action: self.action.map(|a| match a {
                ActionWord::Allow => Action::Allow,
                ActionWord::Reject => Action::Reject,
                ActionWord::Drop => Action::Drop,
            }),
            protocol: self.protocol.map(|p| match p {
                ProtocolWord::Tcp => Protocol::Tcp,
                ProtocolWord::Udp => Protocol::Udp,
                ProtocolWord::Icmp4 => Protocol::Icmp4,
            }),
            description: self.description.clone(),
            destination_port: self.destination_port.clone(),
            source: self.source.clone(),
            destination: self.destination.clone(),
            source_port: self.source_port.clone(),
            state: self.state.map(|s| match s {
                StateWord::Enabled => RuleState::Enabled,
                StateWord::Disabled => RuleState::Disabled,
            }),
            icmp_type: self.icmp_type.clone(),
            icmp_code: self.icmp_code.clone(),
            all: None,
            direction: None,
        }
    }
}

impl Short {
    fn rule(&self, action: Action) -> Result<(Direction, RuleBody), Fail> {
        let direction = match self.direction {
            DirectionWord::Ingress => Direction::Ingress,
            DirectionWord::Egress => Direction::Egress,
        };
        let (word, ports) = self.what.split_once('/').map_or((self.what.as_str(), None), |(w, p)| (w, Some(p)));
        let protocol = match word {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            "icmp4" | "icmp" => Protocol::Icmp4,
            _ => return Err(Fail::usage(format!("{} is not PROTOCOL/PORTS like tcp/22", self.what))),
        };
        let (source, destination) = match direction {
            Direction::Ingress => (self.address.clone(), None),
            Direction::Egress => (None, self.address.clone()),
        };
        let body = RuleBody {
            action: Some(action),
            protocol: Some(protocol),
            description: Some(self.description.clone().unwrap_or_default()),
            destination_port: ports.map(str::to_owned),
            source,
            destination,
            ..RuleBody::default()
        };
        Ok((direction, body))
    }
}

pub(super) async fn run(context: &Context, command: Command) -> Outcome {
    let client = context.client()?;
    match command {
        Command::List(which) => {
            let id = resolve::container(&client, which.name()?).await?.id;
            context.show(&client.firewall(&id).await?, table)?;
        }
        Command::Ingress(edit) => edit_rules(context, &client, Direction::Ingress, edit).await?,
        Command::Egress(edit) => edit_rules(context, &client, Direction::Egress, edit).await?,
        Command::Allow(short) => add_short(context, &client, &short, Action::Allow).await?,
        Command::Deny(short) => add_short(context, &client, &short, Action::Reject).await?,
        Command::Reset(which) => {
            let container = resolve::container(&client, which.name()?).await?;
            context.confirm(&format!("Remove all firewall rules of {}?", container.name))?;
            let done = client.reset_firewall(&container.id).await?;
            context.show(&done, |_| print::line("no rules are left; everything passes"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn add_short(context: &Context, client: &Client, short: &Short, action: Action) -> Result<(), Fail> {
    let (direction, body) = short.rule(action)?;
    let id = resolve::container(client, short.container.name(None)?).await?.id;
    let rule = client.add_rule(&id, direction, &body).await?;
    context.show(&rule, |rule| added(direction, rule))
}

fn added(direction: Direction, rule: &RuleBody) -> std::io::Result<()> {
    let way = direction.as_str();
    print::line(&format!("{way}: {}; what no {way} rule allows is rejected", sentence(rule)))
}

async fn edit_rules(context: &Context, client: &Client, direction: Direction, edit: Edit) -> Result<(), Fail> {
    let (Edit::Create(fields) | Edit::Delete { fields, .. } | Edit::Toggle(fields)) = &edit;
    let id = resolve::container(client, fields.container.name(None)?).await?.id;
    let body = fields.body();
    match edit {
        Edit::Create(_) => {
            let body = RuleBody { description: Some(body.description.clone().unwrap_or_default()), ..body };
            let rule = client.add_rule(&id, direction, &body).await?;
            context.show(&rule, |rule| added(direction, rule))
        }
        Edit::Delete { all, .. } => {
            let body = RuleBody { all: all.then_some(true), ..body };
            let done = client.remove_rule(&id, direction, &body).await?;
            context.show(&done, |done| print::line(&format!("removed {} rules", done["removed_count"])))
        }
        Edit::Toggle(_) => {
            let done = client.toggle_rule(&id, direction, &body).await?;
            let state = done["new_state"].as_str().unwrap_or_default().to_owned();
            context.show(&done, |_| print::line(&format!("the rule is {state}")))
        }
    }
}

fn sentence(rule: &RuleBody) -> String {
    let ports = rule.destination_port.as_ref().map(|p| format!("/{p}")).unwrap_or_default();
    let peer = rule.source.as_ref().map(|s| format!(" from {s}"));
    let peer = peer.or_else(|| rule.destination.as_ref().map(|d| format!(" to {d}"))).unwrap_or_default();
    format!("{} {}{ports}{peer}", word(&rule.action), word(&rule.protocol))
}

fn table(list: &RuleList) -> std::io::Result<()> {
    if list.rule_count == 0 {
        return print::line("no rules: everything passes, except from other containers and the network outside");
    }
    let mut table = Table::new(&["DIRECTION", "ACTION", "PROTOCOL", "PORTS", "ADDRESSES", "STATE", "DESCRIPTION"]);
    for (direction, rules) in [("ingress", &list.ingress), ("egress", &list.egress)] {
        for rule in rules {
            let icmp = rule.icmp_type.as_ref().map(|t| format!("type {t}"));
            table.row([
                direction.into(),
                word(&rule.action),
                word(&rule.protocol),
                rule.destination_port.clone().or(icmp).unwrap_or_else(|| "-".into()),
                rule.source.clone().or_else(|| rule.destination.clone()).unwrap_or_default(),
                word(&rule.state),
                rule.description.clone().unwrap_or_default(),
            ]);
        }
    }
    table.print()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short(direction: DirectionWord, what: &str) -> Short {
        let container = InContainer { container: None };
        Short { direction, what: what.into(), address: Some("192.0.2.7".into()), description: None, container }
    }

    #[test]
    fn the_short_form_says_the_same_as_the_long_one() {
        let (direction, rule) = short(DirectionWord::Ingress, "tcp/22,80").rule(Action::Allow).unwrap();
        assert_eq!(sentence(&rule), "allow tcp/22,80 from 192.0.2.7");
        assert!(rule.rule(direction).is_ok());
        let (direction, rule) = short(DirectionWord::Egress, "icmp").rule(Action::Reject).unwrap();
        assert_eq!(sentence(&rule), "reject icmp4 to 192.0.2.7");
        assert!(rule.rule(direction).is_ok());
        assert!(short(DirectionWord::Egress, "sctp/1").rule(Action::Allow).is_err());
    }
}
