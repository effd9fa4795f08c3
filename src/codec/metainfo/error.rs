//! Why a torrent file is refused: one sentence for a person, saying what was found and what is allowed.

use std::fmt;

use super::METAINFO_BYTES_MAX;
use crate::codec::bencode;
use crate::codec::geometry::PIECE_LENGTH_MAX;
use crate::codec::path::PathFault;

/// Why a torrent file is refused. Nothing has been touched. Names in it are tame and short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetainfoError {
    /// More than [`METAINFO_BYTES_MAX`].
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// Not bencoded.
    Malformed(bencode::Error),
    /// Something that must be there is not, or is of another kind.
    Field {
        /// Its key.
        key: &'static str,
        /// What it must be.
        want: &'static str,
    },
    /// Only the second version of the format (BEP 52).
    V2Only,
    /// Outside of 1 to [`PIECE_LENGTH_MAX`].
    PieceLength(i64),
    /// `pieces` is no run of 20-byte hashes.
    PiecesLength {
        /// Its length.
        bytes: usize,
    },
    /// As many hashes as the files do not have pieces.
    PieceCount {
        /// Hashes.
        found: usize,
        /// Pieces.
        expected: u64,
    },
    /// Nothing that would be on disk.
    NoFiles,
    /// A name that is not safe.
    Path {
        /// The name.
        path: String,
        /// Its fault.
        fault: PathFault,
    },
    /// A file without a length, or with one below zero.
    Length {
        /// The file.
        path: String,
        /// As it stands there.
        length: Option<i64>,
    },
    /// All files together are larger than 2^63 - 1 bytes.
    TotalTooLarge,
    /// Two files of one name.
    Duplicate {
        /// The name.
        path: String,
    },
    /// A file lies below another file.
    BelowFile {
        /// The file below.
        path: String,
        /// The one that would have to be a directory.
        file: String,
    },
    /// A file lies behind a symbolic link.
    BehindSymlink {
        /// The file behind.
        path: String,
        /// The link.
        link: String,
    },
    /// A symbolic link that points out of its torrent's directory, or at what can be no path.
    Symlink {
        /// The link.
        path: String,
        /// What it points at.
        target: String,
    },
}

impl fmt::Display for MetainfoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { bytes } => {
                let mib = METAINFO_BYTES_MAX >> 20;
                write!(
                    f,
                    "it has {bytes} bytes, a torrent file has at most {mib} MiB"
                )
            }
            Self::Malformed(error) => write!(f, "it is not a torrent file: {error}"),
            Self::Field { key, want } => write!(f, "`{key}` is missing or is not {want}"),
            Self::V2Only => write!(
                f,
                "it has only the second version of the format (BEP 52), which is not supported yet"
            ),
            Self::PieceLength(length) => {
                let mib = PIECE_LENGTH_MAX >> 20;
                write!(
                    f,
                    "its piece length is {length}, 1 byte to {mib} MiB are allowed"
                )
            }
            Self::PiecesLength { bytes } => {
                write!(f, "its piece hashes are {bytes} bytes long, each takes 20")
            }
            Self::PieceCount { found, expected } => {
                write!(
                    f,
                    "it has {found} piece hashes, its files have {expected} pieces"
                )
            }
            Self::NoFiles => write!(f, "it has no files"),
            Self::Path { path, fault } => write!(f, "the file name {path:?} {fault}"),
            Self::Length { path, length: None } => write!(f, "the file {path:?} has no length"),
            Self::Length {
                path,
                length: Some(length),
            } => write!(f, "the file {path:?} has the impossible length {length}"),
            Self::TotalTooLarge => write!(f, "its files together exceed 2^63 - 1 bytes"),
            Self::Duplicate { path } => write!(f, "the file {path:?} occurs twice"),
            Self::BelowFile { path, file } => {
                write!(f, "the file {path:?} lies below {file:?}, which is a file")
            }
            Self::BehindSymlink { path, link } => {
                write!(
                    f,
                    "the file {path:?} lies behind the symbolic link {link:?}"
                )
            }
            Self::Symlink { path, target } => write!(
                f,
                "the symbolic link {path:?} points at {target:?}, which is not inside the torrent"
            ),
        }
    }
}

impl std::error::Error for MetainfoError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Malformed(error) => Some(error),
            Self::Path { fault, .. } => Some(fault),
            _ => None,
        }
    }
}
