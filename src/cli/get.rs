//! `linnet get`: a one-shot download.

use std::path::PathBuf;

use clap::Args;

use super::globs::Globs;
use super::peer_name::PeerName;
use super::transfer::{self, Order, Source};
use super::{Context, EXIT_OK, Failure, logging, running, signals::ProcessSignals, source};
use crate::time::Duration;

/// Arguments of `get`.
#[derive(Debug, Args)]
pub(super) struct Get {
    /// Torrent files, http(s) URLs of them, or magnet links
    #[arg(value_name = "SOURCE", required = true)]
    sources: Vec<String>,
    /// Directory to download to
    #[arg(short, long = "output", value_name = "DIR", default_value = ".")]
    output: PathBuf,
    /// A peer to connect to first; may be repeated
    #[arg(long = "peer", value_name = "HOST:PORT")]
    peers: Vec<PeerName>,
    /// Fetch only the files that match, such as '*.mkv,Extra/*': names anywhere, or paths inside the torrent
    #[arg(long, value_name = "GLOBS")]
    select: Option<Globs>,
    /// Do not look for peers in the DHT
    #[arg(long)]
    no_dht: bool,
    /// Keep serving when everything is there, until Ctrl-C
    #[arg(long)]
    seed: bool,
    /// Print events on stdout, one JSON object a line
    #[arg(long)]
    json: bool,
}

impl Get {
    pub(super) fn run(&self, context: Context<'_>) -> Result<(), Failure> {
        let what = What {
            sources: &self.sources,
            directory: &self.output,
            create: true,
            peers: &self.peers,
            select: self.select.as_ref(),
            download: true,
            seed: self.seed,
            json: self.json,
            dht: !self.no_dht,
        };
        what.run(context)
    }
}

/// What `get` and `seed` differ in.
pub(super) struct What<'a> {
    pub(super) sources: &'a [String],
    pub(super) directory: &'a PathBuf,
    /// Whether the directory may be made.
    pub(super) create: bool,
    pub(super) peers: &'a [PeerName],
    /// Which files are fetched; all, when there is none.
    pub(super) select: Option<&'a Globs>,
    pub(super) download: bool,
    pub(super) seed: bool,
    pub(super) json: bool,
    /// Whether the DHT may be used, if the configuration wants it.
    pub(super) dht: bool,
}

impl What<'_> {
    pub(super) fn run(self, context: Context<'_>) -> Result<(), Failure> {
        let mut loaded = context.load_config()?;
        loaded.config.discovery.dht &= self.dht;
        // Who is gone soon is of no use to other nodes.
        loaded.config.discovery.dht_read_only |= !self.seed;
        logging::start(&loaded, context.console.bars());
        let mut signals = ProcessSignals::take()
            .map_err(|fault| Failure::failed(format!("signals: {}", source::reason(&fault))))?;
        let sources = source::read_all(self.sources, &mut signals)?;
        let is_link = |source: &Source| matches!(source, Source::Link(_));
        if !self.download && sources.iter().any(is_link) {
            let text = "a magnet link does not say what is to be seeded: name the torrent file, \
                        or use linnet get --seed";
            return Err(Failure::failed(text));
        }
        // What cannot be chosen is said before a directory is made. Of links it is found out when it is known what they hold.
        if let Some(globs) = self.select {
            for source in &sources {
                if let Source::Torrent(metainfo) = source {
                    transfer::choose(globs, metainfo)?;
                }
            }
        }
        let root = self.root()?;
        let keep = loaded.state().map_err(Failure::failed)?.join("links");
        let order = Order {
            sources,
            select: self.select.cloned(),
            keep: Some(keep),
            root,
            peers: self.peers.to_vec(),
            download: self.download,
            seed: self.seed,
            json: self.json,
            budget: Duration::from_millis(loaded.config.shutdown.budget_ms),
        };
        let mut engine = running::start(&loaded, self.json).map_err(Failure::failed)?;
        match transfer::run(order, &mut *engine, &mut signals, context.console)? {
            EXIT_OK => Ok(()),
            code => Err(Failure::Silent(code)),
        }
    }

    /// The directory, real and absolute.
    fn root(&self) -> Result<PathBuf, Failure> {
        let failed = |fault: std::io::Error| {
            let why = match fault.kind() {
                std::io::ErrorKind::NotFound => "no such directory".to_owned(),
                std::io::ErrorKind::AlreadyExists => "not a directory".to_owned(),
                _ => source::reason(&fault),
            };
            Failure::failed(format!("{}: {why}", self.directory.display()))
        };
        if self.create {
            std::fs::create_dir_all(self.directory).map_err(failed)?;
        }
        let root = self.directory.canonicalize().map_err(failed)?;
        if !root.is_dir() {
            let shown = self.directory.display();
            return Err(Failure::failed(format!("{shown}: not a directory")));
        }
        Ok(root)
    }
}
