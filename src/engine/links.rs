//! The link manager's messages (requirement 1.4).

use super::Engine;
use super::message::{Answer, Message, Refusal};

impl Engine {
    /// Carries out a message about links, streams and swarms.
    pub(super) fn on_link_message(&mut self, _message: Message) -> Answer {
        Answer::Refused(Refusal::UnknownSwarm)
    }
}
