//! New torrent files (BEP 3, 12, 19, 27, 47): canonical, so that the same input gives the same info-hash everywhere.

use crate::codec::bencode::Item;
use crate::hash::Digest;

use super::Metainfo;

/// Shortest piece that [`choose_piece_length`] chooses.
pub const PIECE_LENGTH_CHOSEN_MIN: u32 = 16 * 1024;

/// Longest piece that [`choose_piece_length`] chooses.
pub const PIECE_LENGTH_CHOSEN_MAX: u32 = 16 * 1024 * 1024;

/// About 1500 pieces: a power of two from 16 KiB to 16 MiB, the shortest that gives at most 1500·√2 pieces.
#[must_use]
pub fn choose_piece_length(total: u64) -> u32 {
    let mut length = PIECE_LENGTH_CHOSEN_MIN;
    while length < PIECE_LENGTH_CHOSEN_MAX && total.div_ceil(u64::from(length)) > 2121 {
        length *= 2;
    }
    length
}

/// A file of a new torrent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CreateFile {
    /// Components below the torrent's own directory. Empty for the only file of a torrent that is one file.
    pub path: Vec<String>,
    /// Bytes.
    pub length: u64,
    /// Attribute `x` of BEP 47.
    pub executable: bool,
}

/// What a new torrent says, all but its piece hashes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Create {
    /// Of the file, or of the directory that all files lie in.
    pub name: String,
    /// In the order of their bytes.
    pub files: Vec<CreateFile>,
    /// Bytes of every piece but the last.
    pub piece_length: u32,
    /// Whether peers may come from its trackers alone (BEP 27).
    pub private: bool,
    /// Free text.
    pub comment: Option<String>,
    /// Free text inside `info`, which gives the torrent another info-hash.
    pub source: Option<String>,
    /// URLs by tier (BEP 12). The first is `announce`; there is a list only where there is more than one.
    pub trackers: Vec<Vec<String>>,
    /// URLs (BEP 19).
    pub web_seeds: Vec<String>,
    /// Seconds since 1970.
    pub creation_date: Option<i64>,
    /// The program that makes it.
    pub created_by: Option<String>,
}

impl Create {
    /// All bytes.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.files.iter().map(|file| file.length).sum()
    }

    /// The files that `metainfo`, decoded from this torrent, has under another path: `(path here, path there)`, in order.
    ///
    /// Seeding looks for the path there and does not find the file: whoever makes the torrent wants to know.
    #[must_use]
    pub fn renamed(&self, metainfo: &Metainfo) -> Vec<(String, String)> {
        let paths = self.files.iter().map(|file| {
            let parts = [&self.name].into_iter().chain(&file.path);
            parts.map(String::as_str).collect::<Vec<_>>().join("/")
        });
        paths
            .zip(&metainfo.files)
            .map(|(here, file)| (here, file.path.to_string_lossy().into_owned()))
            .filter(|(here, there)| here != there)
            .collect()
    }

    /// The torrent file.
    #[must_use]
    pub fn encode(&self, piece_hashes: &[Digest]) -> Vec<u8> {
        let mut root = Item::dict([("info", self.info(piece_hashes))]);
        let trackers: Vec<_> = self.trackers.iter().flatten().collect();
        if let Some(first) = trackers.first() {
            root.insert("announce", Item::from(first.as_str()));
        }
        if trackers.len() > 1 {
            let tiers = self.trackers.iter().filter(|tier| !tier.is_empty());
            root.insert("announce-list", tiers.map(texts).collect());
        }
        match self.web_seeds.as_slice() {
            [] => {}
            [one] => root.insert("url-list", Item::from(one.as_str())),
            more => root.insert("url-list", texts(more)),
        }
        if let Some(comment) = &self.comment {
            root.insert("comment", Item::from(comment.as_str()));
        }
        if let Some(created_by) = &self.created_by {
            root.insert("created by", Item::from(created_by.as_str()));
        }
        if let Some(date) = self.creation_date {
            root.insert("creation date", Item::Integer(date));
        }
        root.encode()
    }

    /// The `info` dictionary alone: the info-hash is that of its bytes.
    fn info(&self, piece_hashes: &[Digest]) -> Item<'_> {
        let mut info = Item::dict([
            ("name", Item::from(self.name.as_str())),
            ("piece length", Item::Integer(self.piece_length.into())),
            ("pieces", Item::from(piece_hashes.concat())),
        ]);
        if let [one] = self.files.as_slice()
            && one.path.is_empty()
        {
            one.describe(&mut info);
        } else {
            let files = self.files.iter().map(|file| {
                let mut item = Item::dict([("path", texts(&file.path))]);
                file.describe(&mut item);
                item
            });
            info.insert("files", files.collect());
        }
        if self.private {
            info.insert("private", Item::Integer(1));
        }
        if let Some(source) = &self.source {
            info.insert("source", Item::from(source.as_str()));
        }
        info
    }
}

impl CreateFile {
    /// Adds what is said of the file wherever it stands.
    fn describe(&self, dict: &mut Item<'_>) {
        let length = i64::try_from(self.length).expect("no file is longer than 2^63 - 1 bytes");
        dict.insert("length", Item::Integer(length));
        if self.executable {
            dict.insert("attr", Item::from("x"));
        }
    }
}

fn texts<T: AsRef<[String]> + ?Sized>(texts: &T) -> Item<'_> {
    let texts = texts.as_ref().iter();
    texts.map(|text| Item::from(text.as_str())).collect()
}
