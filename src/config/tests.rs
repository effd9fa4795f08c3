//! The configuration from text, arguments and environment.

#![allow(
    clippy::disallowed_methods,
    reason = "tests write the files that are read"
)]

use std::path::Path;

use super::keys::KEYS;
use super::load::Loading;
use super::*;

fn environment() -> Environment {
    Environment {
        home: Some("/home/u".into()),
        ..Environment::default()
    }
}

fn load(text: &str, sets: &[&str], environment: &Environment) -> Result<Loaded, String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("c.toml");
    std::fs::write(&path, text).unwrap();
    let sets: Vec<_> = sets.iter().map(|&set| set.to_owned()).collect();
    Config::load(Some(&path), &sets, environment)
        .map_err(|fault| fault.to_string().replace(path.to_str().unwrap(), "c.toml"))
}

#[test]
fn the_documented_file_is_the_default() {
    let text = include_str!("../../config.toml");
    let mut loading = Loading::new();
    loading.file(Path::new("config.toml"), text);
    assert_eq!(loading.faults, []);
    assert_eq!(loading.config, Config::default());
    assert_eq!(toml::from_str::<Config>(text), Ok(Config::default()));

    let document: toml::Table = text.parse().unwrap();
    let listed: Vec<_> = flat(&document);
    let mut known: Vec<_> = KEYS.iter().map(|key| key.name.to_owned()).collect();
    known.sort();
    assert_eq!(listed, known, "config.toml has every key");
    let defaults = toml::Table::try_from(Config::default()).unwrap();
    assert_eq!(flat(&defaults), known, "every field is a key");
    for key in KEYS {
        let name = key.name.split_once('.').unwrap().1;
        let at = text.find(&format!("\n{name} = ")).unwrap();
        let before = text[..at].lines().last().unwrap();
        assert!(before.starts_with('#'), "{name} is documented");
    }
}

fn flat(table: &toml::Table) -> Vec<String> {
    let mut names = Vec::new();
    for (section, keys) in table {
        names.extend(
            keys.as_table()
                .unwrap()
                .keys()
                .map(|key| format!("{section}.{key}")),
        );
    }
    names.sort();
    names
}

#[test]
fn faults_name_file_line_key_found_and_allowed() {
    #[rustfmt::skip]
    let table = [
        ("\n[peer]\nmax_links = \"many\"", "c.toml:3: peer.max_links: found \"many\", allowed: a number from 1 to 1000000"),
        ("[peer]\nmax_links = 0",          "c.toml:2: peer.max_links: found 0, allowed: a number from 1 to 1000000"),
        ("[peer]\nmax_links = -1",         "c.toml:2: peer.max_links: found -1, allowed: a number from 1 to 1000000"),
        ("[peer]\nmax_link = 5",           "c.toml:2: peer.max_link: unknown key, did you mean peer.max_links?"),
        ("[actor]\nmax_links = 5",         "c.toml:2: actor.max_links: unknown key, did you mean peer.max_links?"),
        ("[peer]\nzzzzzzzzzzzzzzz = 5",    "c.toml:2: peer.zzzzzzzzzzzzzzz: unknown key"),
        ("[peeer]\n",                      "c.toml:1: peeer: unknown section, did you mean peer?"),
        ("peer = 5",                       "c.toml:1: peer: found 5, allowed: a section [peer]"),
        ("[peer]\nlisten = [\"1.2.3.4\"]", "c.toml:2: peer.listen: found [\"1.2.3.4\"], allowed: a list of at most 16 \"ADDRESS:PORT\", IPv6 as \"[ADDRESS]:PORT\""),
        ("[peer]\nlisten = [\"1.2.3.4:99999\"]", "c.toml:2: peer.listen: found [\"1.2.3.4:99999\"], allowed: a list of at most 16 \"ADDRESS:PORT\", IPv6 as \"[ADDRESS]:PORT\""),
        ("[workers]\ncache_mib = 15",      "c.toml:2: workers.cache_mib: found 15, allowed: a number from 16 to 65536"),
        ("[log]\nlevel = \"loud\"",        "c.toml:2: log.level: found \"loud\", allowed: \"off\", \"error\", \"warn\", \"info\", \"debug\", \"trace\", or several such as \"warn,linnet::perf=debug\""),
        ("[actor]\nbackpressure = 1",      "c.toml:2: actor.backpressure: found 1, allowed: \"block\", \"reject\" or \"shed\""),
        ("[links]\nretry_max_s = 5",       "c.toml:2: links.retry_max_s: found 5, allowed: at least links.retry_first_s = 20"),
        ("[links]\nretry_first_s = 1000",  "c.toml:2: links.retry_first_s: found 1000, allowed: at most links.retry_max_s = 900"),
        ("[paths]\ndownloads = \"\"",      "c.toml:2: paths.downloads: found \"\", allowed: a path in quotes, not empty"),
    ];
    for (text, want) in table {
        assert_eq!(load(text, &[], &environment()), Err(want.to_owned()));
    }
    let garbled = load("[peer\nx", &[], &environment()).unwrap_err();
    assert!(garbled.starts_with("c.toml:1: not TOML: "), "{garbled}");
    let both = load("[peer]\na = 1\n[log]\nlevel = 1", &["x"], &environment()).unwrap_err();
    assert_eq!(both.lines().count(), 3, "{both}");
}

#[test]
fn hooks_are_read_and_their_faults_name_the_line_of_the_key() {
    let text = "[[hooks.program]]\ncommand = [\"a\", \"b\"]\nevents = [\"session.*\"]\nencoder = \"text\"\nack = false
[[hooks.program]]\ncommand = [\"c\"]\n[[hooks.exec]]\nevent = \"*\"\ncommand = [\"d\"]
[[hooks.webhook]]\nevents = []\nurl = \"https://h/x\"\n";
    let hooks = load(text, &[], &environment()).unwrap().config.hooks;
    let first = &hooks.program[0];
    assert_eq!(first.command, ["a", "b"]);
    assert_eq!(first.encoder, hooks::Encoder::Text);
    assert_eq!((first.ack, first.respawn), (false, true));
    let second = &hooks.program[1];
    assert_eq!((second.events.len(), second.ack), (0, true));
    assert_eq!(second.encoder, hooks::Encoder::Json);
    assert_eq!(
        (hooks.exec.len(), &*hooks.webhook[0].url),
        (1, "https://h/x")
    );
    let written = toml::to_string(&load(text, &[], &environment()).unwrap().config).unwrap();
    assert_eq!(
        toml::from_str::<Config>(&written).unwrap().hooks,
        hooks,
        "as serde reads it"
    );

    #[rustfmt::skip]
    let table = [
        ("[hooks]\nprogram = 5",                                  "c.toml:2: hooks.program: found 5, allowed: tables, each begun by [[hooks.program]]"),
        ("[hooks]\nexec = [1]",                                   "c.toml:2: hooks.exec: found 1, allowed: a table, begun by [[hooks.exec]]"),
        ("\n[[hooks.exec]]\ncommand = [\"x\"]",                  "c.toml:2: hooks.exec.event: found nothing, allowed: a name of an event, such as \"session.completed\", \"session.*\" or \"*\""),
        ("[[hooks.exec]]\nevent = \"dance\"\ncommand = [\"x\"]", "c.toml:2: hooks.exec.event: found \"dance\", allowed: a name of an event, such as \"session.completed\", \"session.*\" or \"*\""),
        ("[[hooks.program]]\ncommand = [\"x\"]\nsize = 1",       "c.toml:3: hooks.program.size: found 1, allowed: one of the keys command, events, encoder, ack, respawn"),
        ("[[hooks.program]]\ncommand = [\"x\"]\nack = 1",        "c.toml:3: hooks.program.ack: found 1, allowed: true or false"),
        ("[[hooks.webhook]]\nevents = []\nurl = \"ftp://x\"",     "c.toml:3: hooks.webhook.url: found \"ftp://x\", allowed: an http or https URL"),
    ];
    for (text, want) in table {
        assert_eq!(load(text, &[], &environment()), Err(want.to_owned()));
    }
}

#[test]
fn a_log_level_may_be_a_list_by_target() {
    let set = |level: &str| load("", &[&format!("log.level={level}")], &environment());
    let config = set("warn, linnet::perf=debug,other-crate=off")
        .unwrap()
        .config;
    assert_eq!(
        config.log.filters(),
        [
            (None, "warn"),
            (Some("linnet::perf"), "debug"),
            (Some("other-crate"), "off")
        ]
    );
    for wrong in [
        "",
        "loud",
        "warn,",
        "=debug",
        "a b=debug",
        "linnet=loud",
        "warn=x=y",
    ] {
        let fault = set(wrong).unwrap_err();
        assert!(fault.contains("log.level: found "), "{wrong:?}: {fault}");
    }
}

#[test]
fn arguments_go_before_the_file() {
    let file = "[peer]\nmax_links = 7\nmax_links_per_swarm = 8";
    let sets = [
        "peer.max_links=9",
        "log.level=debug",
        "peer.listen=127.0.0.1:0",
        "paths.downloads=2024",
        "discovery.trackers=false",
        "workers.threads = 0x10",
    ];
    let loaded = load(file, &sets, &environment()).unwrap();
    let config = &loaded.config;
    assert_eq!(config.peer.max_links, 9);
    assert_eq!(config.peer.max_links_per_swarm, 8);
    assert_eq!(config.log.level, "debug");
    assert_eq!(config.peer.listen, ["127.0.0.1:0".parse().unwrap()]);
    assert_eq!(config.paths.downloads, Path::new("2024"));
    assert!(!config.discovery.trackers);
    assert_eq!(config.workers.threads, 16);
    let origin = |name: &str| {
        let entry = loaded.entries().find(|(key, ..)| *key == name).unwrap();
        entry.2.to_string()
    };
    assert_eq!(origin("peer.max_links"), "--set");
    assert!(origin("peer.max_links_per_swarm").ends_with("c.toml:3"));
    assert_eq!(origin("workers.cache_mib"), "default");

    #[rustfmt::skip]
    let faults = [
        ("peer.max_links",     "--set peer.max_links: allowed: KEY=VALUE"),
        ("peer.max_lnks=5",    "--set peer.max_lnks: unknown key, did you mean peer.max_links?"),
        ("peer.max_links=x y", "--set peer.max_links: found x y, allowed: a number from 1 to 1000000"),
        ("peer.max_links=",    "--set peer.max_links: found nothing, allowed: a number from 1 to 1000000"),
    ];
    for (set, want) in faults {
        assert_eq!(load("", &[set], &environment()), Err(want.to_owned()));
    }
}

#[test]
fn the_environment_fills_in_paths() {
    let xdg = Environment {
        xdg_state_home: Some("/state".into()),
        ..environment()
    };
    let relative = Environment {
        xdg_state_home: Some("state".into()),
        ..environment()
    };
    let nowhere = Environment::default();
    #[rustfmt::skip]
    let table = [
        ("",                       &environment(), "/home/u/Downloads", "/home/u/.local/state/linnet"),
        ("",                       &xdg,           "/home/u/Downloads", "/state/linnet"),
        ("",                       &relative,      "/home/u/Downloads", "/home/u/.local/state/linnet"),
        ("",                       &nowhere,       ".",                 ""),
        ("[paths]\nstate = \"~\"", &environment(), "/home/u/Downloads", "/home/u"),
        ("[paths]\nstate = \"~x\"", &environment(), "/home/u/Downloads", "~x"),
    ];
    for (text, environment, downloads, state) in table {
        let loaded = load(text, &[], environment).unwrap();
        assert_eq!(loaded.config.paths.downloads, Path::new(downloads));
        assert_eq!(loaded.config.paths.state, Path::new(state));
        assert_eq!(loaded.state().is_err(), state.is_empty());
    }
    let homeless = load("[paths]\nstate = \"~/s\"", &[], &nowhere).unwrap_err();
    assert!(
        homeless.starts_with("c.toml:2: paths.state: found ~/s"),
        "{homeless}"
    );
}

#[test]
fn the_file_is_looked_for_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str, links: u32| {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, format!("[peer]\nmax_links = {links}")).unwrap();
        path
    };
    let argument = at("a.toml", 1);
    let variable = at("b.toml", 2);
    at("xdg/linnet/config.toml", 3);
    at("home/.config/linnet/config.toml", 4);
    let links = |path: Option<&Path>, environment: &Environment| {
        Config::load(path, &[], environment)
            .unwrap()
            .config
            .peer
            .max_links
    };
    let mut environment = Environment {
        home: Some(directory.path().join("home")),
        linnet_config: Some(variable),
        xdg_config_home: Some(directory.path().join("xdg")),
        xdg_state_home: None,
    };
    assert_eq!(links(Some(&argument), &environment), 1);
    assert_eq!(links(None, &environment), 2);
    environment.linnet_config = None;
    assert_eq!(links(None, &environment), 3);
    environment.xdg_config_home = None;
    assert_eq!(links(None, &environment), 4);
    environment.home = None;
    assert_eq!(links(None, &environment), 4000);
    let missing = Config::load(Some(Path::new("/no/such")), &[], &environment).unwrap_err();
    assert!(
        missing
            .to_string()
            .starts_with("/no/such: cannot be read: ")
    );
}

/// A device says that it is empty, and never ends.
#[test]
fn a_file_without_end_is_refused() {
    let error = Config::load(Some(Path::new("/dev/zero")), &[], &environment()).unwrap_err();
    let want = "/dev/zero: cannot be read: larger than 1 MiB";
    assert_eq!(error.to_string(), want);
}
