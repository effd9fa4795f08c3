//! Any bytes as a torrent file: what is accepted stays below its root, adds up, and survives being made anew.

use std::collections::BTreeSet;
use std::path::{Component, Path};

use std::sync::Arc;

use linnet::codec::layout::FileKind;
use linnet::codec::metainfo::{Create, CreateFile, Metainfo};
use linnet::codec::path::{PATH_BYTES_MAX, Rules};

/// One case.
pub fn run(bytes: &[u8]) {
    for rules in [Rules::STRICT, Rules::LENIENT] {
        run_by(bytes, rules);
    }
}

fn run_by(bytes: &[u8], rules: Rules) {
    match Metainfo::decode_by(bytes, rules) {
        Ok(metainfo) => {
            check(&metainfo, rules);
            make_anew(&metainfo, rules);
        }
        Err(error) => {
            let sentence = error.to_string();
            assert!(!sentence.contains(char::is_control), "{sentence:?}");
            assert!(sentence.len() < 2000, "{sentence:?}");
        }
    }
}

/// What the rest of the program relies on.
fn check(metainfo: &Metainfo, rules: Rules) {
    let is_safe = |path: &Path| {
        path.starts_with(&metainfo.name)
            && path
                .components()
                .all(|part| matches!(part, Component::Normal(_)))
    };
    assert_eq!(Path::new(&metainfo.name).components().count(), 1);
    let mut offset = 0;
    let mut seen = BTreeSet::new();
    for file in &metainfo.files {
        assert!(is_safe(&file.path), "{:?}", file.path);
        assert_eq!(file.offset, offset);
        offset += file.length;
        if let FileKind::Symlink { target } = &file.kind {
            assert!(is_safe(target), "{target:?}");
            assert_eq!(file.length, 0);
        }
        if file.kind != FileKind::Pad {
            let path = file.path.to_string_lossy();
            let folded = if rules.fold_case {
                path.to_lowercase()
            } else {
                path.into_owned()
            };
            assert!(seen.insert(folded), "{:?}", file.path);
        }
    }
    for path in &seen {
        for above in Path::new(path).ancestors().skip(1) {
            assert!(
                !seen.contains(&*above.to_string_lossy()),
                "{path:?} lies below a file"
            );
        }
    }
    assert_eq!(metainfo.geometry.total(), offset);
    assert_eq!(
        metainfo.geometry.piece_count() as usize,
        metainfo.piece_hashes.len()
    );
}

/// Safe names are safe already: a torrent made of them is the same but for its hash.
fn make_anew(metainfo: &Metainfo, rules: Rules) {
    let is_plain = metainfo.files.iter().all(|file| {
        // A number may have made a long path longer.
        file.is_regular() && file.path.as_os_str().len() <= PATH_BYTES_MAX
    });
    if !is_plain {
        return;
    }
    let files = metainfo.files.iter().map(|file| CreateFile {
        path: file
            .path
            .strip_prefix(&metainfo.name)
            .expect("checked")
            .components()
            .map(|part| part.as_os_str().to_str().expect("made of text").to_owned())
            .collect(),
        length: file.length,
        executable: file.kind == FileKind::Regular { executable: true },
    });
    let create = Create {
        name: metainfo.name.clone(),
        files: files.collect(),
        piece_length: metainfo.geometry.piece_length(),
        private: metainfo.private,
        comment: metainfo.comment.clone(),
        source: metainfo.source.clone(),
        trackers: metainfo.trackers.clone(),
        web_seeds: metainfo.web_seeds.clone(),
        creation_date: metainfo.creation_date,
        created_by: metainfo.created_by.clone(),
    };
    let bytes = create.encode(&metainfo.piece_hashes);
    let mut again = Metainfo::decode_by(&bytes, rules).expect("safe already");
    assert_eq!(create.renamed(&again), [], "safe already");
    again.info_hash = metainfo.info_hash;
    again.info = Arc::clone(&metainfo.info);
    assert_eq!(again, *metainfo);
}
