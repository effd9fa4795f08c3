//! What a helper writes, as lines: of any bytes, cut anywhere, none longer than [`LINE_BYTES_MAX`].

/// Bytes of one line, without its end, in both directions. Of a longer one the rest is skipped, and it is answered by an error.
pub(super) const LINE_BYTES_MAX: usize = 1024 * 1024;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Without its end.
    Text(String),
    /// Bytes that are no UTF-8.
    Garbage,
    /// Longer than [`LINE_BYTES_MAX`]; told once, as soon as it is known.
    TooLong,
}

/// Bytes on their way to becoming lines: at most one line and what was read at once.
#[derive(Debug, Default)]
pub(super) struct Lines {
    held: Vec<u8>,
    /// Where the next line begins in `held`.
    start: usize,
    /// How far behind `start` there is no end of a line.
    looked: usize,
    /// Whether what comes up to the next end belongs to a line that is too long.
    is_skipping: bool,
}

impl Lines {
    /// Takes what was read.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.held.drain(..self.start);
        self.start = 0;
        self.held.extend_from_slice(bytes);
    }

    /// The next line that is whole, or known to be too long.
    pub(super) fn next(&mut self) -> Option<Line> {
        loop {
            let rest = &self.held[self.start..];
            let Some(length) = rest[self.looked..].iter().position(|&byte| byte == b'\n') else {
                self.looked = rest.len();
                if self.is_skipping {
                    self.clear();
                } else if self.looked > LINE_BYTES_MAX {
                    self.clear();
                    self.is_skipping = true;
                    return Some(Line::TooLong);
                }
                return None;
            };
            let length = self.looked + length;
            let line = &rest[..length];
            let line = match line.strip_suffix(b"\r").unwrap_or(line) {
                long if long.len() > LINE_BYTES_MAX => Line::TooLong,
                line => match std::str::from_utf8(line) {
                    Ok(text) => Line::Text(text.to_owned()),
                    Err(_) => Line::Garbage,
                },
            };
            self.start += length + 1;
            self.looked = 0;
            if !std::mem::take(&mut self.is_skipping) {
                return Some(line);
            }
        }
    }

    /// What stands behind the last end of a line, in bytes: a command that may have been cut is not obeyed.
    pub(super) const fn left(&self) -> usize {
        self.held.len() - self.start
    }

    fn clear(&mut self) {
        self.held.clear();
        self.start = 0;
        self.looked = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(parts: &[&[u8]]) -> (Vec<Line>, usize) {
        let mut lines = Lines::default();
        let mut found = Vec::new();
        for part in parts {
            lines.feed(part);
            while let Some(line) = lines.next() {
                found.push(line);
            }
        }
        (found, lines.left())
    }

    fn text(text: &str) -> Line {
        Line::Text(text.to_owned())
    }

    #[test]
    fn lines_are_the_same_wherever_they_are_cut() {
        let bytes = b"one\n\ntwo\r\n\xff\xfe\nthree \x00\x07\nfour";
        let want = vec![
            text("one"),
            text(""),
            text("two"),
            Line::Garbage,
            text("three \0\u{7}"),
        ];
        for cut in 0..=bytes.len() {
            let (a, b) = bytes.split_at(cut);
            assert_eq!(all(&[a, b]), (want.clone(), 4), "cut at {cut}");
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(all(&single), (want, 4));
    }

    #[test]
    fn a_line_that_is_too_long_is_told_once_and_skipped() {
        let fits = vec![b'a'; LINE_BYTES_MAX];
        let long = vec![b'b'; LINE_BYTES_MAX + 1];
        let fine = String::from_utf8(fits.clone()).unwrap();
        for size in [1 << 10, 1 << 16, 1 << 22] {
            let stream = [&fits[..], b"\n", &long, &long, b"\nlast\n"].concat();
            let parts: Vec<&[u8]> = stream.chunks(size).collect();
            let (lines, left) = all(&parts);
            assert_eq!(left, 0);
            assert_eq!(lines, [text(&fine), Line::TooLong, text("last")], "{size}");
        }
        let mut lines = Lines::default();
        for _ in 0..64 {
            lines.feed(&long);
            while lines.next().is_some() {}
            assert!(lines.held.len() <= 2 * long.len(), "nothing is kept of it");
        }
    }
}
