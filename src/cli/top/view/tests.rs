//! The view, drawn on a page of text.

use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::super::keys::Notice;
use super::super::model::tests::torrent;
use super::super::model::{Detail, Figures, FileRow, PeerRow, Tab, Torrents, TrackerRow};
use super::*;

/// The lines of a terminal of this size.
fn drawn(screen: &mut Screen, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, screen)).unwrap();
    let buffer = terminal.backend().buffer();
    let cells: Vec<&str> = buffer.content().iter().map(|cell| cell.symbol()).collect();
    cells
        .chunks(usize::from(width))
        .map(|line| line.concat().trim_end().to_owned())
        .collect()
}

fn screen(count: u32, pane: Option<Tab>) -> Screen {
    let mut model = Model::new(pane);
    model.resize(10);
    let all = (1..=count).map(|id| torrent(id, &format!("torrent {id:05}"), 0));
    model.merge(Torrents::All(all.collect()));
    Screen::new(model)
}

fn detail(tab: Tab) -> Detail {
    Detail {
        id: 1,
        tab,
        why: "every peer that has what is missing makes us wait (choked)".to_owned(),
        place: "/srv/downloads".to_owned(),
        labels: vec!["tv".to_owned()],
        peers: vec![PeerRow {
            address: "192.0.2.7:51413".to_owned(),
            client: "Swift 1.0".to_owned(),
            flags: "DuI".to_owned(),
            done: 0.5,
            down: 3 << 20,
            up: 0,
        }],
        trackers: vec![TrackerRow {
            tier: 0,
            host: "tracker.example:80".to_owned(),
            state: "waiting",
            result: "Success".to_owned(),
            seeders: Some(12),
            leechers: None,
        }],
        files: (0..30)
            .map(|at| FileRow {
                name: format!("show/{at}.mkv"),
                length: 1000,
                have: 500,
                wanted: at != 1,
            })
            .collect(),
    }
}

#[test]
fn a_screen_of_80_by_24_says_what_matters() {
    let mut screen = screen(200, None);
    let mut busy = torrent(201, "a busy one", 3 << 20);
    (busy.done, busy.peers, busy.size) = (0.426, 17, 5 << 30);
    screen.model.merge(Torrents::Recent {
        changed: vec![busy],
        removed: vec![],
        asked: vec![],
    });
    screen.model.sample();
    screen.model.measure(Figures {
        queued: 3,
        peak: 12,
        turn_p99: 400,
        turn_max: 12_000,
        memory: 30 << 20,
        ..Figures::default()
    });
    let lines = drawn(&mut screen, 80, 24);
    assert_eq!(
        lines[0],
        "linnet 201 torrents, 1 downloading, 200 paused                    by name  2/201"
    );
    assert!(
        lines[1].starts_with("down   3.0 MiB/s (most 3.0)"),
        "{}",
        lines[1]
    );
    assert!(lines[1].ends_with('█'), "{}", lines[1]);
    assert_eq!(
        lines[3],
        "actor queue 3 (most 12) · turn 0 µs, p99 400 µs, most 12 ms · 0 msg/s · 30.0 MiB"
    );
    assert!(lines[4].starts_with("name"), "{}", lines[4]);
    let row: Vec<&str> = lines[5].split_whitespace().collect();
    #[rustfmt::skip]
    assert_eq!(row, ["a", "busy", "one", "downloading", "5.0", "GiB", "42.6%", "3.00", "10s", "17"], "{}", lines[5]);
    assert_eq!(lines[6].split_whitespace().nth(1), Some("00001"));
    assert!(lines[22].starts_with("torrent 00017"), "{}", lines[22]);
    assert!(lines[23].starts_with("q quit"), "{}", lines[23]);
    assert!(lines[23].ends_with("d remove"), "{}", lines[23]);
}

#[test]
fn the_pane_shows_why_and_a_list() {
    #[rustfmt::skip]
    let table = [
        (Tab::Peers,    vec!["192.0.2.7:51413", "50.0%", "3.00", "DuI", "Swift", "1.0"]),
        (Tab::Trackers, vec!["0", "tracker.example:80", "waiting", "12", "?", "Success"]),
        (Tab::Files,    vec!["50.0%", "yes", "1000", "B", "show/0.mkv"]),
    ];
    for (tab, want) in table {
        let mut screen = screen(5, Some(tab));
        screen.model.detailed(detail(tab));
        let lines = drawn(&mut screen, 80, 24);
        let at = lines.iter().position(|line| line.starts_with("why"));
        let at = at.unwrap_or_else(|| panic!("{lines:#?}"));
        assert!(
            lines[at].ends_with("makes us wait (choked)"),
            "{}",
            lines[at]
        );
        assert_eq!(lines[at + 1], "in     /srv/downloads  [tv]");
        let row: Vec<&str> = lines[at + 3].split_whitespace().collect();
        assert_eq!(row, want, "{tab:?}");
    }
}

#[test]
fn a_list_scrolls_no_further_than_its_end() {
    let mut screen = screen(5, Some(Tab::Files));
    screen.model.detailed(detail(Tab::Files));
    screen.model.pane_first = 1000;
    let lines = drawn(&mut screen, 80, 24);
    assert!(lines[22].ends_with("show/29.mkv"), "{lines:#?}");
    assert!(screen.model.pane_first < 30);
}

#[test]
fn names_that_are_wide_or_long_move_no_column() {
    let mut screen = screen(0, None);
    let names = [
        "plain",
        "大熊猫纪录片第一季完整版高清中文字幕大熊猫纪录片",
        "A.Very.Long.Name.Of.A.Show.That.Goes.On.S01E01.mkv",
        "שלום עולם",
        "e\u{301}e\u{301}e\u{301} combining",
    ];
    let all = (1..).zip(names).map(|(id, name)| torrent(id, name, 0));
    screen.model.merge(Torrents::All(all.collect()));
    let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
    terminal.draw(|frame| draw(frame, &mut screen)).unwrap();
    let buffer = terminal.backend().buffer();
    let at = (0..80).find(|x| {
        (*x..80)
            .take(5)
            .map(|x| buffer[(x, 4)].symbol())
            .collect::<String>()
            == "state"
    });
    let at = at.unwrap();
    for y in 5..10 {
        let state: String = (at..at + 6).map(|x| buffer[(x, y)].symbol()).collect();
        assert_eq!(state, "paused", "row {y}");
    }
}

#[test]
fn every_size_is_drawn_with_everything_open() {
    for width in [1, 10, 39, 40, 61, 80, 133, 250] {
        for height in [1, 5, 9, 10, 11, 24, 36, 60] {
            for mode in [
                Mode::Browse,
                Mode::Help,
                Mode::Filter {
                    before: String::new(),
                },
                Mode::Remove {
                    hash: String::new(),
                    name: "大".repeat(300),
                    delete: true,
                },
            ] {
                for tab in [
                    None,
                    Some(Tab::Peers),
                    Some(Tab::Trackers),
                    Some(Tab::Files),
                ] {
                    let mut screen = screen(300, tab);
                    screen.mode = mode.clone();
                    if let Some(tab) = tab {
                        screen.model.detailed(detail(tab));
                    }
                    let lines = drawn(&mut screen, width, height);
                    assert_eq!(lines.len(), usize::from(height));
                }
            }
        }
    }
}

#[test]
fn an_empty_table_says_what_to_do() {
    let lines = drawn(&mut screen(0, None), 80, 24);
    assert!(lines[6].contains("linnet add SOURCE"), "{lines:#?}");
    let mut screen = screen(3, None);
    screen.model.set_filter("nothing".to_owned());
    let lines = drawn(&mut screen, 80, 24);
    assert!(lines[6].contains("esc shows all"), "{lines:#?}");
}

#[test]
fn the_bottom_line_asks_tells_and_warns() {
    let mut screen = screen(1, None);
    let last = |screen: &mut Screen| drawn(screen, 100, 24).pop().unwrap();
    screen.notice = Some(Notice {
        text: "torrent 00001: paused".to_owned(),
        is_fault: false,
    });
    assert_eq!(last(&mut screen), "torrent 00001: paused");
    screen.model.link = Link::Down("no daemon answers at http://h/".to_owned());
    assert_eq!(
        last(&mut screen),
        "no daemon answers at http://h/: waiting for it to come back (q quits)"
    );
    screen.mode = Mode::Remove {
        hash: String::new(),
        name: "this".to_owned(),
        delete: true,
    };
    assert_eq!(
        last(&mut screen),
        "remove this AND DELETE ITS FILES?  y: yes, any other key: no"
    );
}
