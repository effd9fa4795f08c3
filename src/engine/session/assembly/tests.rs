//! Random lives of pieces and streams against a count of what must be where.

use super::*;
use crate::ids::PeerId;
use crate::rng::Rng;

const STREAMS: u32 = 4;

/// What a stream owes, and what it is sending.
#[derive(Default)]
struct Peer {
    asked: Vec<Claim>,
    arriving: Option<Arrival>,
}

struct Model {
    geometry: Geometry,
    assembly: Assembly,
    pool: Pool,
    peers: Vec<Peer>,
    /// Buffers that a worker has.
    writing: Vec<(BlockRef, Block)>,
    now: Instant,
}

fn stream(at: usize) -> StreamId {
    StreamId::new(u32::try_from(at).expect("few"), 1)
}

fn sender(at: usize) -> Sender {
    Sender {
        link: LinkId::new(u32::try_from(at).expect("few"), 1),
        address: SocketAddr::from(([10, 0, 0, 1], 1)),
        peer_id: PeerId([0; 20]),
    }
}

impl Model {
    fn step(&mut self, rng: &mut Rng) {
        let (assembly, pool) = (&mut self.assembly, &mut self.pool);
        let count = u64::from(self.geometry.piece_count());
        let index = u32::try_from(rng.below(count)).expect("few");
        let piece = self.geometry.piece(index).expect("exists");
        let blocks = u64::from(self.geometry.block_count(piece));
        let block = BlockRef {
            piece,
            block: u32::try_from(rng.below(blocks)).expect("few"),
        };
        let at = rng.index(self.peers.len());
        let peer = &mut self.peers[at];
        self.now += crate::time::Duration::from_millis(1);
        match rng.below(20) {
            0 if assembly.get(piece).is_none() => {
                let keep = [Keep::Memory, Keep::InPlace][rng.index(2)];
                let opened = assembly.open(&self.geometry, piece, keep, pool, self.now);
                if opened && rng.chance(1, 4) {
                    let open = assembly.get_mut(piece).expect("just opened");
                    open.keep_for(stream(at), self.now);
                }
            }
            1 if assembly.get(piece).is_none() && rng.chance(1, 3) => {
                let there = rng.draw();
                let there = |block: u32| there >> (block % 64) & 1 == 1;
                assembly.reopen(&self.geometry, piece, there, self.now);
            }
            0..=5 => peer.asked.extend(assembly.ask(piece, pool)),
            6 if !peer.asked.iter().any(|asked| asked.block == block) => {
                peer.asked.extend(assembly.ask_again(block));
            }
            6..=7 if !peer.asked.is_empty() => {
                let claim = peer.asked.swap_remove(rng.index(peer.asked.len()));
                assembly.unask(claim, pool);
            }
            // Mostly what was asked for, sometimes anything at all.
            6..=11 if peer.arriving.is_none() => {
                let asked = peer.asked.first().map(|asked| asked.block);
                let block = asked.filter(|_| rng.chance(4, 5)).unwrap_or(block);
                let asked = asked == Some(block);
                peer.arriving = assembly.begin(block, stream(at), asked, pool);
            }
            12 => {
                if let Some(arrival) = peer.arriving.take() {
                    assembly.abort(arrival, pool);
                }
            }
            6..=14 => {
                let Some(arrival) = peer.arriving.take() else {
                    return;
                };
                let block = arrival.claim.block;
                let place = peer.asked.iter().position(|asked| asked.block == block);
                let asked = place.map(|place| peer.asked.swap_remove(place));
                let stored = assembly.store(arrival, asked, sender(at), pool, self.now);
                let in_place = assembly
                    .get(block.piece)
                    .is_some_and(|open| open.keep == Keep::InPlace);
                if in_place {
                    self.writing.extend(assembly.take_block(block));
                } else if let Stored::Needed { complete: true, .. } = stored {
                    let (whole, senders) = assembly.take_whole(block.piece).expect("complete");
                    assert_eq!(whole.len(), senders.len());
                    whole.into_iter().for_each(|b| pool.put(Share::Receive, b));
                }
            }
            15..=16 if !self.writing.is_empty() => {
                let (block, buffer) = self.writing.swap_remove(rng.index(self.writing.len()));
                pool.put(Share::Receive, buffer);
                let _ = assembly.written(block, rng.chance(3, 4));
            }
            // As the engine does: a piece on its way to disk is not closed before it is there.
            17 if !self.writing.iter().any(|(block, _)| block.piece == piece) => {
                let _ = assembly.close(piece, pool);
            }
            18 => {
                let in_memory = assembly
                    .get(piece)
                    .is_some_and(|open| open.keep == Keep::Memory);
                if in_memory {
                    assembly.spill(piece, pool);
                    self.writing.extend(assembly.take_held(piece));
                }
            }
            19 => {
                assembly.release(stream(at));
                assembly.release_old(self.now);
            }
            _ => {}
        }
    }

    fn check(&self, name: &str) {
        let cells = || self.assembly.iter().flat_map(|open| &open.cells);
        let held = cells().filter(|cell| matches!(cell.content, Content::Held(_)));
        let arriving = self.peers.iter().filter(|peer| peer.arriving.is_some());
        let taken = held.count() + arriving.count() + self.writing.len();
        assert_eq!(
            self.pool.taken(),
            taken,
            "{name}: every buffer is somewhere"
        );
        let set_aside = cells().filter(|cell| cell.reserved).count();
        let used = self.pool.capacity(Share::Receive) - self.pool.room(Share::Receive);
        assert_eq!(used, taken + set_aside, "{name}: every claim has an owner");
        let mut all_free = 0;
        for open in self.assembly.iter() {
            let free = open.cells.iter().filter(|cell| cell.is_free()).count();
            assert_eq!(open.free as usize, free, "{name}: free of {:?}", open.piece);
            let missing = open.cells.iter().filter(|cell| cell.is_missing()).count();
            assert_eq!(open.missing as usize, missing, "{name}: missing");
            let before = &open.cells[..open.first_free as usize];
            assert!(!before.iter().any(Cell::is_free), "{name}: first free");
            all_free += free;
            for (block, cell) in (0..).zip(&open.cells) {
                let claim = Claim {
                    block: BlockRef {
                        piece: open.piece,
                        block,
                    },
                    opening: open.opening,
                };
                let owed = self.peers.iter().flat_map(|peer| &peer.asked);
                let owed = owed.filter(|asked| **asked == claim).count();
                assert_eq!(usize::from(cell.asked), owed, "{name}: {claim:?}");
            }
        }
        assert_eq!(self.assembly.free(), all_free, "{name}: free of all");
    }
}

#[test]
fn no_course_of_events_loses_room_or_a_block() {
    for seed in 0..300 {
        let mut rng = Rng::new(seed);
        let total = 16_384 * (20 + rng.below(40)) - rng.below(16_000);
        let piece_length = 16_384 * u32::try_from(1 + rng.below(12)).expect("small");
        let mut model = Model {
            geometry: Geometry::new(total, piece_length).expect("valid"),
            assembly: Assembly::default(),
            pool: Pool::new(crate::buffer::BLOCK_BYTES * (32 + rng.index(64))),
            peers: (0..STREAMS).map(|_| Peer::default()).collect(),
            writing: Vec::new(),
            now: Instant::ZERO,
        };
        for step in 0..2000 {
            model.step(&mut rng);
            model.check(&format!("seed {seed}, step {step}"));
        }
        // All streams end, all writes come back, everything is closed: nothing is kept.
        let (assembly, pool) = (&mut model.assembly, &mut model.pool);
        for peer in &mut model.peers {
            peer.asked.drain(..).for_each(|c| assembly.unask(c, pool));
            if let Some(arrival) = peer.arriving.take() {
                assembly.abort(arrival, pool);
            }
        }
        for (block, buffer) in model.writing.drain(..) {
            pool.put(Share::Receive, buffer);
            let _ = assembly.written(block, true);
        }
        for piece in model.geometry.pieces() {
            let _ = assembly.close(piece, pool);
        }
        assert_eq!(pool.taken(), 0, "seed {seed}");
        let room = pool.room(Share::Receive);
        assert_eq!(room, pool.capacity(Share::Receive), "seed {seed}");
        assert_eq!(assembly.free(), 0, "seed {seed}");
    }
}
