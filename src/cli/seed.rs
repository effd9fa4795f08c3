//! `linnet seed`: serves what is already there.

use std::path::PathBuf;

use clap::Args;

use super::get::What;
use super::peer_name::PeerName;
use super::{Context, Failure};

/// Arguments of `seed`.
#[derive(Debug, Args)]
pub(super) struct Seed {
    /// Torrent files, or http(s) URLs of them
    #[arg(value_name = "TORRENT", required = true)]
    torrents: Vec<String>,
    /// Directory that holds the data
    #[arg(short, long = "output", value_name = "DIR")]
    output: PathBuf,
    /// A peer to connect to first; may be repeated
    #[arg(long = "peer", value_name = "HOST:PORT")]
    peers: Vec<PeerName>,
    /// Do not tell the DHT what is seeded
    #[arg(long)]
    no_dht: bool,
    /// Print events on stdout, one JSON object a line
    #[arg(long)]
    json: bool,
}

impl Seed {
    pub(super) fn run(&self, context: Context<'_>) -> Result<(), Failure> {
        let what = What {
            sources: &self.torrents,
            directory: &self.output,
            create: false,
            peers: &self.peers,
            select: None,
            download: false,
            seed: true,
            json: self.json,
            dht: !self.no_dht,
        };
        what.run(context)
    }
}
