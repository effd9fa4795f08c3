//! Encryption handshakes: whom to meet with one, and when their expensive steps are done.
//!
//! A dial begins with the kind of handshake that the policy has first. When the other side breaks off without having
//! shaken hands, the address is dialled once more with the second kind, and the link remembers what worked.
//!
//! | policy | dials | accepts |
//! | --- | --- | --- |
//! | off | plain | plain |
//! | allow | plain, then encrypted | both |
//! | prefer | encrypted, then plain | both |
//! | require | encrypted, RC4 | encrypted, RC4 |
//!
//! A step that raises numbers to powers costs as much as thousands of messages, and strangers can have us do it: at most
//! [`EXCHANGES_PER_TURN`] are done in a turn, and only when the other side's own key is whole. The others wait in line; the
//! line is no longer than there are streams without a handshake.

use std::collections::VecDeque;

use crate::codec::mse::{Agreed, Exchange, Methods, Next};
use crate::codec::wire;
use crate::config::Encryption;
use crate::hash::Digest;
use crate::ids::{InfoHash, StreamId};
use crate::time::Instant;

use super::Engine;
use super::message::Frame;
use super::settings::{EXCHANGE_PAUSE, EXCHANGES_PER_TURN, Settings};
use super::shared::TimerKey;
use super::table::cover::Cover;
use super::table::stream::{CloseReason, Stage, Stream};

/// Those whose steps wait, and what was done in this turn.
#[derive(Debug, Default)]
pub(super) struct Exchanges {
    waiting: VecDeque<StreamId>,
    /// The turn, and how many steps it has seen.
    done: (Instant, usize),
}

/// What both sides may choose of.
const fn methods(policy: Encryption) -> Methods {
    match policy {
        Encryption::Require => Methods::RC4,
        Encryption::Off | Encryption::Allow | Encryption::Prefer => Methods::BOTH,
    }
}

/// Whether the handshake of a stream that we dialled, or that a caller says we did, is encrypted.
pub(super) fn is_encrypted_choice(settings: &Settings, stream: &Stream) -> bool {
    match settings.encryption {
        Encryption::Off => false,
        Encryption::Allow => stream.second_choice,
        Encryption::Prefer => !stream.second_choice,
        Encryption::Require => true,
    }
}

/// Whether a dial that came to nothing may be made again with the other kind of handshake: it was the first choice, the
/// policy has a second, and the other side has said nothing of its own handshake. Not that it speaks encryption is enough: some
/// (Transmission 3 that prefers plain streams, for one) agree on a plain stream and then take the first words for garbage.
pub(super) fn has_other_choice(settings: &Settings, stream: &Stream) -> bool {
    let has_both = matches!(settings.encryption, Encryption::Allow | Encryption::Prefer);
    let first = stream.outgoing && stream.peer().is_none() && !stream.second_choice;
    has_both && first && stream.tail.is_empty()
}

/// Whether it is not yet seen what kind of handshake a stream begins with.
pub(super) fn is_undecided(stream: &Stream) -> bool {
    let begins = matches!(stream.stage, Stage::Handshaking { .. });
    begins && !stream.outgoing && stream.tail.len() < wire::PROTOCOL.len()
}

impl Engine {
    /// Begins the encryption handshake of a stream for `info_hash`; `first` is said inside it.
    pub(super) fn begin_exchange(&mut self, id: StreamId, info_hash: InfoHash, first: Vec<u8>) {
        let methods = methods(self.shared.settings.encryption);
        if let Some(stream) = self.table.streams.get_mut(id) {
            let exchange = Exchange::dial(info_hash, methods, first);
            stream.cover = Cover::Agreeing(Box::new(exchange));
            self.turn_exchange(id);
        }
    }

    /// The first bytes of a stream that was accepted: a handshake, or the beginning of an encrypted one.
    pub(super) fn hear_stranger(&mut self, id: StreamId, bytes: &mut [u8]) {
        let policy = self.shared.settings.encryption;
        let Some(stream) = self.table.streams.get_mut(id) else {
            return;
        };
        let (have, want) = (stream.tail.iter().chain(bytes.iter()), wire::PROTOCOL);
        let is_plain = have.zip(want).all(|(have, want)| have == want);
        match policy {
            Encryption::Require
                if is_plain && stream.tail.len() + bytes.len() >= wire::PROTOCOL.len() =>
            {
                self.close(id, CloseReason::NotEncrypted);
            }
            Encryption::Allow | Encryption::Prefer | Encryption::Require if !is_plain => {
                let exchange = Exchange::answer(methods(policy));
                stream.cover = Cover::Agreeing(Box::new(exchange));
                let mut said = std::mem::take(&mut stream.tail);
                said.extend_from_slice(bytes);
                self.hear_exchange(id, &said);
            }
            _ => self.hear(id, bytes),
        }
    }

    /// Bytes of an encryption handshake.
    pub(super) fn hear_exchange(&mut self, id: StreamId, bytes: &[u8]) {
        let Some(stream) = self.table.streams.get_mut(id) else {
            return;
        };
        let Cover::Agreeing(mut exchange) = std::mem::replace(&mut stream.cover, Cover::None)
        else {
            return;
        };
        let table = &self.table;
        let find = |mark: &Digest| {
            let swarm = table.swarm_marked(mark);
            let swarm = swarm.filter(|swarm| swarm.on && swarm.session.is_some());
            swarm.map(|swarm| swarm.info_hash)
        };
        let next = exchange.take(bytes, find);
        let Some(stream) = self.table.streams.get_mut(id) else {
            return;
        };
        match next {
            Ok(Next::Agreed(agreed)) => self.agreed(id, *agreed),
            Ok(Next::Turn) => {
                stream.cover = Cover::Agreeing(exchange);
                self.turn_exchange(id);
            }
            Ok(Next::Bytes) => stream.cover = Cover::Agreeing(exchange),
            Err(failure) => {
                stream.cover = Cover::Agreeing(exchange);
                self.close(id, CloseReason::NotAgreed(failure));
            }
        }
    }

    /// An expensive step is due: does it now, or puts it in line.
    fn turn_exchange(&mut self, id: StreamId) {
        let now = self.shared.now;
        let exchanges = &mut self.exchanges;
        if exchanges.done.0 != now {
            exchanges.done = (now, 0);
        }
        if exchanges.waiting.is_empty() && exchanges.done.1 < EXCHANGES_PER_TURN {
            exchanges.done.1 += 1;
            self.do_exchange(id);
        } else if !exchanges.waiting.contains(&id) {
            exchanges.waiting.push_back(id);
            self.shared.arm(TimerKey::Exchange, EXCHANGE_PAUSE);
        }
    }

    pub(super) fn on_exchange_timer(&mut self) {
        self.exchanges.done = (self.shared.now, 0);
        while self.exchanges.done.1 < EXCHANGES_PER_TURN {
            let Some(id) = self.exchanges.waiting.pop_front() else {
                return;
            };
            // Those that are gone cost nothing.
            let is_there = self.table.streams.get(id).is_some();
            self.exchanges.done.1 += usize::from(is_there);
            self.do_exchange(id);
        }
        if !self.exchanges.waiting.is_empty() {
            self.shared.arm(TimerKey::Exchange, EXCHANGE_PAUSE);
        }
    }

    fn do_exchange(&mut self, id: StreamId) {
        let Some(stream) = self.table.streams.get_mut(id) else {
            return;
        };
        let Cover::Agreeing(exchange) = &mut stream.cover else {
            return;
        };
        self.shared.counters.exchanges += 1;
        let said = exchange.turn(&mut self.shared.rng);
        self.say_uncovered(id, said);
        // What came too early.
        self.hear_exchange(id, &[]);
    }

    fn agreed(&mut self, id: StreamId, mut agreed: Agreed) {
        self.say_uncovered(id, agreed.answer);
        let Some(stream) = self.table.streams.get_mut(id) else {
            return;
        };
        stream.cover = Cover::Ciphers(Box::new(agreed.ciphers));
        stream.cover.lift(&mut agreed.rest);
        if !agreed.rest.is_empty() {
            self.hear(id, &mut agreed.rest);
        }
    }

    /// Queues a part of an encryption handshake, which is as it must be.
    fn say_uncovered(&mut self, id: StreamId, said: Vec<u8>) {
        let Some(stream) = self.table.streams.get_mut(id) else {
            return;
        };
        if said.is_empty() {
            return;
        }
        let cover = std::mem::replace(&mut stream.cover, Cover::None);
        self.shared.send(stream, Frame::Bytes(said));
        stream.cover = cover;
    }
}
