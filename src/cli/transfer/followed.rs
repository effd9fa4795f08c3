//! One torrent of a transfer: how it stands, and what was told of it.

use crate::cli::bars::Bar;
use crate::codec::magnet::Magnet;
use crate::engine::message::{SessionSnapshot, SessionState};
use crate::ids::SessionId;
use crate::time::{Duration, Instant};

/// A torrent that has been in error for so long has failed: what a full disk or a busy store may resolve by itself does
/// so sooner, and a script must not wait for ever.
const ERROR_PATIENCE: Duration = Duration::from_secs(3);

/// Notices of a torrent that are remembered, so that each is told once; the oldest is forgotten.
const NOTICES_MAX: usize = 16;

/// How one torrent goes.
pub(super) struct Followed {
    pub(super) session: SessionId,
    pub(super) name: String,
    pub(super) bar: Option<Bar>,
    pub(super) latest: Option<SessionSnapshot>,
    /// When its download began, after the check.
    pub(super) began: Instant,
    pub(super) fate: Fate,
    /// The link it came by, until it is known what it holds.
    pub(super) link: Option<Magnet>,
    notices: Vec<String>,
}

/// Where one torrent stands, as far as the exit code goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Underway,
    /// In error since then; may yet recover.
    Ailing(Instant),
    Complete,
    Failed,
}

impl Followed {
    pub(super) const fn new(
        session: SessionId,
        name: String,
        bar: Option<Bar>,
        began: Instant,
    ) -> Self {
        Self {
            session,
            name,
            bar,
            latest: None,
            began,
            fate: Fate::Underway,
            link: None,
            notices: Vec::new(),
        }
    }

    /// Takes note of how it stands now. `download`: what is missing is fetched. `true` when its fate is another than at the
    /// last look, or the same with less to show for it.
    pub(super) fn take(&mut self, snapshot: SessionSnapshot, download: bool, now: Instant) -> bool {
        let was = self.latest.as_ref();
        let state = was.map(|latest| latest.state);
        if state == Some(SessionState::Checking) && snapshot.state == SessionState::Downloading {
            self.began = now;
        }
        // A check may begin and end between two looks.
        let has_lost = was.is_some_and(|latest| latest.pieces_have > snapshot.pieces_have);
        let before = self.fate;
        self.fate = before.after(&snapshot, download, now);
        self.latest = Some(snapshot);
        self.fate != before || has_lost
    }

    /// Whether `text` says something, and is none of the last that were told.
    pub(super) fn is_news(&mut self, text: &str) -> bool {
        if text.is_empty() || self.notices.iter().any(|told| told == text) {
            return false;
        }
        if self.notices.len() == NOTICES_MAX {
            self.notices.remove(0);
        }
        self.notices.push(text.to_owned());
        true
    }
}

impl Fate {
    /// What becomes of it with this snapshot.
    fn after(self, snapshot: &SessionSnapshot, download: bool, now: Instant) -> Self {
        match (self, snapshot.state) {
            (Self::Failed, _) => Self::Failed,
            (Self::Ailing(since), SessionState::Error) => {
                if now.since(since) >= ERROR_PATIENCE {
                    Self::Failed
                } else {
                    Self::Ailing(since)
                }
            }
            (_, SessionState::Error) if snapshot.error_lasts => Self::Failed,
            (_, SessionState::Error) => Self::Ailing(now),
            // Whoever seeds a torrent from an empty directory has named the wrong one.
            (_, SessionState::Seeding) if !download && has_nothing(snapshot) => Self::Failed,
            (_, SessionState::Seeding | SessionState::Parked) => Self::Complete,
            // A torrent that is stopped with everything there has done its work.
            (_, SessionState::Leaving) if snapshot.bytes_have >= snapshot.bytes_wanted => {
                Self::Complete
            }
            (_, SessionState::Leaving) => Self::Underway,
            (
                _,
                SessionState::Metadata
                | SessionState::Checking
                | SessionState::Downloading
                | SessionState::Stopped
                | SessionState::Paused
                | SessionState::Queued,
            ) => Self::Underway,
        }
    }
}

/// Whether there should be pieces and there is none.
const fn has_nothing(snapshot: &SessionSnapshot) -> bool {
    snapshot.pieces_have == 0 && snapshot.pieces_total > 0
}
