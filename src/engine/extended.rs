//! The extension protocol (BEP 10): which extensions we speak, and by which ids each side wants their messages.
//!
//! An id is only good in one direction: whoever receives a message has said in its handshake which id it wants it to have.
//! Ours are fixed; theirs are kept on the peer, for the extensions that we speak and no others.

use crate::codec::extension::ExtendedHandshake;
use crate::codec::{metadata, pex};

/// An extension that we speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Extension {
    /// Peers that others have met (BEP 11).
    Pex,
    /// The info dictionary (BEP 9).
    Metadata,
    /// A piece that its sender has no more (BEP 54).
    DontHave,
}

impl Extension {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Pex, Self::Metadata, Self::DontHave];

    /// Its name in `m`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pex => pex::NAME,
            Self::Metadata => metadata::NAME,
            Self::DontHave => "lt_donthave",
        }
    }

    /// The id that we want its messages to have.
    #[must_use]
    pub const fn id(self) -> u8 {
        match self {
            Self::Pex => 1,
            Self::Metadata => 2,
            Self::DontHave => 3,
        }
    }

    /// The one whose messages come with `id`; `None` for one that we have not named.
    #[must_use]
    pub fn by_id(id: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.id() == id)
    }

    /// These as they stand in our handshake.
    #[must_use]
    pub fn named(which: impl IntoIterator<Item = Self>) -> Vec<(String, u8)> {
        let pairs = which.into_iter();
        let mut pairs: Vec<_> = pairs.map(|one| (one.name().to_owned(), one.id())).collect();
        pairs.sort();
        pairs
    }

    const fn place(self) -> usize {
        match self {
            Self::Pex => 0,
            Self::Metadata => 1,
            Self::DontHave => 2,
        }
    }
}

/// What the other side takes, as its extended handshakes have said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Theirs {
    /// Ids by [`Extension::place`]; 0 is none.
    ids: [u8; Extension::ALL.len()],
    /// Bytes of the info dictionary that it has; 0 when it has none.
    pub metadata_size: u32,
    /// Whether it wants nothing (BEP 21).
    pub upload_only: bool,
}

impl Theirs {
    /// Takes in a handshake: a later one changes what it names, and nothing else.
    pub fn hear(&mut self, told: &ExtendedHandshake) {
        for one in Extension::ALL {
            let named = told.extensions.iter().find(|(name, _)| name == one.name());
            if let Some((_, id)) = named {
                self.ids[one.place()] = *id;
            }
        }
        if let Some(size) = told.metadata_size {
            self.metadata_size = size;
        }
        if let Some(only) = told.upload_only {
            self.upload_only = only;
        }
    }

    /// The id that messages of `one` must have; `None` when it does not take them.
    #[must_use]
    pub const fn id_of(&self, one: Extension) -> Option<u8> {
        match self.ids[one.place()] {
            0 => None,
            id => Some(id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_distinct_and_found_again() {
        for (at, one) in Extension::ALL.into_iter().enumerate() {
            assert_eq!(one.place(), at);
            assert_ne!(one.id(), 0, "0 is the handshake itself");
            assert_eq!(Extension::by_id(one.id()), Some(one));
        }
        assert_eq!(Extension::by_id(0), None);
        assert_eq!(Extension::by_id(200), None);
        let named = Extension::named(Extension::ALL);
        assert!(named.is_sorted());
        assert_eq!(named.len(), Extension::ALL.len());
    }

    #[test]
    fn a_later_handshake_changes_what_it_names() {
        let told = |pairs: &[(&str, u8)], metadata_size| ExtendedHandshake {
            extensions: pairs.iter().map(|(n, id)| ((*n).to_owned(), *id)).collect(),
            metadata_size,
            ..ExtendedHandshake::default()
        };
        let mut theirs = Theirs::default();
        assert_eq!(theirs.id_of(Extension::Metadata), None);
        theirs.hear(&told(&[("ut_metadata", 7), ("ut_other", 9)], None));
        assert_eq!(theirs.id_of(Extension::Metadata), Some(7));
        theirs.hear(&told(&[], Some(40_000)));
        let now = (theirs.id_of(Extension::Metadata), theirs.metadata_size);
        assert_eq!(now, (Some(7), 40_000));
        theirs.hear(&told(&[("ut_metadata", 0)], None));
        assert_eq!(theirs.id_of(Extension::Metadata), None, "switched off");
    }
}
