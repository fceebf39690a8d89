//! Finding files by name (`glob`) and by content (`grep`). Both honour `.gitignore` unless told not to,
//! stay out of the kernel's own file systems, and end by count and by clock.

use std::path::Path;
use std::time::{Duration, Instant};

use globset::{Glob, GlobBuilder, GlobMatcher};
use ignore::WalkBuilder;
use regex::bytes::{Regex, RegexBuilder};
use serde::Serialize;

use super::path::CleanPath;
use super::regular::Regular;
use crate::error::{KitError, KitResult};
use crate::params::Params;

/// Most of a line that is shown, bytes.
const LINE_LIMIT: usize = 2_000;

/// Bounds of a search.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    started: Instant,
    deadline: Instant,
    depth: Option<usize>,
    scanned: usize,
    ignore_files: bool,
}

impl Bounds {
    fn read(params: &Params) -> KitResult<Self> {
        // The clients send seconds; 0 and nothing mean the default.
        let seconds = params.value::<f64>("timeout")?.filter(|s| s.is_finite() && *s > 0.0).unwrap_or(30.0).min(60.0);
        let started = Instant::now();
        Ok(Self {
            started,
            deadline: started + Duration::from_secs_f64(seconds),
            depth: params.value("max_depth")?,
            scanned: params.value::<usize>("max_files_scanned")?.unwrap_or(100_000).min(1_000_000),
            ignore_files: !params.flag("no_ignore", false)?,
        })
    }

    fn walk(&self, root: &Path) -> ignore::Walk {
        let ignore_files = self.ignore_files;
        let own_root = root.to_owned();
        WalkBuilder::new(root)
            .standard_filters(ignore_files)
            .hidden(false)
            .require_git(false)
            .follow_links(false)
            .max_depth(self.depth)
            .filter_entry(move |entry| {
                let path = entry.path();
                if path == own_root {
                    return true;
                }
                let kernel = ["/proc", "/sys", "/dev"].iter().any(|top| path == Path::new(top));
                !(kernel || ignore_files && entry.file_name() == ".git")
            })
            .build()
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.deadline
    }

    fn elapsed_ms(&self) -> u64 {
        self.started.elapsed().as_millis().try_into().unwrap_or(u64::MAX)
    }
}

/// Reply of `glob`.
#[derive(Debug, Serialize)]
pub struct Found {
    path: String,
    pattern: String,
    count: usize,
    entries: Vec<FoundEntry>,
    total_scanned: usize,
    truncated: bool,
    duration_ms: u64,
}

/// One file of a [`Found`].
#[derive(Debug, Serialize)]
struct FoundEntry {
    /// Relative to the directory searched.
    name: String,
    /// Absolute.
    path: String,
    is_dir: bool,
    size: u64,
    /// Milliseconds since the epoch.
    modified: Option<i64>,
}

/// `glob`: parameters `pattern`, `max_results` (1,000), `max_depth`, `max_files_scanned` (100,000),
/// `timeout` (30 s), `no_ignore`, `sort` (`name` or `mtime`), `order` (`asc` or `desc`).
///
/// # Errors
/// 400 for a bad pattern, 404.
pub fn glob(root: &CleanPath, params: &Params) -> KitResult<Found> {
    let pattern = params.text("pattern").ok_or_else(|| KitError::bad_request("pattern: missing"))?;
    let matcher = compile_glob(pattern)?;
    let bounds = Bounds::read(params)?;
    let limit = params.value::<usize>("max_results")?.unwrap_or(1_000).min(100_000);
    directory(root)?;
    let (mut entries, mut total_scanned, mut truncated) = (Vec::new(), 0, false);
    for entry in bounds.walk(root.as_path()).flatten().filter(|entry| entry.depth() > 0) {
        total_scanned += 1;
        if entries.len() >= limit || total_scanned > bounds.scanned || bounds.is_over() {
            truncated = true;
            break;
        }
        let relative = entry.path().strip_prefix(root.as_path()).unwrap_or(entry.path());
        if !matcher.is_match(relative) {
            continue;
        }
        let metadata = entry.metadata().ok();
        entries.push(FoundEntry {
            name: relative.to_string_lossy().into_owned(),
            path: entry.path().to_string_lossy().into_owned(),
            is_dir: entry.file_type().is_some_and(|kind| kind.is_dir()),
            size: metadata.as_ref().map_or(0, std::fs::Metadata::len),
            modified: metadata.as_ref().map(|found| {
                use std::os::unix::fs::MetadataExt;
                found.mtime().saturating_mul(1000).saturating_add(found.mtime_nsec() / 1_000_000)
            }),
        });
    }
    match params.text("sort") {
        Some("mtime") => entries.sort_by_key(|entry| (entry.modified, entry.name.clone())),
        _ => entries.sort_by(|a, b| a.name.cmp(&b.name)),
    }
    let descending = params.text("order").map_or(params.text("sort") == Some("mtime"), |order| order == "desc");
    if descending {
        entries.reverse();
    }
    Ok(Found {
        path: root.display(),
        pattern: pattern.to_owned(),
        count: entries.len(),
        entries,
        total_scanned,
        truncated,
        duration_ms: bounds.elapsed_ms(),
    })
}

fn compile_glob(pattern: &str) -> KitResult<GlobMatcher> {
    if pattern.len() > 1024 {
        return Err(KitError::bad_request("pattern: longer than 1,024 bytes"));
    }
    let glob: Result<Glob, _> = GlobBuilder::new(pattern).literal_separator(true).build();
    Ok(glob.map_err(|error| KitError::bad_request(format!("pattern: {error}")))?.compile_matcher())
}

fn directory(root: &CleanPath) -> KitResult<()> {
    let found = root.as_path().metadata().map_err(|error| KitError::from_io(&root.display(), &error))?;
    if found.is_dir() {
        return Ok(());
    }
    Err(KitError::bad_request(format!("{}: not a directory", root.display())))
}

/// Reply of `grep`.
#[derive(Debug, Default, Serialize)]
pub struct Matches {
    path: String,
    pattern: String,
    matches: Vec<Match>,
    total_matches: usize,
    total_files_matched: usize,
    total_files_searched: usize,
    truncated: bool,
    duration_ms: u64,
}

/// One matching line.
#[derive(Debug, Serialize)]
struct Match {
    path: String,
    line_number: usize,
    column_byte: usize,
    line: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    context_before: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    context_after: Vec<String>,
}

/// What `grep` looks for, and how much of it.
struct Wanted {
    regex: Regex,
    names: Option<GlobMatcher>,
    context: usize,
    per_file: usize,
    in_all: usize,
    file_size: u64,
}

impl Wanted {
    fn read(params: &Params, pattern: &str) -> KitResult<Self> {
        if pattern.len() > 1024 {
            return Err(KitError::bad_request("pattern: longer than 1,024 bytes"));
        }
        let source = if params.flag("fixed_string", false)? { regex::escape(pattern) } else { pattern.to_owned() };
        let regex = RegexBuilder::new(&source)
            .case_insensitive(params.flag("ignore_case", false)?)
            .size_limit(1 << 20)
            .dfa_size_limit(4 << 20)
            .build()
            .map_err(|error| KitError::bad_request(format!("pattern: {error}")))?;
        Ok(Self {
            regex,
            names: params.text("glob").map(compile_glob).transpose()?,
            context: params.value::<usize>("context")?.unwrap_or(0).min(20),
            per_file: params.value::<usize>("max_count")?.filter(|count| *count > 0).unwrap_or(usize::MAX),
            in_all: params.value::<usize>("max_matches")?.unwrap_or(1_000).min(10_000),
            file_size: params.value::<u64>("max_filesize")?.unwrap_or(10 << 20).min(64 << 20),
        })
    }

    /// A glob without a slash means the name, wherever it is.
    fn names_it(&self, relative: &Path) -> bool {
        let name = relative.file_name().map(Path::new).unwrap_or(relative);
        self.names.as_ref().is_none_or(|glob| glob.is_match(relative) || glob.is_match(name))
    }
}

/// `grep`: parameters `pattern`, `ignore_case`, `fixed_string`, `glob`, `context` (0), `max_count` (per
/// file), `max_matches` (1,000), `max_depth`, `max_filesize` (10 MiB), `timeout` (30 s), `no_ignore`.
/// Files with NUL in them are taken for binary and skipped.
///
/// # Errors
/// 400 for a bad pattern, 404.
pub fn grep(root: &CleanPath, params: &Params) -> KitResult<Matches> {
    let pattern = params.text("pattern").or(params.text("grep"));
    let pattern = pattern.ok_or_else(|| KitError::bad_request("pattern: missing"))?;
    let wanted = Wanted::read(params, pattern)?;
    let bounds = Bounds::read(params)?;
    root.as_path().metadata().map_err(|error| KitError::from_io(&root.display(), &error))?;
    let mut found = Matches { path: root.display(), pattern: pattern.to_owned(), ..Matches::default() };
    for entry in bounds.walk(root.as_path()).flatten() {
        let is_file = entry.file_type().is_some_and(|kind| kind.is_file());
        if !is_file || !wanted.names_it(entry.path().strip_prefix(root.as_path()).unwrap_or(entry.path())) {
            continue;
        }
        if found.total_matches >= wanted.in_all || found.total_files_searched >= bounds.scanned || bounds.is_over() {
            found.truncated = true;
            break;
        }
        found.total_files_searched += 1;
        if let Some(content) = readable_text(entry.path(), wanted.file_size) {
            found.search(entry.path(), &content, &wanted);
        }
    }
    found.duration_ms = bounds.elapsed_ms();
    Ok(found)
}

/// The content of a text file of bearable size.
fn readable_text(path: &Path, limit: u64) -> Option<Vec<u8>> {
    use std::io::Read;
    let clean = CleanPath::from_text(path.to_str()?).ok()?;
    let opened = Regular::open(&clean).ok()?;
    if u64::try_from(opened.stat.st_size).ok()? > limit {
        return None;
    }
    let mut content = Vec::new();
    opened.file.take(limit).read_to_end(&mut content).ok()?;
    let is_binary = content.iter().take(8192).any(|byte| *byte == 0);
    (!is_binary).then_some(content)
}

impl Matches {
    fn search(&mut self, path: &Path, content: &[u8], wanted: &Wanted) {
        let lines: Vec<&[u8]> = content.split(|byte| *byte == b'\n').collect();
        // What follows the last line end is no line.
        let lines = match lines.split_last() {
            Some((&[], rest)) => rest,
            _ => &lines[..],
        };
        let mut here = 0;
        for (at, line) in lines.iter().enumerate() {
            let Some(hit) = wanted.regex.find(line) else { continue };
            if here >= wanted.per_file {
                break;
            }
            if self.total_matches >= wanted.in_all {
                self.truncated = true;
                break;
            }
            here += 1;
            self.total_matches += 1;
            let shown = |lines: &[&[u8]]| lines.iter().map(|line| show(line)).collect();
            let after = (at + 1)..(at + 1 + wanted.context).min(lines.len());
            self.matches.push(Match {
                path: path.to_string_lossy().into_owned(),
                line_number: at + 1,
                column_byte: hit.start(),
                line: show(line),
                context_before: shown(&lines[at.saturating_sub(wanted.context)..at]),
                context_after: shown(&lines[after]),
            });
        }
        self.total_files_matched += usize::from(here > 0);
    }
}

fn show(line: &[u8]) -> String {
    String::from_utf8_lossy(&line[..line.len().min(LINE_LIMIT)]).trim_end_matches('\r').to_owned()
}
