//! What the engine needs of the configuration, and the numbers that are its own.

use crate::config::{Config, Encryption};
use crate::engine::limits::Limits;
use crate::ids::PeerId;
use crate::rng::Rng;
use crate::time::Duration;

/// From the configuration, in the engine's own units.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What we call ourselves, for the life of the process.
    pub peer_id: PeerId,
    /// Names us to trackers when our address changes (BEP 7, 15).
    pub key: u32,
    /// Bytes of all blocks together.
    pub cache_bytes: usize,
    /// Pieces that are best hashed together.
    pub hash_lanes: usize,
    /// Check jobs of one session at a time: enough for every worker, and one waiting.
    pub check_jobs_max: usize,
    /// Streams of the whole process that the loop carries.
    pub streams_max: usize,
    /// Streams of one swarm.
    pub swarm_streams_max: usize,
    /// Links a swarm asks discovery for.
    pub swarm_links_min: usize,
    /// Peers of one torrent that may ask at the same time; 0 is no limit.
    pub upload_slots: usize,
    /// Sent bytes for each 1000 wanted ones until a torrent has seeded enough; 0 is no limit.
    pub seed_ratio_mille: u32,
    /// Minutes without sending a byte until it has; 0 is no limit.
    pub seed_idle_minutes: u32,
    /// How fast bytes may pass.
    pub limits: Limits,
    /// Whether streams may travel on TCP.
    pub tcp: bool,
    /// Whether they may travel on uTP.
    pub utp: bool,
    /// Whether trackers are asked.
    pub trackers: bool,
    /// Whether there is a network outside in which the DHT is of use: not where a world is made up. Said by the host, beside
    /// the configuration.
    pub outside: bool,
    /// Whether streams are encrypted.
    pub encryption: Encryption,
    /// First pause after a failed dial.
    pub retry_first: Duration,
    /// Longest pause between attempts within a cycle.
    pub retry_max: Duration,
    /// Failures in a row until an address is ignored.
    pub failures_to_ignore: u32,
    /// For how long it is.
    pub ignore: Duration,
    /// The configuration that the engine begins with.
    pub config: Box<Config>,
}

impl Settings {
    /// `lanes` as `hash::lanes` says, `workers` the size of the pool; chance names us.
    #[must_use]
    pub fn new(config: &Config, lanes: usize, workers: usize, rng: &mut Rng) -> Self {
        Self {
            peer_id: draw_peer_id(rng),
            key: rng.next_u32(),
            cache_bytes: config.workers.cache_mib as usize * 1024 * 1024,
            hash_lanes: lanes.max(1),
            check_jobs_max: workers + 1,
            streams_max: config.peer.max_links as usize,
            swarm_streams_max: config.peer.max_links_per_swarm as usize,
            swarm_links_min: config.links.min_per_swarm as usize,
            upload_slots: config.seeding.upload_slots as usize,
            seed_ratio_mille: config.seeding.ratio_mille(),
            seed_idle_minutes: config.seeding.idle_minutes,
            limits: Limits::of(&config.limits),
            tcp: config.peer.tcp,
            utp: config.peer.utp,
            trackers: config.discovery.trackers,
            outside: false,
            encryption: config.peer.encryption,
            retry_first: Duration::from_secs(config.links.retry_first_s),
            retry_max: Duration::from_secs(config.links.retry_max_s),
            failures_to_ignore: config.links.failures_to_ignore.max(1),
            ignore: Duration::from_secs(config.links.ignore_s),
            config: Box::new(config.clone()),
        }
    }

    /// Takes over what is read where it is used, and so holds at once; links and slots have their own way
    /// ([`Limits`](super::message::Limits)).
    pub fn take_live(&mut self, config: &Config) {
        self.seed_ratio_mille = config.seeding.ratio_mille();
        self.seed_idle_minutes = config.seeding.idle_minutes;
        (self.tcp, self.utp) = (config.peer.tcp, config.peer.utp);
        self.config.discovery.dht = config.discovery.dht;
        self.config.discovery.pex = config.discovery.pex;
        self.encryption = config.peer.encryption;
    }

    /// Whether the DHT is used.
    #[must_use]
    pub const fn dht(&self) -> bool {
        self.outside && self.config.discovery.dht
    }
}

/// `-LNxyz0-` and twelve random letters and digits (BEP 20).
fn draw_peer_id(rng: &mut Rng) -> PeerId {
    const LETTERS: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut id = *b"-LN0100-............";
    for letter in &mut id[8..] {
        *letter = LETTERS[rng.index(LETTERS.len())];
    }
    PeerId(id)
}

/// What we call ourselves in the extended handshake (BEP 10).
pub const CLIENT_NAME: &str = concat!("Linnet ", env!("CARGO_PKG_VERSION"));

/// A dial that took longer has failed.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A handshake that took longer has failed.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);
/// The first handshake with an address that took longer has failed, when it may take another kind of handshake better.
pub const FIRST_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Steps of encryption handshakes that cost some 150 microseconds each, in one turn; further ones wait...
pub const EXCHANGES_PER_TURN: usize = 8;
/// ...so long, and everything else is done first: half of the time is the most that strangers' handshakes can take.
pub const EXCHANGE_PAUSE: Duration = Duration::from_millis(1);
/// After so long without a word of ours we send a keep-alive (BEP 3).
pub const KEEPALIVE: Duration = Duration::from_secs(100);
/// After so long without a word of theirs a stream is closed: two keep-alives may be late.
pub const STALE: Duration = Duration::from_secs(240);
/// A peer that owes us blocks and sends none for so long is snubbed.
pub const SNUB: Duration = Duration::from_secs(30);
/// A dial is made no more often than this for all swarms together...
pub const CONNECT_TICK: Duration = Duration::from_millis(500);
/// ...so many at a time.
pub const CONNECTS_PER_TICK: usize = 25;
/// Dials in flight; beyond it candidates wait.
pub const DIALS_MAX: usize = 200;
/// A swarm that may not dial for want of room in the process looks again so often.
pub const CONNECT_WAIT: Duration = Duration::from_secs(3);
/// Addresses a swarm knows from trackers and peers; beyond it a new one takes the place of the one that failed most, if any did.
pub const CANDIDATES_MAX: usize = 1000;
/// Addresses the process knows; beyond it those that only need to be left alone are forgotten first, bans not.
pub const LINKS_MAX: usize = 100_000;

/// Streams that one link may have up at a time; a caller who adds more is refused. A peer with a thousand torrents in common
/// needs one each.
pub const LINK_STREAMS_MAX: usize = 1024;
/// Streams that callers carry and the table knows; a caller who adds more is refused.
pub const OUTSIDE_STREAMS_MAX: usize = 2 * LINKS_MAX;
/// Swarms, beyond which a caller may not add bare ones.
pub const SWARMS_MAX: usize = 100_000;

/// Finished pieces wait at most so long for others to be hashed with.
pub const COMMIT_WAIT: Duration = Duration::from_millis(20);
/// Progress is flushed and saved so often, while there is any.
pub const SAVE_INTERVAL: Duration = Duration::from_secs(5);
/// A torrent that has nothing to do for so long, at most twice that, is parked.
pub const PARK_AFTER: Duration = Duration::from_secs(30);
/// Handshakes that wait for one torrent to wake; further ones are refused, and may come again.
pub const WAITING_MAX: usize = 64;
/// Bytes that each of them may say meanwhile: its bitfield, for up to half a million pieces. More is refused.
pub const WAITING_BYTES_MAX: usize = 64 * 1024;
/// A session that the disk stopped tries again so often.
pub const DISK_RETRY: Duration = Duration::from_secs(10);
/// Rates are told so often, while something changes.
pub const STATS_INTERVAL: Duration = Duration::from_secs(1);

/// Requests of one peer that we remember; a stream beyond it is not read until half of them are served. Told as `reqq`.
pub const REQUESTS_IN_MAX: usize = 1024;
/// Requests of ours that one peer may owe us, whatever it says it takes.
pub const REQUESTS_OUT_MAX: usize = 1024;
/// What a peer takes that does not say (BEP 10 names 250).
pub const REQUESTS_OUT_DEFAULT: usize = 250;
/// Requests a new peer is given before its rate is known.
pub const REQUESTS_OUT_FIRST: usize = 16;
/// Blocks read for a peer in one run: one read, one vectored write.
pub const RUN_BLOCKS_MAX: usize = 16;
/// Bytes on their way to one peer, read or being read: enough for the socket never to run dry between two turns.
pub const UNSENT_MAX: usize = 768 * 1024;
/// Bytes queued to a peer beyond which it is not read until half of them are gone. A run that was read is more than
/// [`UNSENT_MAX`] by less than that.
pub const UNSENT_HOLD: usize = 2 * UNSENT_MAX;
/// A stream that takes nothing of what is queued for it for so long is closed: it would keep its blocks for ever.
pub const WRITE_STALL: Duration = Duration::from_secs(120);
/// Longest message; a stream is closed at a longer one. Only the torrent's own bitfield may be longer.
pub const MESSAGE_BYTES_MAX: u32 = 128 * 1024;
/// Bytes that one check job reads at most (but at least a piece): so that rechecks are fair and can be stopped.
pub const CHECK_JOB_BYTES: u64 = 64 * 1024 * 1024;
/// Blocks of wrong pieces with several senders, one of whom lied, that we remember until the pieces are right: four copies of
/// the largest piece.
pub const SUSPECT_BLOCKS_MAX: usize = 65_536;
/// Payload that a peer may send unasked, beyond half of what it sent asked, before it is let go.
pub const UNASKED_BYTES_MAX: u64 = 16 * 1024 * 1024;
