//! Packets to one address, one behind the other: equal lengths travel as one output, which the host sends with one call.

use std::net::SocketAddr;

use crate::engine::message::Output;

/// Bytes of one output: what the system takes with one call.
const BATCH_BYTES_MAX: usize = 60_000;
/// Packets of one output: the same.
const BATCH_PACKETS_MAX: usize = 60;

/// The packets of one flush.
#[derive(Debug, Default)]
pub struct Batch {
    /// Packets so far: all of `segment` bytes, but for a shorter last one.
    bytes: Vec<u8>,
    segment: usize,
    packets: usize,
    done: Vec<(usize, Vec<u8>)>,
}

impl Batch {
    /// Adds the packet that `write` appends.
    pub fn add(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let from = self.bytes.len();
        write(&mut self.bytes);
        let length = self.bytes.len() - from;
        let is_open = from.is_multiple_of(self.segment.max(1));
        if from > 0 && (!is_open || length > self.segment || self.is_full()) {
            let next = self.bytes.split_off(from);
            self.close();
            self.bytes = next;
        }
        if self.packets == 0 {
            self.segment = length;
        }
        self.packets += 1;
    }

    fn is_full(&self) -> bool {
        self.packets >= BATCH_PACKETS_MAX || self.bytes.len() > BATCH_BYTES_MAX
    }

    fn close(&mut self) {
        if self.packets > 0 {
            self.done
                .push((self.segment, std::mem::take(&mut self.bytes)));
            (self.segment, self.packets) = (0, 0);
        }
    }

    /// All of them, as outputs to `to`.
    pub fn drain(&mut self, to: SocketAddr) -> impl Iterator<Item = Output> + '_ {
        self.close();
        self.done.drain(..).map(move |(segment, bytes)| {
            if bytes.len() > segment {
                Output::Datagrams { to, segment, bytes }
            } else {
                Output::Datagram { to, bytes }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lengths of packets, and the runs that they become: how many, and how long each is.
    type Case<'a> = (&'a [usize], &'a [(usize, usize)]);

    #[test]
    fn equal_lengths_travel_together_and_a_shorter_one_ends_them() {
        let to = SocketAddr::from(([10, 0, 0, 1], 1));
        #[rustfmt::skip]
        let table: &[Case<'_>] = &[
            (&[], &[]),
            (&[20], &[(1, 20)]),
            (&[9, 9, 9], &[(3, 9)]),
            (&[9, 9, 4], &[(3, 9)]),
            (&[9, 4, 9], &[(2, 9), (1, 9)]),
            (&[4, 9, 9], &[(1, 4), (2, 9)]),
            (&[1400; 100], &[(42, 1400), (42, 1400), (16, 1400)]),
            (&[20; 100], &[(60, 20), (40, 20)]),
        ];
        for (lengths, want) in table {
            let mut batch = Batch::default();
            for &length in *lengths {
                batch.add(|out| out.resize(out.len() + length, 7));
            }
            let got: Vec<(usize, usize)> = batch
                .drain(to)
                .map(|output| match output {
                    Output::Datagrams { segment, bytes, .. } => {
                        (bytes.len().div_ceil(segment), segment)
                    }
                    Output::Datagram { bytes, .. } => (1, bytes.len()),
                    _ => panic!("only datagrams"),
                })
                .collect();
            assert_eq!(&got, want, "{lengths:?}");
        }
    }
}
