//! `linnet get`: a one-shot download.

use std::path::PathBuf;

use clap::Args;

use super::globs::Globs;
use super::peer_name::PeerName;
use super::transfer::{self, Chosen, Order};
use super::{Context, EXIT_OK, Failure, logging, running, signals::ProcessSignals, source};
use crate::codec::metainfo::Metainfo;
use crate::time::Duration;

/// Arguments of `get`.
#[derive(Debug, Args)]
pub(super) struct Get {
    /// Torrent files, or http(s) URLs of them
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
}

impl What<'_> {
    pub(super) fn run(self, context: Context<'_>) -> Result<(), Failure> {
        let loaded = context.load_config()?;
        logging::start(&loaded, context.console.bars());
        let mut signals = ProcessSignals::take()
            .map_err(|fault| Failure::failed(format!("signals: {}", source::reason(&fault))))?;
        let torrents = source::read_all(self.sources, &mut signals)?;
        let torrents = torrents.into_iter().map(|metainfo| self.chosen(metainfo));
        let torrents = torrents.collect::<Result<_, _>>()?;
        let root = self.root()?;
        let order = Order {
            torrents,
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

    /// A torrent with the marks of the files that are fetched.
    fn chosen(&self, metainfo: Metainfo) -> Result<Chosen, Failure> {
        let wanted = match self.select {
            None => Vec::new(),
            Some(globs) => (globs.choose_files(&metainfo))
                .map_err(|fault| Failure::failed(format!("{}: --select {fault}", metainfo.name)))?,
        };
        Ok(Chosen { metainfo, wanted })
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
