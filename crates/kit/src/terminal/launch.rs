//! What a shell is started with: user, program, directory, environment.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::account::Account;
use super::logind;
use crate::error::{KitError, KitResult};
use crate::params::Params;

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The shells we know how to talk to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShellKind {
    /// GNU bash: prompt hooks.
    Bash,
    /// A plain POSIX shell (dash, ash): marks in the prompt.
    Posix,
    /// fish: no hooks, its own quoting and `$status`.
    Fish,
    /// zsh and others: no hooks, only what is typed.
    Other,
}

/// Everything that must be decided before a shell starts.
#[derive(Debug, Clone)]
pub struct Launch {
    /// Who.
    pub account: Account,
    /// Which program, absolute.
    pub shell: PathBuf,
    /// Where.
    pub cwd: PathBuf,
    /// Whether `cwd` was asked for, or is just the home.
    pub cwd_asked: bool,
    /// Variables on top of the usual ones.
    pub env: Vec<(String, String)>,
}

impl Launch {
    /// Reads `user`, `shell`, `cwd`, `cwd_auto_create`, `env` and `display` of a query, and checks that
    /// what they name exists.
    pub fn from_query(params: &Params) -> KitResult<Self> {
        refuse_ssh(params)?;
        let account = Account::named(params.text("user").unwrap_or("root"))?;
        let shell = find_shell(params.text("shell"), &account)?;
        let cwd = directory(params.text("cwd"), params.flag("cwd_auto_create", false)?, &account)?;
        let mut env = Vec::new();
        for pair in params.all("env").filter(|pair| !pair.is_empty()) {
            let (name, value) = pair
                .split_once('=')
                .ok_or_else(|| KitError::bad_request(format!("env: {pair:?} is not of the form NAME=VALUE")))?;
            env.push((name.to_owned(), value.to_owned()));
        }
        if let Some(display) = params.text("display") {
            let display = if display.starts_with(':') { display.to_owned() } else { format!(":{display}") };
            env.push(("DISPLAY".into(), display));
        }
        check_env(env.iter().map(|(name, value)| (name.as_str(), value.as_str())))?;
        Ok(Self { account, shell, cwd, cwd_asked: params.text("cwd").is_some(), env })
    }

    /// Starts it elsewhere.
    ///
    /// # Errors
    /// 400 for what is not a directory.
    pub fn change_directory(&mut self, cwd: &str) -> KitResult<()> {
        self.cwd = directory(Some(cwd), false, &self.account)?;
        self.cwd_asked = true;
        Ok(())
    }

    /// The kind of its shell.
    pub fn kind(&self) -> ShellKind {
        match self.shell_name() {
            "bash" => ShellKind::Bash,
            "sh" | "dash" | "ash" => ShellKind::Posix,
            "fish" => ShellKind::Fish,
            _ => ShellKind::Other,
        }
    }

    /// The shell's name without its directory.
    pub fn shell_name(&self) -> &str {
        self.shell.file_name().and_then(|name| name.to_str()).unwrap_or("sh")
    }

    /// The program with its arguments, wrapped where it must run as another user.
    pub fn argv(&self, arguments: &[&str]) -> Vec<OsString> {
        let mut argv: Vec<OsString> = Vec::new();
        if self.account.uid != rustix::process::geteuid().as_raw() {
            let (uid, gid) = (self.account.uid, self.account.gid);
            argv.extend(["setpriv".into(), format!("--reuid={uid}").into(), format!("--regid={gid}").into()]);
            argv.extend(["--init-groups".into(), "--".into()]);
        }
        argv.push(self.shell.clone().into());
        argv.extend(arguments.iter().map(OsString::from));
        argv
    }

    /// Sets directory and environment. `terminal` says whether it will have one.
    pub fn surround(&self, command: &mut Command, terminal: bool) {
        command.current_dir(&self.cwd);
        let ours = ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "NOTIFY_SOCKET", "PROMPT_COMMAND", "PS1", "ENV"];
        for name in ours {
            command.env_remove(name);
        }
        if std::env::var_os("PATH").is_none_or(|path| path.is_empty()) {
            command.env("PATH", PATH);
        }
        command.env("HOME", &self.account.home).env("USER", &self.account.name).env("LOGNAME", &self.account.name);
        command.env("SHELL", &self.shell).env("LANG", "C.UTF-8");
        command.envs(logind::variables(&self.account, terminal));
        if terminal {
            command.env("TERM", "xterm-256color").env("COLORTERM", "truecolor");
        } else {
            command.env("TERM", "dumb").env_remove("DISPLAY");
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
    }
}

/// Variables must have names that a shell accepts and values without NUL.
pub fn check_env<'a>(env: impl Iterator<Item = (&'a str, &'a str)>) -> KitResult<()> {
    for (name, value) in env {
        let first_ok = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if !first_ok || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err(KitError::bad_request(format!("env: {name:?} is not a variable's name")));
        }
        if value.contains('\0') {
            return Err(KitError::bad_request(format!("env: the value of {name} contains NUL")));
        }
    }
    Ok(())
}

fn refuse_ssh(params: &Params) -> KitResult<()> {
    for name in ["ssh_host", "socks5_host", "defer_pid", "pid"] {
        if params.text(name).is_some() {
            return Err(KitError::not_built(format!("{name}: this option of the terminal service is not built yet")));
        }
    }
    Ok(())
}

fn find_shell(asked: Option<&str>, account: &Account) -> KitResult<PathBuf> {
    if let Some(asked) = asked {
        let found = executable(asked);
        return found.ok_or_else(|| KitError::bad_request(format!("shell: {asked:?} is not an executable")));
    }
    let bash = executable("bash");
    // The account's own choice counts only where it is another real shell; nologin is not.
    let own = executable(&account.shell).filter(|path| path.ends_with("zsh") || path.ends_with("fish"));
    own.or(bash)
        .or_else(|| executable("sh"))
        .ok_or_else(|| KitError::new(axum::http::StatusCode::SERVICE_UNAVAILABLE, "this container has no shell"))
}

fn executable(name: &str) -> Option<PathBuf> {
    let is_program =
        |path: &Path| path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0);
    if name.contains('/') {
        let path = PathBuf::from(name);
        return (path.is_absolute() && is_program(&path)).then_some(path);
    }
    if name.is_empty() || name.contains('\0') {
        return None;
    }
    PATH.split(':').rev().map(|dir| Path::new(dir).join(name)).find(|path| is_program(path))
}

fn directory(asked: Option<&str>, create: bool, account: &Account) -> KitResult<PathBuf> {
    let Some(asked) = asked else {
        let home = account.home.clone();
        return Ok(if home.is_dir() { home } else { "/".into() });
    };
    let path = match asked.strip_prefix('~') {
        Some("") => account.home.clone(),
        Some(rest) if rest.starts_with('/') => account.home.join(&rest[1..]),
        _ => PathBuf::from(asked),
    };
    if !path.is_absolute() {
        return Err(KitError::bad_request(format!("cwd: {asked:?} is not absolute")));
    }
    if create {
        std::fs::create_dir_all(&path).map_err(|error| KitError::from_io(&format!("cwd: {asked}"), &error))?;
    }
    if !path.is_dir() {
        return Err(KitError::bad_request(format!("cwd: {asked:?} is not a directory")));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_exist_is_refused_by_name() {
        for (query, word) in [
            ("user=no-such-user", "user"),
            ("shell=no-such-shell", "shell"),
            ("shell=../../bin/sh", "shell"),
            ("cwd=/no/such/dir", "cwd"),
            ("cwd=relative", "cwd"),
            ("env=novalue", "env"),
            ("env=1A=b", "env"),
        ] {
            let error = Launch::from_query(&Params::parse(query)).unwrap_err();
            assert_eq!(error.status, 400, "{query}");
            assert!(error.message.starts_with(word), "{query}: {}", error.message);
        }
    }

    #[test]
    fn the_default_is_a_root_shell_at_home() {
        let launch = Launch::from_query(&Params::parse("env=A=b=c")).unwrap();
        assert_eq!(launch.account.name, "root");
        assert_eq!(launch.cwd, launch.account.home);
        assert_eq!(launch.env, [("A".to_owned(), "b=c".to_owned())]);
    }
}
