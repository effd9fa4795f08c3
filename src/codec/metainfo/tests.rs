use super::*;
use crate::codec::bencode::{Fault, Item};
use crate::codec::path::PathFault;
use crate::rng::Rng;

fn torrent(info: &str) -> Vec<u8> {
    [b"d4:info", info.as_bytes(), b"e"].concat()
}

/// A torrent of one byte a piece and no more than 10 bytes, of these entries of `files`.
fn multi(files: &str, total: usize) -> Vec<u8> {
    let pieces = "x".repeat(20 * total);
    torrent(&format!(
        "d5:filesl{files}e4:name3:dir12:piece lengthi1e6:pieces{}:{pieces}e",
        pieces.len()
    ))
}

fn file(length: i64, path: &[&str]) -> String {
    entry(&format!("6:lengthi{length}e"), path)
}

fn entry(fields: &str, path: &[&str]) -> String {
    format!("d{fields}4:path{}e", list(path))
}

fn list(items: &[&str]) -> String {
    let items: String = items
        .iter()
        .map(|item| format!("{}:{item}", item.len()))
        .collect();
    format!("l{items}e")
}

fn link(path: &[&str], target: &[&str]) -> String {
    entry(&format!("4:attr1:l12:symlink path{}", list(target)), path)
}

fn error(bytes: &[u8]) -> String {
    let error = Metainfo::decode(bytes).expect_err("refused");
    error.to_string()
}

fn create() -> Create {
    Create {
        name: "fixture".into(),
        files: [
            (&["a.txt"][..], 5, false),
            (&["dir", "tool"], 40_000, true),
            (&["dir", "z"], 0, false),
        ]
        .iter()
        .map(|&(path, length, executable)| CreateFile {
            path: path.iter().map(|&part| part.to_owned()).collect(),
            length,
            executable,
        })
        .collect(),
        piece_length: 16_384,
        ..Create::default()
    }
}

fn hashes(count: u8) -> Vec<Digest> {
    (0..count).map(|n| hash::sha1(&[n])).collect()
}

/// The bytes of `info` in a torrent file of ours.
fn info_of(bytes: &[u8]) -> &[u8] {
    let value = bencode::decode(bytes).unwrap();
    value.as_dict().unwrap().get(b"info").unwrap().raw()
}

#[test]
fn info_is_what_libtorrent_makes_of_the_same_files() {
    // Made by libtorrent 2.0.8, v1 only; the hash of piece n is that of the byte n.
    let pieces = hashes(3);
    let bytes = create().encode(&pieces);
    let want = [
        b"d5:filesld6:lengthi5e4:pathl5:a.txteed4:attr1:x6:lengthi40000e4:pathl3:dir4:tooleed6:lengthi0e4:pathl3:dir1:zeee\
          4:name7:fixture12:piece lengthi16384e6:pieces60:",
        pieces.concat().as_slice(),
        b"e",
    ]
    .concat();
    assert_eq!(
        info_of(&bytes).escape_ascii().to_string(),
        want.escape_ascii().to_string()
    );
    let metainfo = Metainfo::decode(&bytes).unwrap();
    assert_eq!(
        metainfo.info_hash.to_string(),
        "d100566dae478656e667acb25b2ee7d5c4585a60"
    );

    let single = Create {
        name: "one.bin".into(),
        files: vec![CreateFile {
            length: 20_000,
            ..CreateFile::default()
        }],
        private: true,
        piece_length: 16_384,
        ..Create::default()
    };
    let metainfo = Metainfo::decode(&single.encode(&hashes(2))).unwrap();
    assert_eq!(
        metainfo.info_hash.to_string(),
        "7a50549dff5b3e322a584ed3c8505336f189a4df"
    );
    assert!(metainfo.private);
    assert_eq!(metainfo.files[0].path, PathBuf::from("one.bin"));

    let executable = Create {
        name: "run".into(),
        files: vec![CreateFile {
            length: 20_000,
            executable: true,
            ..CreateFile::default()
        }],
        piece_length: 32_768,
        ..Create::default()
    };
    let metainfo = Metainfo::decode(&executable.encode(&hashes(1))).unwrap();
    assert_eq!(
        metainfo.info_hash.to_string(),
        "d2b997d7ebe19b296331e49a80300f7d13cba909"
    );
    assert_eq!(
        metainfo.files[0].kind,
        FileKind::Regular { executable: true }
    );
}

#[test]
fn what_is_created_is_read() {
    let tier = |urls: &[&str]| urls.iter().map(|&url| url.to_owned()).collect::<Vec<_>>();
    let create = Create {
        private: true,
        comment: Some("a comment".into()),
        source: Some("SRC".into()),
        trackers: vec![
            tier(&["http://a/announce", "udp://b:1"]),
            tier(&["https://c/announce"]),
        ],
        web_seeds: tier(&["http://seed/"]),
        creation_date: Some(1_700_000_000),
        created_by: Some("linnet/0.1".into()),
        ..create()
    };
    let bytes = create.encode(&hashes(3));
    let metainfo = Metainfo::decode(&bytes).unwrap();
    assert_eq!(metainfo.name, create.name);
    assert_eq!(metainfo.trackers, create.trackers);
    assert_eq!(metainfo.web_seeds, create.web_seeds);
    assert_eq!(metainfo.comment, create.comment);
    assert_eq!(metainfo.source, create.source);
    assert_eq!(metainfo.creation_date, create.creation_date);
    assert_eq!(metainfo.created_by, create.created_by);
    assert_eq!(metainfo.private, create.private);
    assert_eq!(metainfo.total_size(), create.total());
    assert_eq!(metainfo.piece_hashes.as_ref(), hashes(3));
    let files: Vec<_> = metainfo
        .files
        .iter()
        .map(|f| (f.path.to_str().unwrap(), f.length, f.offset))
        .collect();
    assert_eq!(
        files,
        [
            ("fixture/a.txt", 5, 0),
            ("fixture/dir/tool", 40_000, 5),
            ("fixture/dir/z", 0, 40_005)
        ]
    );
    assert_eq!(
        metainfo.files[1].kind,
        FileKind::Regular { executable: true }
    );
    assert_eq!(
        bencode::decode(&bytes).unwrap().to_item().encode(),
        bytes,
        "canonical"
    );
}

#[test]
fn hostile_torrents_are_refused_with_one_sentence() {
    let single = |rest: &str| torrent(&format!("d{rest}e"));
    let hash = format!("6:pieces20:{}", "x".repeat(20));
    #[rustfmt::skip]
    let table: &[(&str, Vec<u8>, &str)] = &[
        ("empty",             vec![],                       "it is not a torrent file: the data ends inside a value (at byte 0)"),
        ("nested",            b"d4:info".repeat(200),       "it is not a torrent file: nested deeper than 100 levels (at byte 700)"),
        ("2 GB string",       b"d4:info2147483648:xe".to_vec(), "it is not a torrent file: a string is longer than the rest of the data (at byte 7)"),
        ("a list",            b"le".to_vec(),               "`info` is missing or is not a dictionary"),
        ("no info",           b"de".to_vec(),               "`info` is missing or is not a dictionary"),
        ("info is text",      b"d4:info2:hie".to_vec(),     "`info` is missing or is not a dictionary"),
        ("no name",           single(&format!("6:lengthi1e12:piece lengthi1e{hash}")), "`name` is missing or is not a string"),
        ("no piece length",   single(&format!("6:lengthi1e4:name1:a{hash}")), "`piece length` is missing or is not a number"),
        ("piece length 0",    single(&format!("6:lengthi1e4:name1:a12:piece lengthi0e{hash}")), "its piece length is 0, 1 byte to 256 MiB are allowed"),
        ("piece length -1",   single(&format!("6:lengthi1e4:name1:a12:piece lengthi-1e{hash}")), "its piece length is -1, 1 byte to 256 MiB are allowed"),
        ("piece length big",  single(&format!("6:lengthi1e4:name1:a12:piece lengthi268435457e{hash}")), "its piece length is 268435457, 1 byte to 256 MiB are allowed"),
        ("no pieces",         single("6:lengthi1e4:name1:a12:piece lengthi1e"), "`pieces` is missing or is not a string"),
        ("ragged pieces",     single("6:lengthi1e4:name1:a12:piece lengthi1e6:pieces21:xxxxxxxxxxxxxxxxxxxxx"), "its piece hashes are 21 bytes long, each takes 20"),
        ("too few pieces",    single(&format!("6:lengthi2e4:name1:a12:piece lengthi1e{hash}")), "it has 1 piece hashes, its files have 2 pieces"),
        ("huge piece count",  single(&format!("6:lengthi9223372036854775807e4:name1:a12:piece lengthi1e{hash}")), "it has 1 piece hashes, its files have 9223372036854775807 pieces"),
        ("no length",         single(&format!("4:name1:a12:piece lengthi1e{hash}")), "the file \"a\" has no length"),
        ("negative length",   single(&format!("6:lengthi-1e4:name1:a12:piece lengthi1e{hash}")), "the file \"a\" has the impossible length -1"),
        ("v2 only",           single("12:meta versioni2e4:name1:a12:piece lengthi16384e"), "it has only the second version of the format (BEP 52), which is not supported yet"),
        ("name ..",           single(&format!("6:lengthi1e4:name2:..12:piece lengthi1e{hash}")), "the file name \"..\" has the component `..`"),
        ("absolute name",     single(&format!("6:lengthi1e4:name4:/etc12:piece lengthi1e{hash}")), "the file name \"/etc\" is absolute"),
        ("name with escape",  single(&format!("6:lengthi1e4:name5:\x1b[2J\x0012:piece lengthi1e{hash}")), "the file name \"[2J\" has a NUL byte"),
        ("no files",          multi("", 0),                 "it has no files"),
        ("only padding",      multi(&entry("4:attr1:p6:lengthi1e", &["p"]), 1), "it has no files"),
        ("files is a number", single(&format!("5:filesi1e4:name1:a12:piece lengthi1e{hash}")), "`files` is missing or is not a list"),
        ("a file is a list",  multi("le", 0),               "`files` is missing or is not a list of dictionaries"),
        ("no path",           multi("d6:lengthi1ee", 1),    "`path` is missing or is not a list of strings"),
        ("a number in path",  multi("d6:lengthi1e4:pathli1eee", 1), "`path` is missing or is not a list of strings"),
        ("empty path",        multi(&file(1, &[]), 1),      "the file name \"dir\" has an empty component"),
        ("empty component",   multi(&file(1, &["a", "", "b"]), 1), "the file name \"dir/a//b\" has an empty component"),
        ("parent",            multi(&file(1, &["..", "..", "etc", "passwd"]), 1), "the file name \"dir/../../etc/passwd\" has the component `..`"),
        ("parent inside",     multi(&file(1, &["a/../../b"]), 1), "the file name \"dir/a/../../b\" has the component `..`"),
        ("current",           multi(&file(1, &["."]), 1),   "the file name \"dir/.\" has the component `.`"),
        ("absolute",          multi(&file(1, &["/etc/passwd"]), 1), "the file name \"dir//etc/passwd\" is absolute"),
        ("NUL",               multi(&file(1, &["a\0b"]), 1), "the file name \"dir/ab\" has a NUL byte"),
        ("too deep",          multi(&file(1, &["a"; 64]), 1), "the file name \"dir/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/\" has more than 64 components"),
        ("duplicate",         multi(&(file(1, &["a"]) + &file(1, &["b"]) + &file(1, &["a"])), 3), "the file \"dir/a\" occurs twice"),
        ("below a file",      multi(&(file(1, &["a", "b"]) + &file(1, &["a"])), 2), "the file \"dir/a/b\" lies below \"dir/a\", which is a file"),
        ("total overflow",    multi(&(file(i64::MAX, &["a"]) + &file(1, &["b"])), 1), "its files together exceed 2^63 - 1 bytes"),
        ("negative in list",  multi(&(file(5, &["a"]) + &file(-4, &["b"])), 1), "the file \"dir/b\" has the impossible length -4"),
        ("link outside",      multi(&(file(1, &["a"]) + &link(&["l"], &["..", "x"])), 1), "the symbolic link \"dir/l\" points at \"dir/../x\", which is not inside the torrent"),
        ("link deep outside", multi(&(file(1, &["a"]) + &link(&["d", "l"], &["d", "..", "..", "dir", "a"])), 1), "the symbolic link \"dir/d/l\" points at \"dir/d/../../dir/a\", which is not inside the torrent"),
        ("link to the root",  multi(&(file(1, &["a"]) + &link(&["l"], &["/etc/passwd"])), 1), "the symbolic link \"dir/l\" points at \"dir//etc/passwd\", which is not inside the torrent"),
        ("link with parents", multi(&(file(1, &["a"]) + &link(&["l"], &["a/../../x"])), 1), "the symbolic link \"dir/l\" points at \"dir/a/../../x\", which is not inside the torrent"),
        ("through a link",    multi(&(file(1, &["a"]) + &link(&["l"], &["a"]) + &file(1, &["l", "x"])), 2), "the file \"dir/l/x\" lies behind the symbolic link \"dir/l\""),
        ("two links",         multi(&(file(1, &["a"]) + &link(&["l"], &["a"]) + &link(&["l"], &["a"])), 1), "the file \"dir/l\" occurs twice"),
        ("link with bytes",   multi(&(file(1, &["a"]) + &entry("4:attr1:l6:lengthi5e12:symlink pathl1:ae", &["l"])), 1), "the file \"dir/l\" has the impossible length 5"),
    ];
    for (name, bytes, want) in table {
        assert_eq!(error(bytes), *want, "{name}");
    }
    let bytes = vec![b'l'; METAINFO_BYTES_MAX + 1];
    assert_eq!(
        error(&bytes),
        "it has 67108865 bytes, a torrent file has at most 64 MiB"
    );
}

#[test]
fn errors_keep_their_cause() {
    let fault = PathFault::ParentDirectory;
    let path = "dir/..".to_owned();
    let refused = Metainfo::decode(&multi(&file(1, &[".."]), 1));
    assert_eq!(refused, Err(MetainfoError::Path { path, fault }));
    let refused = Metainfo::decode(b"d4:infodeex");
    assert!(
        matches!(refused, Err(MetainfoError::Malformed(error)) if error.what == Fault::TrailingBytes)
    );
}

#[test]
fn untidy_torrents_are_read() {
    // Keys unsorted and repeated, leading zeros, a name of separators, a tracker list without tiers.
    let bytes = b"d4:infod12:piece lengthi04e6:lengthi3e6:lengthi9e6:pieces20:xxxxxxxxxxxxxxxxxxxx4:name5:a/b\\ce\
        13:announce-listl5:url-17:  url-2l5:url-15:url-30:i1eelei5ee8:announce5:other7:commenti5e13:creation date1:xe";
    let metainfo = Metainfo::decode(bytes).unwrap();
    assert_eq!(metainfo.name, "a_b_c");
    assert_eq!(metainfo.total_size(), 3, "the first length counts");
    assert_eq!(metainfo.trackers, [["url-1"], ["url-2"], ["url-3"]]);
    assert_eq!(metainfo.comment, None);
    assert_eq!(metainfo.creation_date, None);
    let info = &bytes[7..bytes.len() - b"13:announce-listl5:url-17:  url-2l5:url-15:url-30:i1eelei5ee8:announce5:other7:commenti5e13:creation date1:xe".len()];
    assert_eq!(
        metainfo.info_hash.0,
        hash::sha1(info),
        "of the original bytes, not of the canonical ones"
    );
}

#[test]
fn announce_is_the_tracker_where_there_is_no_list() {
    let info = format!(
        "d6:lengthi1e4:name1:a12:piece lengthi1e6:pieces20:{}e",
        "x".repeat(20)
    );
    let with = |rest: &str| Metainfo::decode(format!("d4:info{info}{rest}e").as_bytes()).unwrap();
    let none: [Vec<String>; 0] = [];
    assert_eq!(with("8:announce3:url").trackers, [["url"]]);
    assert_eq!(
        with("8:announce3:url13:announce-listllelee").trackers,
        [["url"]]
    );
    assert_eq!(
        with("8:announce3:url13:announce-listll5:otheree").trackers,
        [["other"]]
    );
    assert_eq!(with("8:announce0:").trackers, none);
    assert_eq!(
        with("8:announce3:a\nb").trackers,
        none,
        "would break a request"
    );
    assert_eq!(with("8:url-list3:url").web_seeds, ["url"]);
    assert_eq!(with("8:url-listl3:url3:url1:xe").web_seeds, ["url", "x"]);
    let many: String = (0..1000).map(|n| format!("l4:{n:04}e")).collect();
    assert_eq!(
        with(&format!("13:announce-listl{many}e")).trackers.len(),
        URLS_MAX
    );
    assert_eq!(with("7:comment5:a\x1b[2J").comment.as_deref(), Some("a[2J"));
}

#[test]
fn utf_8_names_are_preferred() {
    let files = "d6:lengthi1e4:pathl2:\u{e9}e10:path.utf-8l3:newee";
    let pieces = "x".repeat(20);
    let info = format!(
        "d5:filesl{files}e4:name3:old10:name.utf-84:newd12:piece lengthi1e6:pieces20:{pieces}e"
    );
    let metainfo = Metainfo::decode(&torrent(&info)).unwrap();
    assert_eq!(metainfo.files[0].path, PathBuf::from("newd/new"));
}

fn paths(metainfo: &Metainfo) -> Vec<&str> {
    let files = metainfo.files.iter();
    files.map(|file| file.path.to_str().unwrap()).collect()
}

#[test]
fn names_that_collide_only_when_made_safe_are_numbered() {
    let files = [
        file(1, &["README"]),
        file(1, &["a\x01b.txt"]),
        file(1, &["a\x02b.txt"]),
        file(1, &["readme"]),
        link(&["l"], &["readme"]),
        link(&["k"], &["a\x02b.txt"]),
    ];
    let bytes = multi(&files.concat(), 4);
    for (rules, readme) in [
        (Rules::STRICT, "dir/readme (2)"),
        (Rules::LENIENT, "dir/readme"),
    ] {
        let metainfo = Metainfo::decode_by(&bytes, rules).unwrap();
        let numbered = "dir/a_b (2).txt";
        assert_eq!(
            paths(&metainfo),
            [
                "dir/README",
                "dir/a_b.txt",
                numbered,
                readme,
                "dir/l",
                "dir/k"
            ],
            "{rules:?}"
        );
        for (link, target) in [(4, readme), (5, numbered)] {
            let target = PathBuf::from(target);
            let kind = FileKind::Symlink { target };
            assert_eq!(
                metainfo.files[link].kind, kind,
                "{rules:?}: follows the name"
            );
        }
    }
}

#[test]
fn links_may_lead_anywhere_inside() {
    #[rustfmt::skip]
    let table: &[(&str, &[&str], &str)] = &[
        ("a file",               &["d", "a"],           "dir/d/a"),
        ("a directory",          &["d"],                "dir/d"),
        ("its own directory",    &["v"],                "dir/v"),
        ("the torrent",          &[],                   "dir"),
        ("another link",         &["k"],                "dir/k"),
        ("itself",               &["v", "l"],           "dir/v/l"),
        ("behind a link",        &["k", "a"],           "dir/k/a"),
        ("nothing",              &["gone"],             "dir/gone"),
        ("padding",              &["pad"],              "dir/pad"),
        ("up and down",          &["v", "..", ".", "d", "", "a"], "dir/d/a"),
        ("up to the torrent",    &["v", ".."],          "dir"),
        ("through what is not",  &["gone", "..", "d"],  "dir/d"),
        ("an untidy name",       &["\x1b", "b\\c"],     "dir/_/b_c"),
    ];
    for (name, target, want) in table {
        let files = [
            file(1, &["d", "a"]),
            link(&["k"], &["d"]),
            entry("4:attr1:p6:lengthi1e", &["pad"]),
            link(&["v", "l"], target),
        ];
        let bytes = multi(&files.concat(), 2);
        for rules in [Rules::STRICT, Rules::LENIENT] {
            let metainfo = Metainfo::decode_by(&bytes, rules).expect(name);
            let target = PathBuf::from(want);
            let last = metainfo.files.last().unwrap();
            assert_eq!(last.kind, FileKind::Symlink { target }, "{name}");
            assert_eq!((last.length, last.offset), (0, 2), "{name}");
        }
    }
    // Two links that lead to each other.
    let circle = link(&["k"], &["l"]) + &link(&["l"], &["k"]) + &file(1, &["a"]);
    assert!(Metainfo::decode(&multi(&circle, 1)).is_ok());
}

#[test]
fn a_link_without_a_target_is_an_empty_file() {
    for fields in [
        "4:attr1:l",
        "4:attr1:l12:symlink path1:a",
        "4:attr1:l12:symlink pathli1ee",
    ] {
        let files = file(1, &["a"]) + &entry(fields, &["l"]);
        let metainfo = Metainfo::decode(&multi(&files, 1)).expect(fields);
        let kind = FileKind::Regular { executable: false };
        assert_eq!(
            (&metainfo.files[1].kind, metainfo.files[1].length),
            (&kind, 0)
        );
    }
}

/// A torrent of empty files of these paths below `name`, and what is read of it.
fn made_of(
    name: &str,
    files: &[&[&str]],
    rules: Rules,
) -> (Create, Result<Metainfo, MetainfoError>) {
    let files = files.iter().map(|path| CreateFile {
        path: path.iter().map(|&part| part.to_owned()).collect(),
        ..CreateFile::default()
    });
    let create = Create {
        name: name.to_owned(),
        files: files.collect(),
        piece_length: 16_384,
        ..Create::default()
    };
    let metainfo = Metainfo::decode_by(&create.encode(&[]), rules);
    (create, metainfo)
}

#[test]
fn a_tree_finds_itself_again_where_it_was_made() {
    let files: &[&[&str]] = &[
        &["AUX"],
        &["C:"],
        &["Makefile"],
        &["NUL.txt"],
        &["com1", "trailing. "],
        &["makefile"],
        &["etc...", "x"],
        &["größe", "☃"],
    ];
    let (create, lenient) = made_of("con", files, Rules::LENIENT);
    let lenient = lenient.unwrap();
    assert_eq!(create.renamed(&lenient), []);
    assert_eq!(lenient.name, "con");
    assert_eq!(lenient.files[5].path, PathBuf::from("con/makefile"));
    assert!(made_of("con", files, Rules::STRICT).1.is_err(), "a drive");

    let (one, read) = made_of("aux.", &[&[]], Rules::LENIENT);
    assert_eq!(one.renamed(&read.unwrap()), []);
}

#[test]
fn what_is_renamed_is_told() {
    let pairs = |pairs: &[(&str, &str)]| -> Vec<_> {
        let own = |&(a, b): &(&str, &str)| (a.to_owned(), b.to_owned());
        pairs.iter().map(own).collect()
    };
    let files: &[&[&str]] = &[&["README"], &["a\tb"], &["b\\c"], &["nul"], &["readme"]];
    let everywhere = [("d/a\tb", "d/a_b"), ("d/b\\c", "d/b_c")];
    let (create, read) = made_of("d", files, Rules::LENIENT);
    assert_eq!(create.renamed(&read.unwrap()), pairs(&everywhere));
    let (create, read) = made_of("d", files, Rules::STRICT);
    let more = [("d/nul", "d/_nul"), ("d/readme", "d/readme (2)")];
    assert_eq!(
        create.renamed(&read.unwrap()),
        pairs(&[everywhere, more].concat())
    );
    let (create, read) = made_of("n\x07", &[&[]], Rules::LENIENT);
    assert_eq!(create.renamed(&read.unwrap()), pairs(&[("n\x07", "n_")]));
}

#[test]
fn padding_may_be_called_anything() {
    let pad = entry("4:attr1:p6:lengthi2e", &[".pad", "2"]);
    let hostile = entry("4:attr2:xp6:lengthi1e", &["..", "..", "pad"]);
    let files = [
        file(1, &["a"]),
        pad.clone(),
        file(1, &["b"]),
        pad,
        hostile,
        file(0, &["c"]),
    ];
    let metainfo = Metainfo::decode(&multi(&files.concat(), 7)).unwrap();
    assert_eq!(metainfo.total_size(), 2);
    assert_eq!(metainfo.geometry.total(), 7);
    let kinds: Vec<_> = metainfo
        .files
        .iter()
        .map(|file| file.kind == FileKind::Pad)
        .collect();
    assert_eq!(kinds, [false, true, false, true, true, false]);
    assert!(
        metainfo
            .files
            .iter()
            .all(|file| file.path.starts_with("dir"))
    );
    assert_eq!(metainfo.files[4].path, PathBuf::from("dir/.pad/4"));
    assert_eq!(metainfo.files[5].offset, 7);
}

#[test]
fn a_hybrid_torrent_is_read_by_its_first_version() {
    let info = "d9:file treede6:lengthi1e12:meta versioni2e4:name1:a12:piece lengthi16384e6:pieces20:xxxxxxxxxxxxxxxxxxxxe";
    assert!(Metainfo::decode(&torrent(info)).is_ok());
}

#[test]
fn a_torrent_without_bytes_has_no_pieces() {
    let metainfo = Metainfo::decode(&multi(&file(0, &["empty"]), 0)).unwrap();
    assert_eq!(
        (metainfo.geometry.piece_count(), metainfo.files.len()),
        (0, 1)
    );
}

#[test]
fn piece_lengths_give_about_1500_pieces() {
    #[rustfmt::skip]
    let table: &[(u64, u32)] = &[
        (0, 16 << 10), (1, 16 << 10), (1500 * (16 << 10), 16 << 10), (1 << 30, 512 << 10),
        (4 << 30, 2 << 20), (100 << 30, 16 << 20), (u64::MAX, 16 << 20),
    ];
    for &(total, want) in table {
        assert_eq!(choose_piece_length(total), want, "{total}");
    }
    for total in (40_000_000..20_000_000_000_u64).step_by(123_456_789) {
        let count = total.div_ceil(choose_piece_length(total).into());
        assert!((1060..=2121).contains(&count), "{total}: {count}");
    }
}

#[test]
fn whatever_is_damaged_nothing_leaves_the_root() {
    let seed = 47;
    let mut rng = Rng::new(seed);
    let files = [
        file(1, &["a", "b"]),
        link(&["l"], &["a", "b"]),
        file(2, &["c.txt"]),
    ]
    .concat();
    let whole = multi(&files, 3);
    let spice = b"0123456789:ields./\\\x00\xff";
    let mut read = 0;
    for round in 0..50_000 {
        let mut bytes = whole.clone();
        for _ in 0..=rng.index(3) {
            let at = rng.index(bytes.len());
            bytes[at] = spice[rng.index(spice.len())];
        }
        let rules = [Rules::STRICT, Rules::LENIENT][round % 2];
        let Ok(metainfo) = Metainfo::decode_by(&bytes, rules) else {
            continue;
        };
        read += 1;
        for file in &metainfo.files {
            let normal =
                |part: std::path::Component<'_>| matches!(part, std::path::Component::Normal(_));
            let target = match &file.kind {
                FileKind::Symlink { target } => target,
                _ => &file.path,
            };
            for path in [&file.path, target] {
                let is_inside = path.components().all(normal) && path.starts_with(&metainfo.name);
                assert!(is_inside, "seed {seed}, round {round}: {path:?}");
            }
        }
    }
    assert!(read > 1000, "the damage should not always be fatal: {read}");
}

#[test]
fn items_are_written_sorted() {
    let item = Item::dict([
        ("b", Item::Integer(1)),
        ("a", Item::Integer(2)),
        ("b", Item::Integer(3)),
    ]);
    assert_eq!(item.encode(), b"d1:ai2e1:bi1ee");
}
