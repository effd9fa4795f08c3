//! Inputs and the outputs that follow: whatever the core asks for is carried out before it hears of anything else.

use std::collections::VecDeque;
use std::mem;

use super::host::{Host, reason_of};
use super::streams::Written;
use super::{Core, Loop};
use crate::buffer::Block;
use crate::engine::message::{Done, Input, Job, LostReason, Output, Work};
use crate::ids::{SessionId, StreamId};

/// An input that an output has made.
#[derive(Debug)]
pub(super) enum Followup {
    Done(Done),
    Lost(StreamId, LostReason),
    /// Bytes that were written, and blocks that come back.
    Unsent(StreamId, usize, Vec<Block>),
}

impl<H: Host, C: Core> Loop<H, C> {
    pub(super) fn give(&mut self, input: Input<'_>) {
        self.figures.turns.inputs += 1;
        self.core.handle(self.now, input);
        self.settle();
    }

    pub(super) fn give_back(&mut self, stream: StreamId, bytes: usize, mut blocks: Vec<Block>) {
        if bytes == 0 && blocks.is_empty() {
            return;
        }
        let blocks = &mut blocks;
        self.give(Input::Sent {
            stream,
            bytes,
            blocks,
        });
    }

    /// Carries out all outputs, and feeds back what they gave at once.
    pub(super) fn settle(&mut self) {
        loop {
            while let Some(output) = self.core.poll_output() {
                self.figures.turns.outputs += 1;
                self.carry_out(output);
            }
            if self.followups_left == 0 {
                return;
            }
            let Some(followup) = self.followups.pop_front() else {
                return;
            };
            self.followups_left -= 1;
            self.figures.turns.inputs += 1;
            match followup {
                Followup::Done(done) => self.core.handle(self.now, Input::Done(done)),
                Followup::Lost(stream, why) => {
                    self.core.handle(self.now, Input::Lost { stream, why });
                }
                Followup::Unsent(stream, bytes, mut blocks) => {
                    let blocks = &mut blocks;
                    self.core.handle(
                        self.now,
                        Input::Sent {
                            stream,
                            bytes,
                            blocks,
                        },
                    );
                }
            }
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Send { stream, frame } => {
                if let Some(block) = self.streams.push(stream, frame) {
                    self.followups
                        .push_back(Followup::Unsent(stream, 0, vec![block]));
                }
            }
            Output::Dial { stream, to } => {
                self.figures.note_dial(stream, self.now);
                match self.host.dial(stream, to) {
                    Ok(()) => self.streams.insert(stream, false),
                    Err(error) => self
                        .followups
                        .push_back(Followup::Lost(stream, reason_of(&error))),
                }
            }
            Output::Accept { socket, stream } => {
                self.figures.turns.streams_accepted += 1;
                self.host.accept(socket, stream);
                self.streams.insert(stream, true);
                // What came before the socket had a name may not be reported again.
                self.readable(stream);
            }
            Output::Refuse { socket } => {
                self.figures.turns.streams_refused += 1;
                self.host.refuse(socket);
            }
            Output::Hold { stream, hold } => {
                if let Some(reading) = self.streams.reading(stream) {
                    self.ready.hold(stream, reading, hold);
                }
            }
            Output::Meter { stream, bytes } => {
                if let Some(reading) = self.streams.reading(stream) {
                    self.ready.meter(stream, reading, bytes);
                }
            }
            Output::Close { stream } => self.close(stream),
            Output::Datagram { to, bytes } => {
                self.figures.turns.udp_sent_bytes += bytes.len() as u64;
                self.host.send_to(to, &bytes);
            }
            Output::Datagrams { to, segment, bytes } => {
                self.figures.turns.udp_sent_bytes += bytes.len() as u64;
                self.host.send_many(to, segment, &bytes);
            }
            Output::Work(work) => {
                self.figures.note_work(&work.job);
                self.start(work);
            }
            Output::Cancel { session } => self.cancel(session),
            Output::Store(job) => {
                self.figures.note_store();
                self.host.store(job);
            }
            Output::Fetch(fetch) => {
                self.figures.note_fetch(&fetch, self.now);
                self.host.fetch(fetch);
            }
            Output::Reply { reply, answer } => {
                let Some(kind) = self.askers.kind(reply) else {
                    return;
                };
                self.figures.note_answer(kind, reply, &answer);
                if let Some((reply, response)) = self.askers.answer(reply, answer) {
                    self.answer(kind, reply, Ok(response));
                }
            }
            Output::Event(event) => {
                let host = &mut self.host;
                (self.figures).note_event(&event, || host.unix_millis());
                self.bus.publish(event, || host.unix_millis());
            }
            Output::Stopped(report) => self.stopped = Some(report),
        }
    }

    /// Hands a job to the host. Reads may be done on the spot, so a turn tries a bounded number of them.
    pub(super) fn start(&mut self, work: Work) {
        if matches!(work.job, Job::Read(_)) {
            if self.immediate_left == 0 {
                self.deferred.push_back(work);
                return;
            }
            self.immediate_left -= 1;
        }
        if let Some(done) = self.host.work(work) {
            self.figures.note_done(&done.outcome);
            self.figures.turns.jobs_immediate += 1;
            self.followups.push_back(Followup::Done(done));
        }
    }

    /// Takes back what waits of the session's jobs and can be cancelled.
    fn cancel(&mut self, session: SessionId) {
        self.host.cancel(session);
        // All of them are reads.
        let waiting = mem::take(&mut self.deferred);
        let (gone, kept): (VecDeque<_>, _) = waiting
            .into_iter()
            .partition(|work| work.session == session);
        self.deferred = kept;
        for work in gone {
            let done = work.cancelled();
            self.figures.note_done(&done.outcome);
            self.followups.push_back(Followup::Done(done));
        }
    }

    /// Tries to write what is queued once more, then closes: in order when all of it went out.
    fn close(&mut self, stream: StreamId) {
        let mut blocks = Vec::new();
        let mut bytes = 0;
        if let Written::Bytes(written, offered) =
            self.streams.write(&mut self.host, stream, &mut blocks)
        {
            self.figures.note_write(written, offered);
            bytes = written;
        }
        let Some(clean) = self.streams.remove(stream, &mut blocks) else {
            return;
        };
        self.host.close(stream, clean);
        if bytes > 0 || !blocks.is_empty() {
            self.followups
                .push_back(Followup::Unsent(stream, bytes, blocks));
        }
    }
}
