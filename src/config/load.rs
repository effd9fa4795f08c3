//! From files and arguments to a checked [`Config`], with the origin of every value.
//!
//! Order: defaults, then one file (`--config`, else `$LINNET_CONFIG`, else `linnet/config.toml` in `$XDG_CONFIG_HOME`), then
//! each `--set`. All faults are found in one go; with one fault nothing is used.

#![allow(
    clippy::disallowed_methods,
    reason = "the configuration is read before anything runs"
)]

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use toml::de::{DeArray, DeTable, DeValue};

use super::Config;
use super::keys::{self, KEYS};

/// Longest configuration file; a longer one is refused.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Most characters shown of a wrong value.
const FOUND_CHARS_MAX: usize = 60;

/// What the environment says; read by `main` alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// `$HOME`.
    pub home: Option<PathBuf>,
    /// `$LINNET_CONFIG`.
    pub linnet_config: Option<PathBuf>,
    /// `$XDG_CONFIG_HOME`; must be absolute to count.
    pub xdg_config_home: Option<PathBuf>,
    /// `$XDG_STATE_HOME`; must be absolute to count.
    pub xdg_state_home: Option<PathBuf>,
}

impl Environment {
    /// The directory `xdg` names, else `below` in the home directory.
    fn directory(&self, xdg: Option<&PathBuf>, below: &str) -> Option<PathBuf> {
        let chosen = xdg.filter(|path| path.is_absolute()).cloned();
        chosen.or_else(|| self.home.as_ref().map(|home| home.join(below)))
    }
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Built in.
    Default,
    /// A file.
    File {
        /// Which.
        path: PathBuf,
        /// 1-based.
        line: usize,
    },
    /// The command line.
    Set,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Set => f.write_str("--set"),
        }
    }
}

/// A checked configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The values, paths expanded.
    pub config: Config,
    /// The file that was read.
    pub file: Option<PathBuf>,
    /// In the order of [`KEYS`].
    origins: Vec<Origin>,
}

impl Loaded {
    /// Every key with its value, as TOML writes it, and its origin, in the order of `config.toml`.
    pub fn entries(&self) -> impl Iterator<Item = (&'static str, String, &Origin)> {
        let table = toml::Value::try_from(&self.config).ok();
        KEYS.iter().zip(&self.origins).map(move |(key, origin)| {
            let (section, name) = key.name.split_once('.').unwrap_or(("", key.name));
            let value = table
                .as_ref()
                .and_then(|table| table.get(section)?.get(name));
            (
                key.name,
                value.map(ToString::to_string).unwrap_or_default(),
                origin,
            )
        })
    }

    /// Where state is kept.
    ///
    /// # Errors
    /// Neither the configuration nor the environment names a place.
    pub fn state(&self) -> Result<&Path, String> {
        let state = &self.config.paths.state;
        if state.as_os_str().is_empty() {
            return Err("paths.state: set it, or $XDG_STATE_HOME, or $HOME".to_owned());
        }
        Ok(state)
    }
}

/// Everything that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// At least one.
    pub faults: Vec<Fault>,
}

/// One thing that is wrong, in one line for a person: where, which key, what was found, what is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Whether it is in an argument (`--set`) and not in a file.
    pub is_argument: bool,
    /// The line.
    pub text: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.faults.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            f.write_str(&fault.text)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Reads the configuration: `path` is `--config`, `sets` are the arguments of `--set`, in order.
    ///
    /// # Errors
    /// All that is wrong, each in one line.
    pub fn load(
        path: Option<&Path>,
        sets: &[String],
        environment: &Environment,
    ) -> Result<Loaded, ConfigError> {
        let mut loading = Loading::new();
        let named = path.or(environment.linnet_config.as_deref());
        let found = named.map(Path::to_owned).or_else(|| {
            let directory =
                environment.directory(environment.xdg_config_home.as_ref(), ".config")?;
            let path = directory.join("linnet/config.toml");
            path.exists().then_some(path)
        });
        if let Some(path) = &found {
            match read(path) {
                Ok(text) => loading.file(path, &text),
                Err(fault) => {
                    let text = format!("{}: cannot be read: {fault}", path.display());
                    loading.fault(false, text);
                }
            }
        }
        for set in sets {
            loading.set(set);
        }
        loading.finish(found, environment)
    }
}

fn read(path: &Path) -> io::Result<String> {
    // By what comes, not by what the file says of itself: a device or a pipe has no length.
    let mut text = String::new();
    let file = std::fs::File::open(path)?;
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other("larger than 1 MiB"));
    }
    Ok(text)
}

/// A configuration on its way.
pub(super) struct Loading {
    pub(super) config: Config,
    origins: Vec<Origin>,
    pub(super) faults: Vec<Fault>,
}

impl Loading {
    pub(super) fn new() -> Self {
        Self {
            config: Config::default(),
            origins: vec![Origin::Default; KEYS.len()],
            faults: Vec::new(),
        }
    }

    fn fault(&mut self, is_argument: bool, text: String) {
        self.faults.push(Fault { is_argument, text });
    }

    /// Applies the file at `path`, which says `text`.
    pub(super) fn file(&mut self, path: &Path, text: &str) {
        let line = |offset: usize| {
            let before = &text.as_bytes()[..offset.min(text.len())];
            1 + before.iter().filter(|&&byte| byte == b'\n').count()
        };
        // By their places, since the parser's tables are in the order of their names.
        let mut faults: Vec<(usize, String)> = Vec::new();
        let (document, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            let what = error.message().replace('\n', ", ");
            let offset = error.span().map_or(0, |span| span.start);
            faults.push((offset, format!("not TOML: {what}")));
        }
        let sections = document.get_ref().iter().filter(|_| errors.is_empty());
        for (section, values) in sections {
            let (name, at) = (section.get_ref(), section.span().start);
            if !keys::is_section(name) {
                let hint = hint(keys::nearest_section(name));
                faults.push((at, format!("{name}: unknown section{hint}")));
                continue;
            }
            let Some(table) = values.get_ref().as_table() else {
                let found = shown(&text[values.span()]);
                let what = format!("{name}: found {found}, allowed: a section [{name}]");
                faults.push((at, what));
                continue;
            };
            for (key, value) in table {
                let at = key.span().start;
                let origin = Origin::File {
                    path: path.to_owned(),
                    line: line(at),
                };
                let name = format!("{name}.{}", key.get_ref());
                let found = &text[value.span()];
                if let Err(what) = self.take(&name, [value.get_ref()], found, origin) {
                    faults.push((at, what));
                }
            }
        }
        faults.sort();
        for (at, what) in faults {
            self.fault(false, format!("{}:{}: {what}", path.display(), line(at)));
        }
    }

    /// Gives the key called `name` the first of `values` that is allowed.
    fn take<'a>(
        &mut self,
        name: &str,
        values: impl IntoIterator<Item = &'a DeValue<'a>>,
        found: &str,
        origin: Origin,
    ) -> Result<(), String> {
        let Some(index) = keys::find(name) else {
            let hint = hint(keys::nearest(name));
            return Err(format!("{name}: unknown key{hint}"));
        };
        let key = &KEYS[index];
        let mut values = values.into_iter();
        if !values.any(|value| (key.set)(&mut self.config, value).is_some()) {
            let (found, allowed) = (shown(found), key.allowed);
            return Err(format!("{name}: found {found}, allowed: {allowed}"));
        }
        self.origins[index] = origin;
        Ok(())
    }

    /// Applies one `KEY=VALUE`. The value is TOML; where that is not allowed, a text without quotes, or a list of that one.
    pub(super) fn set(&mut self, argument: &str) {
        let Some((name, text)) = argument.split_once('=') else {
            let argument = shown(argument);
            return self.fault(true, format!("--set {argument}: allowed: KEY=VALUE"));
        };
        let (name, text) = (name.trim(), text.trim());
        let parsed = DeValue::parse(text).ok();
        let bare = || DeValue::String(text.into());
        let mut list = DeArray::new();
        list.push(toml::Spanned::new(0..0, bare()));
        let candidates = [
            parsed.map(toml::Spanned::into_inner),
            Some(bare()),
            Some(DeValue::Array(list)),
        ];
        if let Err(what) = self.take(name, candidates.iter().flatten(), text, Origin::Set) {
            self.fault(true, format!("--set {what}"));
        }
    }

    /// Checks what no key can check alone, and expands the paths.
    fn finish(
        mut self,
        file: Option<PathBuf>,
        environment: &Environment,
    ) -> Result<Loaded, ConfigError> {
        self.check_pauses();
        self.paths(environment);
        if !self.faults.is_empty() {
            return Err(ConfigError {
                faults: self.faults,
            });
        }
        Ok(Loaded {
            config: self.config,
            file,
            origins: self.origins,
        })
    }

    /// The first pause is no longer than the longest; the key that was set is the one that is named.
    fn check_pauses(&mut self) {
        let links = &self.config.links;
        let (first, longest) = (links.retry_first_s, links.retry_max_s);
        if first <= longest {
            return;
        }
        let (name, found, allowed) = ("links.retry_max_s", longest, "at least links.retry_first_s");
        let (mut origin, mut line) = (
            self.origin(name),
            format!("{name}: found {found}, allowed: {allowed} = {first}"),
        );
        if origin == Origin::Default {
            let (name, allowed) = ("links.retry_first_s", "at most links.retry_max_s");
            origin = self.origin(name);
            line = format!("{name}: found {first}, allowed: {allowed} = {longest}");
        }
        self.fault(origin == Origin::Set, format!("{origin}: {line}"));
    }

    fn origin(&self, name: &str) -> Origin {
        keys::find(name).map_or(Origin::Default, |index| self.origins[index].clone())
    }

    /// Expands `~`, and fills in where state is kept.
    fn paths(&mut self, environment: &Environment) {
        if self.config.paths.state.as_os_str().is_empty()
            && let Some(directory) =
                environment.directory(environment.xdg_state_home.as_ref(), ".local/state")
        {
            self.config.paths.state = directory.join("linnet");
        }
        for name in ["paths.downloads", "paths.incomplete", "paths.state"] {
            let origin = self.origin(name);
            let paths = &mut self.config.paths;
            let path = match name {
                "paths.downloads" => &mut paths.downloads,
                "paths.incomplete" => &mut paths.incomplete,
                _ => &mut paths.state,
            };
            let Ok(below) = path.strip_prefix("~") else {
                continue;
            };
            if let Some(home) = &environment.home {
                *path = home.join(below);
            } else if origin == Origin::Default {
                // Nobody asked for a home directory: a service without one downloads where it stands.
                *path = PathBuf::from(".");
            } else {
                let found = path.display();
                let allowed = "a path without ~, since $HOME is not set";
                let text = format!("{origin}: {name}: found {found}, allowed: {allowed}");
                self.fault(origin == Origin::Set, text);
            }
        }
    }
}

fn hint(near: Option<&str>) -> String {
    near.map(|name| format!(", did you mean {name}?"))
        .unwrap_or_default()
}

/// A value as it was written, in one short line.
fn shown(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(FOUND_CHARS_MAX) {
        Some((cut, _)) => format!("{}…", &line[..cut]),
        None if line.is_empty() => "nothing".to_owned(),
        None => line,
    }
}
