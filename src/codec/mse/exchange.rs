//! The exchange itself, for both sides: bytes in, bytes out, and at the end two ciphers.

use crate::hash::{self, Digest};
use crate::ids::InfoHash;
use crate::rng::Rng;

use super::keys::{KEY_BYTES, Private};
use super::rc4::Rc4;
use super::{Ciphers, Failure, Methods, PAD_MAX, Reading};

/// Eight zero bytes begin what is encrypted.
const ZEROS: usize = 8;

/// `<0: 8> <methods: u32> <length of the pad: u16>`, as the dialler says it.
const OFFER_BYTES: usize = ZEROS + 6;

/// `<method: u32> <length of the pad: u16>`, as the answerer says it behind the zeros.
const CHOICE_BYTES: usize = 6;

/// More than can honestly come before the other side has our key: its own, and its pad.
const EARLY_MAX: usize = KEY_BYTES + PAD_MAX;

/// An exchange that goes on.
///
/// ```text
/// dialler   Fresh ─turn─▶ Key ─▶ Agree ─turn─▶ Zeros ─▶ Choice ─▶ Pad ─▶ agreed
/// answerer                Key ─▶ Agree ─turn─▶ Mark ─▶ Torrent ─▶ Offer ─▶ Pad ─▶ agreed
/// ```
///
/// [`Self::turn`] is what is expensive; whoever drives the exchange says when.
#[derive(Debug)]
pub struct Exchange {
    role: Role,
    methods: Methods,
    step: Step,
    /// What came and was not used yet.
    input: Vec<u8>,
}

#[derive(Debug)]
enum Role {
    /// Who dialled, for what, and what it says as soon as it can.
    Dialler(InfoHash, Vec<u8>),
    Answerer,
}

#[derive(Debug)]
enum Step {
    Fresh,
    Key(Option<Private>),
    Agree(Option<Private>, Box<[u8; KEY_BYTES]>),
    /// Looking for the zeros as they look encrypted, from a place on.
    Zeros {
        from: usize,
        want: [u8; ZEROS],
        pair: Pair,
    },
    Choice(Pair),
    /// Looking for the mark of the secret, from a place on.
    Mark {
        from: usize,
        secret: Box<[u8; KEY_BYTES]>,
        pad: usize,
    },
    Torrent {
        secret: Box<[u8; KEY_BYTES]>,
        pad: usize,
    },
    Offer {
        pair: Pair,
        pad: usize,
    },
    /// So many bytes of a pad, and what comes with it, are to be passed over; then it is agreed.
    Pad {
        pair: Pair,
        method: Methods,
        length: usize,
        /// Of the answer's own pad.
        pad: usize,
    },
    Over,
}

/// Two ciphers at the beginning of their streams.
#[derive(Debug)]
struct Pair {
    read: Box<Rc4>,
    write: Box<Rc4>,
}

/// What an exchange wants next.
#[derive(Debug)]
pub enum Next {
    /// More bytes.
    Bytes,
    /// [`Exchange::turn`]; until then it takes only what can honestly come.
    Turn,
    /// Nothing: it is over.
    Agreed(Box<Agreed>),
}

/// The end of an exchange.
#[derive(Debug)]
pub struct Agreed {
    /// What is to be said first, as it is.
    pub answer: Vec<u8>,
    /// For everything after it.
    pub ciphers: Ciphers,
    /// What came behind the exchange, not yet decrypted.
    pub rest: Vec<u8>,
}

impl Exchange {
    /// The side that dialled for `info_hash`, offers `methods` and says `first` as soon as it can. Wants a turn at once.
    #[must_use]
    pub const fn dial(info_hash: InfoHash, methods: Methods, first: Vec<u8>) -> Self {
        Self {
            role: Role::Dialler(info_hash, first),
            methods,
            step: Step::Fresh,
            input: Vec::new(),
        }
    }

    /// The side that was dialled, and chooses of `methods`.
    #[must_use]
    pub const fn answer(methods: Methods) -> Self {
        Self {
            role: Role::Answerer,
            methods,
            step: Step::Key(None),
            input: Vec::new(),
        }
    }

    /// Does the work of the step and gives what is to be said, perhaps nothing. Takes some 150 microseconds.
    ///
    /// Not to be called unless [`Next::Turn`] said so, or it was just made to dial: nothing happens then.
    pub fn turn(&mut self, rng: &mut Rng) -> Vec<u8> {
        match std::mem::replace(&mut self.step, Step::Over) {
            Step::Fresh => {
                let private = Private::draw(rng);
                let said = hello(&private, rng);
                self.step = Step::Key(Some(private));
                said
            }
            Step::Agree(private, theirs) => self.agree(private, &theirs, rng),
            other => {
                self.step = other;
                Vec::new()
            }
        }
    }

    fn agree(
        &mut self,
        private: Option<Private>,
        theirs: &[u8; KEY_BYTES],
        rng: &mut Rng,
    ) -> Vec<u8> {
        // The dialler has drawn its number long ago.
        let private = private.unwrap_or_else(|| Private::draw(rng));
        let secret = private.shared(theirs);
        let pad = rng.index(PAD_MAX + 1);
        match &mut self.role {
            Role::Answerer => {
                self.step = Step::Mark {
                    from: 0,
                    secret: Box::new(secret),
                    pad,
                };
                hello(&private, rng)
            }
            Role::Dialler(info_hash, first) => {
                let mut pair = Pair::new(&secret, *info_hash, true);
                let mut said = Vec::with_capacity(40 + OFFER_BYTES + pad + 2 + first.len());
                said.extend_from_slice(&mark(b"req1", &secret));
                let torrent = super::torrent_mark(*info_hash);
                said.extend_from_slice(&xor(torrent, mark(b"req3", &secret)));
                let hidden = said.len();
                said.extend_from_slice(&[0; ZEROS]);
                said.extend_from_slice(&self.methods.0.to_be_bytes());
                said.extend_from_slice(&length_of(pad));
                said.resize(said.len() + pad, 0);
                said.extend_from_slice(&length_of(first.len()));
                said.append(first);
                pair.write.apply(&mut said[hidden..]);
                let mut want = [0; ZEROS];
                pair.read.apply(&mut want);
                self.step = Step::Zeros {
                    from: 0,
                    want,
                    pair,
                };
                said
            }
        }
    }

    /// Takes what came. `find` gives the info-hash that a [`super::torrent_mark`] stands for; a dialler does not ask it.
    ///
    /// # Errors
    /// Why it comes to nothing; the stream is of no use then.
    pub fn take(
        &mut self,
        bytes: &[u8],
        find: impl Fn(&Digest) -> Option<InfoHash>,
    ) -> Result<Next, Failure> {
        self.input.extend_from_slice(bytes);
        loop {
            match self.step(&find) {
                Ok(Some(next)) => return Ok(next),
                Ok(None) => {}
                Err(failure) => {
                    self.step = Step::Over;
                    return Err(failure);
                }
            }
        }
    }

    /// One step; `None` when the next can be tried.
    fn step(
        &mut self,
        find: &impl Fn(&Digest) -> Option<InfoHash>,
    ) -> Result<Option<Next>, Failure> {
        match std::mem::replace(&mut self.step, Step::Over) {
            Step::Fresh => {
                self.step = Step::Fresh;
                self.early(KEY_BYTES)
            }
            Step::Key(private) => {
                let Some(theirs) = self.pull::<KEY_BYTES>() else {
                    self.step = Step::Key(private);
                    return Ok(Some(Next::Bytes));
                };
                self.step = Step::Agree(private, Box::new(theirs));
                Ok(None)
            }
            Step::Agree(private, theirs) => {
                self.step = Step::Agree(private, theirs);
                self.early(0)
            }
            Step::Zeros { from, want, pair } => {
                let Some(end) = self.seek(from, &want)? else {
                    let from = (self.input.len() + 1).saturating_sub(ZEROS);
                    self.step = Step::Zeros { from, want, pair };
                    return Ok(Some(Next::Bytes));
                };
                self.input.drain(..end);
                self.step = Step::Choice(pair);
                Ok(None)
            }
            Step::Choice(mut pair) => {
                let Some(mut choice) = self.pull::<CHOICE_BYTES>() else {
                    self.step = Step::Choice(pair);
                    return Ok(Some(Next::Bytes));
                };
                pair.read.apply(&mut choice);
                let [a, b, c, d, length @ ..] = choice;
                let method = Methods(u32::from_be_bytes([a, b, c, d]));
                let is_one = method == Methods::PLAIN || method == Methods::RC4;
                if !is_one || !self.methods.has(method) {
                    return Err(Failure::NoMethod);
                }
                self.step = Step::Pad {
                    pair,
                    method,
                    length: pad_length(length)?,
                    pad: 0,
                };
                Ok(None)
            }
            Step::Mark { from, secret, pad } => {
                let Some(end) = self.seek(from, &mark(b"req1", &secret))? else {
                    let from = (self.input.len() + 1).saturating_sub(size_of::<Digest>());
                    self.step = Step::Mark { from, secret, pad };
                    return Ok(Some(Next::Bytes));
                };
                self.input.drain(..end);
                self.step = Step::Torrent { secret, pad };
                Ok(None)
            }
            Step::Torrent { secret, pad } => {
                let Some(said) = self.pull::<{ size_of::<Digest>() }>() else {
                    self.step = Step::Torrent { secret, pad };
                    return Ok(Some(Next::Bytes));
                };
                let torrent = xor(said, mark(b"req3", &secret));
                let info_hash = find(&torrent).ok_or(Failure::UnknownTorrent)?;
                let pair = Pair::new(&secret, info_hash, false);
                self.step = Step::Offer { pair, pad };
                Ok(None)
            }
            Step::Offer { mut pair, pad } => {
                let Some(mut offer) = self.pull::<OFFER_BYTES>() else {
                    self.step = Step::Offer { pair, pad };
                    return Ok(Some(Next::Bytes));
                };
                pair.read.apply(&mut offer);
                let [zeros @ .., a, b, c, d, high, low] = offer;
                if zeros != [0; ZEROS] {
                    return Err(Failure::Garbled);
                }
                let offered = Methods(u32::from_be_bytes([a, b, c, d]));
                let method = self.methods.choose(offered).ok_or(Failure::NoMethod)?;
                self.step = Step::Pad {
                    pair,
                    method,
                    // The length of the first words stands behind the pad.
                    length: pad_length([high, low])? + 2,
                    pad,
                };
                Ok(None)
            }
            Step::Pad {
                mut pair,
                method,
                length,
                pad,
            } => {
                if self.input.len() < length {
                    self.step = Step::Pad {
                        pair,
                        method,
                        length,
                        pad,
                    };
                    return Ok(Some(Next::Bytes));
                }
                let rest = self.input.split_off(length);
                pair.read.apply(&mut self.input);
                let passed = std::mem::take(&mut self.input);
                let agreed = match self.role {
                    Role::Dialler(..) => pair.agreed(method, 0, Vec::new(), rest),
                    Role::Answerer => {
                        let first = passed
                            .last_chunk::<2>()
                            .map_or(0, |&c| u16::from_be_bytes(c));
                        let answer = pair.answer(method, pad);
                        pair.agreed(method, first.into(), answer, rest)
                    }
                };
                Ok(Some(Next::Agreed(Box::new(agreed))))
            }
            // Nobody asks once it is over.
            Step::Over => Err(Failure::NoMark),
        }
    }

    /// A turn is wanted, and `due` bytes and a pad may be there already.
    fn early(&self, due: usize) -> Result<Option<Next>, Failure> {
        if self.input.len() > EARLY_MAX - KEY_BYTES + due {
            return Err(Failure::NoMark);
        }
        Ok(Some(Next::Turn))
    }

    /// The first `N` bytes, once they are there.
    fn pull<const N: usize>(&mut self) -> Option<[u8; N]> {
        let bytes = *self.input.first_chunk::<N>()?;
        self.input.drain(..N);
        Some(bytes)
    }

    /// Where `mark` ends in the input, looking from a place on; `None` when it may still come.
    fn seek(&self, from: usize, mark: &[u8]) -> Result<Option<usize>, Failure> {
        let within = self.input.len().min(PAD_MAX + mark.len());
        let place = self.input[..within]
            .get(from..)
            .and_then(|rest| rest.windows(mark.len()).position(|window| window == mark));
        match place {
            Some(place) => Ok(Some(from + place + mark.len())),
            None if self.input.len() >= PAD_MAX + mark.len() => Err(Failure::NoMark),
            None => Ok(None),
        }
    }
}

impl Pair {
    fn new(secret: &[u8; KEY_BYTES], info_hash: InfoHash, dials: bool) -> Self {
        let cipher = |name: &[u8]| {
            let key = hash::sha1_parts(&[name, secret, &info_hash.0]);
            Box::new(Rc4::new(&key))
        };
        let (dialler, answerer) = (cipher(b"keyA"), cipher(b"keyB"));
        if dials {
            Self {
                read: answerer,
                write: dialler,
            }
        } else {
            Self {
                read: dialler,
                write: answerer,
            }
        }
    }

    /// What an answerer says when it has chosen.
    fn answer(&mut self, method: Methods, pad: usize) -> Vec<u8> {
        let mut said = Vec::with_capacity(ZEROS + CHOICE_BYTES + pad);
        said.extend_from_slice(&[0; ZEROS]);
        said.extend_from_slice(&method.0.to_be_bytes());
        said.extend_from_slice(&length_of(pad));
        said.resize(said.len() + pad, 0);
        self.write.apply(&mut said);
        said
    }

    /// The end, when the other side has encrypted `first` more bytes in any case.
    fn agreed(self, method: Methods, first: usize, answer: Vec<u8>, rest: Vec<u8>) -> Agreed {
        let is_encrypted = method == Methods::RC4;
        let left = (!is_encrypted).then_some(first);
        let reading = Reading {
            cipher: *self.read,
            left,
        };
        Agreed {
            answer,
            ciphers: Ciphers {
                is_encrypted,
                read: Some(reading).filter(|_| left != Some(0)),
                write: is_encrypted.then_some(*self.write),
            },
            rest,
        }
    }
}

/// A public key and a pad of any length.
fn hello(private: &Private, rng: &mut Rng) -> Vec<u8> {
    let mut said = vec![0; KEY_BYTES + rng.index(PAD_MAX + 1)];
    let (key, pad) = said.split_at_mut(KEY_BYTES);
    key.copy_from_slice(&private.public());
    rng.fill(pad);
    said
}

fn mark(name: &[u8; 4], secret: &[u8; KEY_BYTES]) -> Digest {
    hash::sha1_parts(&[name, secret])
}

fn xor(mut a: Digest, b: Digest) -> Digest {
    for (a, b) in a.iter_mut().zip(b) {
        *a ^= b;
    }
    a
}

/// Lengths are bounded by what is written: a pad, or a handshake.
fn length_of(length: usize) -> [u8; 2] {
    u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes()
}

fn pad_length(bytes: [u8; 2]) -> Result<usize, Failure> {
    let length = usize::from(u16::from_be_bytes(bytes));
    if length > PAD_MAX {
        return Err(Failure::LongPad);
    }
    Ok(length)
}
