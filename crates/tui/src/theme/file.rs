//! Theme files: finding them, following `inherits`, and turning them into styles.
//!
//! A file has `name`, `inherits`, a `[palette]` of named colours and `[roles]`. Each role may say
//! `fg` and `bg` (truecolour, palette name or one of the sixteen), `fg16` and `bg16` (used when the
//! terminal has only sixteen), `attr` (always) and `mono` (attributes without colour).
//! Anything wrong costs only that entry and is reported.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use ratatui::style::{Color, Modifier, Style};
use serde::Deserialize;

use super::{Depth, Role, Theme};

const BUILT_IN: [(&str, &str); 3] = [
    ("default", include_str!("../../../../themes/default.toml")),
    ("light", include_str!("../../../../themes/light.toml")),
    ("mono", include_str!("../../../../themes/mono.toml")),
];

/// Where a theme came from, for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Compiled in.
    BuiltIn(String),
    /// A file.
    File(PathBuf),
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ThemeFile {
    /// Told to people who read the file; nothing depends on it.
    #[serde(default, rename = "name")]
    _name: Option<String>,
    #[serde(default)]
    inherits: Option<String>,
    #[serde(default)]
    palette: BTreeMap<String, String>,
    #[serde(default)]
    roles: BTreeMap<String, RoleSpec>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RoleSpec {
    fg: Option<String>,
    bg: Option<String>,
    fg16: Option<String>,
    bg16: Option<String>,
    #[serde(default)]
    attr: Vec<String>,
    #[serde(default)]
    mono: Vec<String>,
}

/// Loads a theme by name or path; `None` is the default one, over which `theme.toml` of the first
/// directory that has one is laid. `dirs` are searched before the built-in ones.
///
/// Always gives a usable theme; what could not be used is told in the second part, one sentence each.
pub fn load(wanted: Option<&str>, depth: Depth, dirs: &[PathBuf]) -> (Theme, Vec<String>) {
    let mut complaints = Vec::new();
    let own = dirs.iter().filter_map(|d| Some(d.parent()?.join("theme.toml"))).find(|p| p.is_file());
    let first = match (wanted, own) {
        (Some(name), _) => name.to_owned(),
        (None, Some(path)) => path.display().to_string(),
        (None, None) => "default".to_owned(),
    };
    let mut chain = Vec::new();
    let mut next = Some(first);
    let mut seen = Vec::new();
    while let Some(name) = next.take() {
        if seen.contains(&name) {
            complaints.push(format!("theme {name} inherits itself"));
            break;
        }
        seen.push(name.clone());
        match read(&name, dirs) {
            Ok((origin, file)) => {
                next.clone_from(&file.inherits);
                // A user's file that says nothing about it builds on the default.
                if next.is_none() && matches!(origin, Origin::File(_)) {
                    next = Some("default".into());
                }
                chain.push((origin, file));
            }
            Err(complaint) => {
                complaints.push(complaint);
                if !seen.iter().any(|s| s == "default") {
                    next = Some("default".into());
                }
            }
        }
    }
    let mut palette = BTreeMap::new();
    let mut roles = BTreeMap::new();
    for (origin, file) in chain.into_iter().rev() {
        palette.extend(file.palette);
        for (role, spec) in file.roles {
            if Role::ALL.iter().any(|r| r.name() == role) {
                roles.insert(role, spec);
            } else {
                complaints.push(format!("{}: there is no role {role:?}", describe(&origin)));
            }
        }
    }
    let styles = Role::ALL
        .iter()
        .map(|role| match roles.get(role.name()) {
            Some(spec) => style(spec, depth, &palette, &mut complaints),
            None => Style::default(),
        })
        .collect();
    (Theme { depth, styles }, complaints)
}

fn describe(origin: &Origin) -> String {
    match origin {
        Origin::BuiltIn(name) => format!("built-in theme {name}"),
        Origin::File(path) => path.display().to_string(),
    }
}

fn read(name: &str, dirs: &[PathBuf]) -> Result<(Origin, ThemeFile), String> {
    let (origin, text) = find(name, dirs)?;
    let file = toml::from_str(&text).map_err(|e| format!("{}: {}", describe(&origin), e.message()))?;
    Ok((origin, file))
}

fn find(name: &str, dirs: &[PathBuf]) -> Result<(Origin, String), String> {
    let path = Path::new(name);
    let is_path = name.contains('/') || path.extension().is_some_and(|e| e == "toml");
    let candidates: Vec<PathBuf> =
        if is_path { vec![path.to_owned()] } else { dirs.iter().map(|d| d.join(format!("{name}.toml"))).collect() };
    for file in candidates {
        match std::fs::read_to_string(&file) {
            Ok(text) => return Ok((Origin::File(file), text)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(format!("theme {}: {e}", file.display())),
        }
    }
    match BUILT_IN.iter().find(|(n, _)| *n == name) {
        Some((n, text)) => Ok((Origin::BuiltIn((*n).into()), (*text).into())),
        None => Err(format!("there is no theme {name:?}; built in are default, light and mono")),
    }
}

fn style(spec: &RoleSpec, depth: Depth, palette: &BTreeMap<String, String>, complaints: &mut Vec<String>) -> Style {
    let mut out = Style::default();
    let sixteen = depth == Depth::Sixteen;
    let mut color = |full: &Option<String>, few: &Option<String>| {
        let word = if sixteen { few.as_ref().or(full.as_ref()) } else { full.as_ref() }?;
        let value = palette.get(word).unwrap_or(word);
        match Color::from_str(value) {
            Ok(c) => Some(depth.fit(c)),
            Err(_) => {
                complaints.push(format!("{value:?} is not a colour"));
                None
            }
        }
    };
    if depth != Depth::None {
        out.fg = color(&spec.fg, &spec.fg16);
        out.bg = color(&spec.bg, &spec.bg16);
    }
    let mono: &[String] = if depth == Depth::None { &spec.mono } else { &[] };
    for word in spec.attr.iter().chain(mono) {
        match modifier(word) {
            Some(m) => out = out.add_modifier(m),
            None => complaints.push(format!("{word:?} is not an attribute")),
        }
    }
    out
}

fn modifier(word: &str) -> Option<Modifier> {
    Some(match word {
        "bold" => Modifier::BOLD,
        "dim" => Modifier::DIM,
        "italic" => Modifier::ITALIC,
        "underline" => Modifier::UNDERLINED,
        "reverse" => Modifier::REVERSED,
        "crossed" => Modifier::CROSSED_OUT,
        _ => return None,
    })
}
