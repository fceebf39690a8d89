//! `cowl snapshots diff`: what differs between two moments of a container.

use std::io::IsTerminal;

use super::context::{Context, InContainer};
use super::fail::Fail;
use super::print::{self, Table};
use super::resolve;
use cowl_api::diff::{Change, ChangeKind, FileDiff, FileSide, FileType, LIMIT_MAX, PackageDiff, Summary, Tally};
use cowl_client::Moments;

/// Options of `cowl snapshots diff`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    /// The snapshot by name or alias, then another one or `now`; the container may be named before
    /// them
    #[arg(num_args = 1..=3, required = true, value_names = ["CONTAINER", "SNAPSHOT", "TO"])]
    words: Vec<String>,
    #[command(flatten)]
    other: InContainer,
    /// Only what is at or below this path
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    /// Only how many of what kind
    #[arg(long, conflicts_with_all = ["packages", "file"])]
    stat: bool,
    /// The packages that differ
    #[arg(long, conflicts_with_all = ["file", "path"])]
    packages: bool,
    /// One file as text
    #[arg(long, value_name = "PATH", conflicts_with = "path")]
    file: Option<String>,
}

const AFTER_HELP: &str = "\
  +  added      −  deleted      ~  content changed      →  renamed or moved
  m  only mode, owner or attributes

With -c CONTAINER (or COWL_CONTAINER) the words are SNAPSHOT [TO]; without TO it is now.
--json lists at most 100,000 entries.";

impl Args {
    /// Container, snapshot, and the other moment.
    fn names(&self) -> Result<(&str, &str, Option<&str>), Fail> {
        let (container, from, to) = match (self.words.as_slice(), self.other.container.as_deref()) {
            ([from], _) => (self.other.name(None)?, from, None),
            ([from, to], Some(container)) => (container, from, Some(to.as_str())),
            ([container, from], None) => (container.as_str(), from, None),
            // Named before the snapshot, whatever the environment says.
            ([container, from, to], _) => (container.as_str(), from, Some(to.as_str())),
            _ => return Err(Fail::usage("which snapshot?")),
        };
        Ok((container, from, to.filter(|to| *to != "now")))
    }
}

pub(super) async fn run(context: &Context, args: Args) -> Result<(), Fail> {
    let client = context.client()?;
    let (container, from, to) = args.names()?;
    let container = resolve::container(&client, container).await?;
    let path = args.file.as_deref().or(args.path.as_deref());
    let moments = Moments { container: &container.id, from, to, path };
    if args.packages {
        return context.show(&client.diff_packages(&moments).await?, packages);
    }
    if args.file.is_some() {
        return context.show(&client.diff_file(&moments).await?, file);
    }
    if args.stat {
        return context.show(&client.diff_summary(&moments).await?, |told| stat(&told.summary));
    }
    if context.json {
        return Ok(print::json(&client.diff(&moments, LIMIT_MAX).await?)?);
    }
    let coloured = coloured();
    let mut stream = client.diff_stream(&moments).await?;
    while let Some(change) = stream.next().await? {
        print::raw(entry(&change, coloured).as_bytes())?;
    }
    match stream.summary() {
        Some(summary) => Ok(print::line(&total(summary))?),
        None => Ok(()),
    }
}

fn coloured() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

/// Text in a colour of the terminal's palette.
fn paint(text: &str, colour: u8, coloured: bool) -> String {
    if coloured { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
}

const RED: u8 = 31;
const GREEN: u8 = 32;
const YELLOW: u8 = 33;
const BLUE: u8 = 34;
const CYAN: u8 = 36;

fn entry(c: &Change, coloured: bool) -> String {
    let (sign, colour) = match c.kind {
        ChangeKind::Added => ("+", GREEN),
        ChangeKind::Deleted => ("−", RED),
        ChangeKind::Changed => ("~", YELLOW),
        ChangeKind::Renamed => ("→", BLUE),
        ChangeKind::Mode => ("m", CYAN),
    };
    let slash = if c.file_type == FileType::Dir && c.path != "/" { "/" } else { "" };
    let mut text = match &c.from {
        Some(from) => format!("{sign} {from}{slash} → {}{slash}", c.path),
        None => format!("{sign} {}{slash}", c.path),
    };
    let mut facts = Vec::new();
    match (c.size_before, c.size_after) {
        (Some(a), Some(b)) if a != b => facts.push(format!("{} → {}", print::bytes(a), print::bytes(b))),
        (Some(n), _) | (_, Some(n)) => facts.push(print::bytes(n)),
        (None, None) => {}
    }
    for (before, after) in [(&c.mode_before, &c.mode_after), (&c.owner_before, &c.owner_after)] {
        if let (Some(before), Some(after)) = (before, after) {
            facts.push(format!("{before} → {after}"));
        }
    }
    if c.kind != ChangeKind::Changed || c.what.len() > 1 {
        facts.extend(c.what.iter().map(print::word).filter(|word| word != "mode" && word != "owner"));
    }
    if !facts.is_empty() {
        text.push_str(&format!("  ({})", facts.join(", ")));
    }
    format!("{}\n", paint(&print::plain(&text), colour, coloured))
}

fn total(s: &Summary) -> String {
    if s.count() + s.too_deep == 0 {
        return "nothing differs".into();
    }
    let kinds = [
        (s.added, "added"),
        (s.changed, "changed"),
        (s.deleted, "deleted"),
        (s.renamed, "renamed"),
        (s.mode, "with another mode or owner"),
    ];
    let mut words: Vec<String> =
        kinds.iter().filter(|(t, _)| t.count > 0).map(|(t, word)| format!("{} {word}", t.count)).collect();
    if s.too_deep > 0 {
        words.push(format!("{} directories too deep to look into", s.too_deep));
    }
    words.join(", ")
}

fn stat(s: &Summary) -> std::io::Result<()> {
    let mut table = Table::new(&["WHAT", ">ENTRIES", ">BEFORE", ">AFTER"]);
    let mut row = |what: &str, t: Tally| {
        table.row([what.into(), t.count.to_string(), print::bytes(t.bytes_before), print::bytes(t.bytes_after)]);
    };
    row("added", s.added);
    row("changed", s.changed);
    row("deleted", s.deleted);
    row("renamed", s.renamed);
    row("mode", s.mode);
    table.print()
}

fn packages(diff: &PackageDiff) -> std::io::Result<()> {
    if diff.packages.is_empty() {
        return print::line("no package differs");
    }
    let mut table = Table::new(&["WHAT", "PACKAGE", "ARCH", "BEFORE", "AFTER"]);
    for p in &diff.packages {
        let version = |v: &Option<String>| v.clone().unwrap_or_else(|| "-".into());
        table.row([
            print::word(&p.kind),
            p.name.clone(),
            p.architecture.clone(),
            version(&p.before),
            version(&p.after),
        ]);
    }
    table.print()
}

fn file(diff: &FileDiff) -> std::io::Result<()> {
    let Some(text) = &diff.diff else {
        let side = |side: &Option<FileSide>| match side {
            Some(s) => format!("{} {} sha256:{}", print::word(&s.file_type), print::bytes(s.size), s.sha256),
            None => "absent".into(),
        };
        return print::facts(&[
            ("no text", diff.path.clone()),
            ("before", side(&diff.before)),
            ("after", side(&diff.after)),
        ]);
    };
    if text.is_empty() {
        return print::line("nothing differs");
    }
    let coloured = coloured();
    for line in text.lines() {
        let colour = match line.as_bytes().first() {
            Some(b'+') => GREEN,
            Some(b'-') => RED,
            Some(b'@') => CYAN,
            _ => 0,
        };
        let line = line.split('\t').map(print::plain).collect::<Vec<_>>().join("\t");
        print::raw(format!("{}\n", paint(&line, colour, coloured && colour != 0)).as_bytes())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_one_line_that_cannot_drive_the_terminal() {
        let mut change = Change::new(ChangeKind::Mode, b"/srv/a\n\x1b[2J", FileType::File);
        change.size_before = Some(5);
        change.size_after = Some(5);
        (change.mode_before, change.mode_after) = (Some("0644".into()), Some("4755".into()));
        change.what = vec![cowl_api::diff::Aspect::Mode];
        assert_eq!(entry(&change, false), "m /srv/a\u{fffd}\u{fffd}[2J  (5B, 0644 → 4755)\n");
        let moved = Change::new(ChangeKind::Renamed, b"/b", FileType::Dir).from(b"/a");
        assert_eq!(entry(&moved, true), "\x1b[34m→ /a/ → /b/\x1b[0m\n");
    }

    #[test]
    fn sums_are_told_in_words() {
        assert_eq!(total(&Summary::default()), "nothing differs");
        let one = Tally { count: 1, bytes_before: 0, bytes_after: 2 };
        let summary = Summary { added: one, renamed: Tally { count: 3, ..one }, ..Summary::default() };
        assert_eq!(total(&summary), "1 added, 3 renamed");
    }

    #[test]
    fn the_words_name_container_snapshot_and_moment() {
        let args = |words: &[&str], container: Option<&str>| Args {
            words: words.iter().map(|w| (*w).to_owned()).collect(),
            other: InContainer { container: container.map(str::to_owned) },
            path: None,
            stat: false,
            packages: false,
            file: None,
        };
        let names = |words: &[&str], container| {
            args(words, container).names().ok().map(|(c, f, t)| (c.to_owned(), f.to_owned(), t.map(str::to_owned)))
        };
        let told = |c: &str, f: &str, t: Option<&str>| Some((c.to_owned(), f.to_owned(), t.map(str::to_owned)));
        assert_eq!(names(&["web", "gold"], None), told("web", "gold", None));
        assert_eq!(names(&["gold", "new"], Some("web")), told("web", "gold", Some("new")));
        assert_eq!(names(&["gold"], Some("web")), told("web", "gold", None));
        assert_eq!(names(&["web", "gold", "now"], None), told("web", "gold", None));
        assert_eq!(names(&["gold"], None), None);
    }
}
