//! What we teach a shell, so that commands can be typed into it and their ends be seen.
//!
//! bash gets a one-time `PROMPT_COMMAND` that reads our start file *after* the user's own; the start
//! file then hooks the prompt to print marks (see [`super::marker`]). A POSIX shell gets the same marks
//! in `PS1`, through `ENV`. Others get no hooks: their marks are part of the typed line.
//!
//! A command is never typed itself. It is written into a private file, and the line typed is
//! ` eval "$(<FILE)"`, short and without anything to escape; the file prints the start mark, changes
//! directory and environment as asked, and evaluates the command.

use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};

use super::launch::{Launch, ShellKind};

/// The marks' opening, as `printf` and `PS1` understand it.
const OSC: &str = r"\033]7717;";

/// What a command is run with inside a session.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// Directory to change to first. Stays, as after `cd`.
    pub cwd: Option<String>,
    /// Variables to export first. They stay.
    pub env: Vec<(String, String)>,
}

/// One session's private directory and nonce. Removed when dropped.
#[derive(Debug)]
pub struct Integration {
    dir: PathBuf,
    nonce: String,
    kind: ShellKind,
    owner: (u32, u32),
}

impl Integration {
    /// Makes the directory under `runtime_dir`, or in `/tmp` where that cannot be.
    pub fn prepare(runtime_dir: &Path, launch: &Launch) -> io::Result<Self> {
        let nonce = format!("{:016x}{:016x}", rand::random::<u64>(), rand::random::<u64>());
        let owner = (launch.account.uid, launch.account.gid);
        let mut this = Self { dir: runtime_dir.join(&nonce), nonce, kind: launch.kind(), owner };
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o711).create(runtime_dir);
        if made.and_then(|()| this.make_dir()).is_err() {
            this.dir = Path::new("/tmp").join(format!(".cowl-kit-{}", this.nonce));
            this.make_dir()?;
        }
        this.write("start", this.start_file().as_bytes())?;
        Ok(this)
    }

    /// The secret in its marks.
    pub fn nonce(&self) -> &str {
        &self.nonce
    }

    /// Variables that make the shell read the start file, and its arguments.
    pub fn hooks(&self) -> (Vec<(String, String)>, &'static [&'static str]) {
        let start = self.dir.join("start").display().to_string();
        match self.kind {
            ShellKind::Bash => (vec![("PROMPT_COMMAND".into(), self.bootstrap())], &["-l"]),
            ShellKind::Posix => (vec![("ENV".into(), start)], &["-l", "-i"]),
            ShellKind::Fish | ShellKind::Other => (Vec::new(), &["-l"]),
        }
    }

    /// The shell has been replaced by one that knows nothing of us.
    pub fn hooks_lost(&mut self) {
        if self.kind != ShellKind::Fish {
            self.kind = ShellKind::Other;
        }
    }

    /// Writes a command's file; returns the line to type, with its Enter.
    pub fn stage(&self, id: &str, command: &str, around: &Surroundings) -> io::Result<Vec<u8>> {
        let file = self.write("next", self.command_file(id, command, around).as_bytes())?;
        let file = file.display();
        let mark = format!("printf '{OSC}{};P;%d;\\007' \"$?\" >/dev/tty", self.nonce);
        Ok(match self.kind {
            ShellKind::Bash => format!(" eval \"$(<{file})\"\r"),
            ShellKind::Posix => format!(" eval \"$(cat {file})\"\r"),
            ShellKind::Fish => format!(" . {file}; {}\r", mark.replace("$?", "$status")),
            ShellKind::Other => format!(" . {file}; {mark}\r"),
        }
        .into_bytes())
    }

    /// Takes the staged command back: a line typed for it does nothing any more.
    pub fn unstage(&self) {
        // The shell may have been quicker, or the container has wiped its /run.
        let _ = std::fs::remove_file(self.dir.join("next"));
    }

    fn make_dir(&self) -> io::Result<()> {
        std::fs::DirBuilder::new().mode(0o700).create(&self.dir)?;
        self.give(&self.dir)
    }

    /// Hands a file to the session's user; only root can and needs to.
    fn give(&self, path: &Path) -> io::Result<()> {
        if self.owner.0 == rustix::process::geteuid().as_raw() {
            return Ok(());
        }
        chown(path, Some(self.owner.0), Some(self.owner.1))
    }

    /// Replaces the file `name` by a new one: what the session's user may have put there is not
    /// followed.
    fn write(&self, name: &str, content: &[u8]) -> io::Result<PathBuf> {
        if !self.dir.is_dir() {
            self.make_dir()?;
        }
        let path = self.dir.join(name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(content)?;
        self.give(&path)?;
        Ok(path)
    }

    fn bootstrap(&self) -> String {
        format!(". {}", self.dir.join("start").display())
    }

    fn start_file(&self) -> String {
        let nonce = &self.nonce;
        match self.kind {
            ShellKind::Bash => format!(
                r#"declare +x PROMPT_COMMAND
__cowl_done() {{ local s=$?; printf '{OSC}{nonce};P;%d;%s\007' "$s" "$PWD" >/dev/tty; return $s; }}
__cowl_ready() {{ case ${{PS1-}} in *'{nonce}'*) ;; *) PS1="${{PS1-}}"'\[{OSC}{nonce};B\007\]' ;; esac; }}
PROMPT_COMMAND=${{PROMPT_COMMAND//'{bootstrap}'/:}}
PROMPT_COMMAND=('{{ __cowl_done; }} 2>/dev/null' "${{PROMPT_COMMAND[@]}}" '{{ __cowl_ready; }} 2>/dev/null')
__cowl_ready
"#,
                bootstrap = self.bootstrap(),
            ),
            ShellKind::Posix => format!(
                "unset ENV\nPS1='{esc}]7717;{nonce};P;'\"\\$?;\\$PWD\"'{bel}'\"${{PS1-\\$ }}\"'{esc}]7717;{nonce};B{bel}'\n",
                esc = '\x1b',
                bel = '\x07',
            ),
            ShellKind::Fish | ShellKind::Other => String::new(),
        }
    }

    fn command_file(&self, id: &str, command: &str, around: &Surroundings) -> String {
        let word = |text: &str| match self.kind {
            // Inside fish's single quotes a backslash may escape.
            ShellKind::Fish => quoted(&text.replace('\\', r"\\")),
            _ => quoted(text),
        };
        let mut file = String::new();
        if self.kind == ShellKind::Bash {
            file.push_str(&format!("history -s -- {} 2>/dev/null; ", word(command)));
        }
        file.push_str(&format!("printf '{OSC}{};S;%s\\007' {} >/dev/tty; ", self.nonce, word(id)));
        if let Some(cwd) = &around.cwd {
            file.push_str(&format!("cd -- {} && ", word(cwd)));
        }
        for (name, value) in &around.env {
            file.push_str(&format!("export {name}={} && ", word(value)));
        }
        file.push_str(&format!("eval {}\n", word(command)));
        file
    }
}

impl Drop for Integration {
    fn drop(&mut self) {
        // Gone already where the container wiped its /run.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// One word for a POSIX shell (and zsh), whatever is in it.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn a_quoted_text_is_one_word_for_the_shell(text in "[^\u{0}]{0,40}") {
            let script = format!("printf %s {}", quoted(&text));
            let output = std::process::Command::new("sh").arg("-c").arg(script).output().unwrap();
            prop_assert_eq!(output.stdout, text.as_bytes());
        }
    }
}
