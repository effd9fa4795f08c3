//! What a person has said of each file of a torrent, in a byte each: bit 0 whether it is wanted, bits 1 and 2 how soon (0 as
//! any, 1 low, 2 high). No bytes at all: everything is wanted, all alike.

use std::sync::Arc;

use crate::engine::session::picker::Priority;

/// The bytes.
pub(super) fn written(wanted: &[bool], priorities: &[Priority]) -> Vec<u8> {
    let count = wanted.len().max(priorities.len());
    let byte = |file: usize| {
        let wanted = wanted.get(file).copied().unwrap_or(true);
        let priority = match priorities.get(file).copied().unwrap_or_default() {
            Priority::Normal => 0,
            Priority::Low => 1,
            Priority::High => 2,
        };
        u8::from(wanted) | priority << 1
    };
    (0..count).map(byte).collect()
}

/// The inverse. Priorities that are all alike come back as none.
pub(super) fn read(bytes: &[u8]) -> (Arc<[bool]>, Arc<[Priority]>) {
    let wanted = bytes.iter().map(|byte| byte & 1 != 0).collect();
    let priority = |byte: &u8| match byte >> 1 {
        1 => Priority::Low,
        2 => Priority::High,
        _ => Priority::Normal,
    };
    let priorities: Vec<Priority> = bytes.iter().map(priority).collect();
    if priorities.iter().all(|one| *one == Priority::Normal) {
        return (wanted, Arc::default());
    }
    (wanted, priorities.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_come_back_as_they_were_written() {
        use Priority::{High, Low, Normal};
        #[rustfmt::skip]
        let table: &[(&[bool], &[Priority], &[u8])] = &[
            (&[],            &[],                  &[]),
            (&[true, false], &[],                  &[1, 0]),
            (&[true, false, true], &[High, Normal, Low], &[5, 0, 3]),
        ];
        for (wanted, priorities, bytes) in table {
            assert_eq!(written(wanted, priorities), *bytes);
            let (read_wanted, read_priorities) = read(bytes);
            assert_eq!((&*read_wanted, &*read_priorities), (*wanted, *priorities));
        }
        // Priorities alone: everything is wanted.
        assert_eq!(written(&[], &[Low, High]), [3, 5]);
        assert_eq!(read(&[255]).1.len(), 0, "bits of another version");
    }
}
