//! Paths as people read them.

use std::path::Path;

/// Characters of a path that are shown; of a longer one the middle is left out.
pub const SHOWN_MAX: usize = 240;
/// Characters of a shortened path that are from its beginning: enough to tell which disk.
const HEAD: usize = 80;

/// `path`, on one line and not too long for it: a torrent's names may take 4 KiB, and more in directories.
#[must_use]
pub fn shown(path: &Path) -> String {
    let text = path.display().to_string();
    let count = text.chars().count();
    if count <= SHOWN_MAX {
        return text;
    }
    let head: String = text.chars().take(HEAD).collect();
    let tail: String = text.chars().skip(count - (SHOWN_MAX - HEAD - 1)).collect();
    format!("{head}…{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_very_long_path_loses_its_middle() {
        let short = "a/".repeat(SHOWN_MAX / 2);
        assert_eq!(shown(Path::new(&short)), short);
        let long = format!("/disk/{}/the end", "ä".repeat(4000));
        let text = shown(Path::new(&long));
        assert_eq!(text.chars().count(), SHOWN_MAX);
        assert!(text.starts_with("/disk/ää"), "{text}");
        assert!(text.contains('…') && text.ends_with("ä/the end"), "{text}");
    }
}
