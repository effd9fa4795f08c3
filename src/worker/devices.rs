//! What the workers did on each storage device, up to a bound.

use std::collections::BTreeMap;

use crate::engine::message::{Job, Work};
use crate::metrics::{DeviceFigures, DeviceMetrics};
use crate::time::Duration;

use super::queue::Device;

/// Devices with a row of their own; all others share the row `other`.
const DEVICES_MAX: usize = 64;

/// What a job moves between memory and its device, if all goes well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Load {
    read: Option<u64>,
    written: Option<u64>,
}

impl Load {
    pub(super) fn of(work: &Work) -> Self {
        let geometry = &work.storage.layout.geometry;
        let (read, written) = match &work.job {
            Job::Check { pieces, .. } => {
                let sizes = pieces.iter();
                let bytes = sizes.map(|&piece| u64::from(geometry.piece_size(piece)));
                (Some(bytes.sum()), None)
            }
            Job::Read(run) => {
                let bytes = run.parts.iter().map(|part| u64::from(part.length));
                (Some(bytes.sum()), None)
            }
            Job::Commit { pieces } => {
                let sizes = pieces.iter();
                let bytes = sizes.map(|piece| u64::from(geometry.piece_size(piece.piece)));
                (None, Some(bytes.sum()))
            }
            Job::Write { blocks } => {
                let bytes = blocks.iter();
                let bytes = bytes.map(|(block, _)| u64::from(geometry.block_size(*block)));
                (None, Some(bytes.sum()))
            }
            Job::Prepare { .. }
            | Job::Sync { .. }
            | Job::Close
            | Job::Relocate(_)
            | Job::Survey(_)
            | Job::Blocks(_)
            | Job::Delete => (None, None),
        };
        Self { read, written }
    }
}

/// All devices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Devices {
    known: BTreeMap<Device, DeviceFigures>,
    other: DeviceFigures,
}

impl Devices {
    /// A job is over. Bytes count only when it met no fault.
    pub(super) fn note(&mut self, device: Device, load: Load, failed: bool, took: Duration) {
        let has_room = self.known.len() < DEVICES_MAX;
        let figures = if has_room || self.known.contains_key(&device) {
            self.known.entry(device).or_default()
        } else {
            &mut self.other
        };
        figures.reads += u64::from(load.read.is_some());
        figures.writes += u64::from(load.written.is_some());
        figures.faults += u64::from(failed);
        figures.busy_us += u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        if !failed {
            figures.read_bytes += load.read.unwrap_or(0);
            figures.written_bytes += load.written.unwrap_or(0);
        }
    }

    pub(super) fn metrics(&self) -> Vec<DeviceMetrics> {
        let known = (self.known.iter()).map(|(device, figures)| (name(*device), figures));
        let other = &self.other;
        let other = (*other != DeviceFigures::default()).then(|| ("other".to_owned(), other));
        known
            .chain(other)
            .map(|(device, figures)| DeviceMetrics {
                device,
                figures: *figures,
            })
            .collect()
    }
}

/// As in the table of mounts.
fn name(device: Device) -> String {
    match device {
        0 => "unknown".to_owned(),
        _ => format!("{}:{}", device >> 32, device & u64::from(u32::MAX)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_count_on_their_device_and_those_beyond_the_bound_together() {
        let mut devices = Devices::default();
        let read = Load {
            read: Some(100),
            written: None,
        };
        let write = Load {
            read: None,
            written: Some(7),
        };
        let span = Duration::from_micros(3);
        devices.note(8 << 32 | 1, read, false, span);
        devices.note(8 << 32 | 1, read, true, span);
        devices.note(8 << 32 | 1, write, false, span);
        devices.note(0, Load::default(), false, span);
        for device in 0..100 {
            devices.note(9 << 32 | device, write, false, span);
        }
        let rows = devices.metrics();
        let row = |name: &str| rows.iter().find(|row| row.device == name).unwrap().figures;
        let want = DeviceFigures {
            reads: 2,
            writes: 1,
            read_bytes: 100,
            written_bytes: 7,
            faults: 1,
            busy_us: 9,
        };
        assert_eq!(row("8:1"), want);
        assert_eq!(row("unknown").busy_us, 3);
        assert_eq!(rows.len(), DEVICES_MAX + 1);
        assert_eq!(row("other").writes, 100 - (DEVICES_MAX as u64 - 2));
    }
}
