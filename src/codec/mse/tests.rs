//! Both sides against each other, cut anywhere, and strangers who say what they should not.

use super::*;
use crate::ids::InfoHash;
use crate::rng::Rng;

const TORRENT: InfoHash = InfoHash([7; 20]);
const OTHER: InfoHash = InfoHash([8; 20]);

fn find(mark: &Digest) -> Option<InfoHash> {
    [TORRENT, OTHER]
        .into_iter()
        .find(|&torrent| torrent_mark(torrent) == *mark)
}

/// One side, its wire, and what it has heard in the clear.
struct Side {
    exchange: Option<Exchange>,
    ciphers: Option<Ciphers>,
    out: Vec<u8>,
    heard: Vec<u8>,
    rng: Rng,
}

impl Side {
    fn new(exchange: Exchange, seed: u64) -> Self {
        Self {
            exchange: Some(exchange),
            ciphers: None,
            out: Vec::new(),
            heard: Vec::new(),
            rng: Rng::new(seed),
        }
    }

    fn dialler(methods: Methods, first: &[u8], seed: u64) -> Self {
        let mut side = Self::new(Exchange::dial(TORRENT, methods, first.to_vec()), seed);
        side.hear(&[]).expect("nothing was said");
        side
    }

    fn answerer(methods: Methods, seed: u64) -> Self {
        Self::new(Exchange::answer(methods), seed)
    }

    fn hear(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let mut bytes = bytes.to_vec();
        while let Some(exchange) = &mut self.exchange {
            match exchange.take(&bytes, find)? {
                Next::Bytes => return Ok(()),
                Next::Turn => {
                    let said = exchange.turn(&mut self.rng);
                    self.out.extend(said);
                    bytes.clear();
                }
                Next::Agreed(agreed) => {
                    self.out.extend(agreed.answer);
                    self.ciphers = Some(agreed.ciphers);
                    self.exchange = None;
                    bytes = agreed.rest;
                }
            }
        }
        let ciphers = self.ciphers.as_mut().expect("agreed");
        ciphers.decrypt(&mut bytes);
        self.heard.extend(bytes);
        Ok(())
    }

    fn say(&mut self, words: &[u8]) {
        let mut bytes = words.to_vec();
        self.ciphers.as_mut().expect("agreed").encrypt(&mut bytes);
        self.out.extend(bytes);
    }
}

/// Lets two sides talk, in parts of at most `most` bytes, until neither has more to say.
fn talk(a: &mut Side, b: &mut Side, most: usize, rng: &mut Rng) -> Result<(), Failure> {
    while !a.out.is_empty() || !b.out.is_empty() {
        for turn in 0..2 {
            let (from, to) = if turn == 0 {
                (&mut *a, &mut *b)
            } else {
                (&mut *b, &mut *a)
            };
            let count = (1 + rng.index(most)).min(from.out.len());
            let part: Vec<u8> = from.out.drain(..count).collect();
            if !part.is_empty() {
                to.hear(&part)?;
            }
        }
    }
    Ok(())
}

#[test]
fn both_sides_agree_whatever_they_want_in_common() {
    #[rustfmt::skip]
    let table = [
        ("plain is cheaper", Methods::BOTH,  Methods::BOTH,  Ok(false)),
        ("dialler rc4",      Methods::RC4,   Methods::BOTH,  Ok(true)),
        ("answerer rc4",     Methods::BOTH,  Methods::RC4,   Ok(true)),
        ("both rc4",         Methods::RC4,   Methods::RC4,   Ok(true)),
        ("both plain",       Methods::PLAIN, Methods::PLAIN, Ok(false)),
        ("nothing",          Methods::RC4,   Methods::PLAIN, Err(Failure::NoMethod)),
    ];
    for (name, dials, answers, want) in table {
        for seed in 0..30 {
            let mut rng = Rng::new(seed);
            let mut a = Side::dialler(dials, b"first words", seed);
            let mut b = Side::answerer(answers, seed + 1000);
            let most = [1, 7, 100, 5000][rng.index(4)];
            let got = talk(&mut a, &mut b, most, &mut rng);
            assert_eq!(got, want.map(|_| ()), "{name}, seed {seed}");
            let Ok(encrypted) = want else { continue };
            assert_eq!(b.heard, b"first words", "{name}, seed {seed}");
            a.say(b"hello");
            b.say(b"and hello to you");
            let on_the_wire = a.out == b"hello";
            assert_eq!(on_the_wire, !encrypted, "{name}, seed {seed}");
            talk(&mut a, &mut b, most, &mut rng).expect("agreed");
            assert_eq!(b.heard, b"first wordshello", "{name}, seed {seed}");
            assert_eq!(a.heard, b"and hello to you", "{name}, seed {seed}");
            for side in [&a, &b] {
                let ciphers = side.ciphers.as_ref().expect("agreed");
                assert_eq!(ciphers.is_encrypted(), encrypted, "{name}, seed {seed}");
                assert_eq!(ciphers.is_over(), !encrypted, "{name}, seed {seed}");
            }
        }
    }
}

#[test]
fn what_comes_behind_the_exchange_is_heard_wherever_it_is_cut() {
    // The dialler's last words of the exchange and more in one go: all cuts of that.
    let mut a = Side::dialler(Methods::RC4, b"first", 1);
    let mut b = Side::answerer(Methods::RC4, 2);
    b.hear(&std::mem::take(&mut a.out)).expect("a key");
    a.hear(&std::mem::take(&mut b.out)).expect("a key");
    let said = std::mem::take(&mut a.out);
    for cut in 0..=said.len() {
        let mut a = Side::dialler(Methods::RC4, b"first", 1);
        let mut b = Side::answerer(Methods::RC4, 2);
        b.hear(&std::mem::take(&mut a.out)).expect("a key");
        a.hear(&std::mem::take(&mut b.out)).expect("a key");
        assert_eq!(a.out, said, "the same chance says the same");
        b.hear(&said[..cut]).expect("a part");
        b.hear(&said[cut..]).expect("the rest");
        assert_eq!(b.heard, b"first", "cut at {cut}");
    }
}

#[test]
fn strangers_are_refused_with_the_reason() {
    let mut rng = Rng::new(3);
    let mut noise = vec![0; 4096];
    rng.fill(&mut noise);
    let hello = |side: &mut Side, from: &mut Side| {
        let key = std::mem::take(&mut from.out);
        side.hear(&key[..KEY_BYTES]).expect("a key");
    };
    // Noise behind a key: given up as soon as no pad can be so long.
    let mut a = Side::dialler(Methods::RC4, b"", 4);
    let mut b = Side::answerer(Methods::RC4, 5);
    hello(&mut b, &mut a);
    assert_eq!(b.hear(&noise[..PAD_MAX + 19]), Ok(()));
    assert_eq!(b.hear(&noise[..1]), Err(Failure::NoMark));
    let mut a = Side::dialler(Methods::RC4, b"", 4);
    let mut b = Side::answerer(Methods::RC4, 5);
    hello(&mut b, &mut a);
    hello(&mut a, &mut b);
    assert_eq!(a.hear(&noise[..PAD_MAX + 7]), Ok(()));
    assert_eq!(a.hear(&noise[..1]), Err(Failure::NoMark));
    // More than a key and a pad before it can know ours.
    let mut exchange = Exchange::answer(Methods::BOTH);
    let early = KEY_BYTES + PAD_MAX;
    assert!(matches!(
        exchange.take(&noise[..early], find),
        Ok(Next::Turn)
    ));
    assert_eq!(exchange.take(&[0], find).err(), Some(Failure::NoMark));
    // A torrent that is not there.
    let mut stranger = Side::new(Exchange::dial(InfoHash([9; 20]), Methods::RC4, vec![]), 6);
    stranger.hear(&[]).expect("nothing was said");
    let mut b = Side::answerer(Methods::RC4, 7);
    let got = talk(&mut stranger, &mut b, 5000, &mut rng);
    assert_eq!(got, Err(Failure::UnknownTorrent));
}

#[test]
fn a_flipped_byte_is_never_agreed_on() {
    // Of the dialler's second words: mark, torrent and zeros. Methods that nobody knows may be offered, pads may hold anything.
    for at in 0..48 {
        let mut a = Side::dialler(Methods::RC4, b"first", 1);
        let mut b = Side::answerer(Methods::RC4, 2);
        b.hear(&std::mem::take(&mut a.out)).expect("a key");
        a.hear(&std::mem::take(&mut b.out)).expect("a key");
        a.out[at] ^= 1;
        let said = std::mem::take(&mut a.out);
        let refused = b.hear(&said).is_err();
        assert!(refused || b.ciphers.is_none(), "byte {at}");
    }
}
