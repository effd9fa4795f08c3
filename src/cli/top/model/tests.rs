//! The model, by what a person would notice: where the choice is, what is in the rows, which rates stand.

use super::*;

pub(in crate::cli::top) fn torrent(id: u32, name: &str, down: u64) -> Torrent {
    Torrent {
        id,
        hash: format!("{id:040x}"),
        name: name.to_owned(),
        folded: name.to_lowercase(),
        state: if down > 0 { "downloading" } else { "paused" }.to_owned(),
        size: u64::from(id) * 1000,
        down,
        eta: if down > 0 { 10 } else { -1 },
        ..Torrent::default()
    }
}

fn model(torrents: Vec<Torrent>) -> Model {
    let mut model = Model::new(None);
    model.resize(4);
    model.merge(Torrents::All(torrents));
    model
}

fn recent(changed: Vec<Torrent>, removed: Vec<u32>) -> Torrents {
    Torrents::Recent {
        changed,
        removed,
        asked: Vec::new(),
    }
}

fn chosen(model: &Model) -> Option<u32> {
    model.chosen().map(|torrent| torrent.id)
}

fn seen(model: &Model) -> Vec<u32> {
    model.visible().map(|(torrent, _)| torrent.id).collect()
}

#[test]
fn the_choice_stays_with_its_torrent_however_rows_move() {
    let mut model = model(vec![
        torrent(1, "Bee", 0),
        torrent(2, "ant", 0),
        torrent(3, "cow", 0),
    ]);
    assert_eq!((seen(&model), chosen(&model)), (vec![2, 1, 3], Some(2)));
    model.go(Step::Down);
    assert_eq!(chosen(&model), Some(1));
    // Another comes before it, and the order is turned round: it is still the one.
    model.merge(recent(vec![torrent(4, "aardvark", 0)], vec![]));
    assert_eq!((model.row_number(), chosen(&model)), (3, Some(1)));
    model.sort_reverse();
    assert_eq!((seen(&model), chosen(&model)), (vec![3, 1, 2, 4], Some(1)));
    // Only who is at the top is shown what comes to the top when another order is asked for.
    model.go(Step::First);
    model.sort_reverse();
    assert_eq!(chosen(&model), Some(4));
    model.go(Step::Last);
    model.go(Step::Up);
    assert_eq!(chosen(&model), Some(1));
    // It is gone: the choice goes to the one that took its row; from the last row, to the new last one.
    model.merge(recent(vec![], vec![1]));
    assert_eq!(chosen(&model), Some(3));
    model.go(Step::Last);
    model.merge(recent(vec![], vec![3]));
    assert_eq!(chosen(&model), Some(2));
    model.merge(Torrents::All(Vec::new()));
    assert_eq!((chosen(&model), model.row_number()), (None, 0));
    for step in [Step::Up, Step::Down, Step::PageDown, Step::Last] {
        model.go(step);
        assert_eq!(chosen(&model), None);
    }
}

#[test]
fn a_torrent_that_is_not_recent_has_no_rate_and_one_that_was_asked_for_is_as_told() {
    let mut model = model(vec![torrent(1, "a", 5), torrent(2, "b", 7)]);
    model.sample();
    model.merge(recent(vec![torrent(2, "b", 3)], vec![]));
    model.sample();
    let rates: Vec<u64> = model.visible().map(|(torrent, _)| torrent.down).collect();
    assert_eq!(rates, [0, 3]);
    assert_eq!(model.history().down, [3, 12], "the newest first");
    let mut asked = torrent(1, "a", 0);
    asked.peers = 4;
    model.merge(Torrents::Recent {
        changed: vec![],
        removed: vec![],
        asked: vec![asked],
    });
    assert_eq!(model.chosen().map(|torrent| torrent.peers), Some(4));
}

#[test]
fn the_filter_looks_in_names_in_either_case() {
    let mut model = model(vec![
        torrent(1, "Debian ISO", 0),
        torrent(2, "ÜBER", 0),
        torrent(3, "iso", 0),
    ]);
    model.set_filter("Iso".to_owned());
    assert_eq!(seen(&model), [1, 3]);
    model.set_filter("üb".to_owned());
    assert_eq!((seen(&model), chosen(&model)), (vec![2], Some(2)));
    model.set_filter("nothing".to_owned());
    assert_eq!((seen(&model), chosen(&model)), (vec![], None));
    model.set_filter(String::new());
    assert_eq!(model.row_count(), 3);
}

#[test]
fn every_column_sorts_and_equal_ones_stand_by_number() {
    let mut a = torrent(1, "a", 10);
    let mut b = torrent(2, "b", 0);
    let c = torrent(3, "c", 0);
    (a.up, a.ratio, a.peers, a.done) = (1, 0.5, 2, 0.1);
    (b.up, b.ratio, b.peers, b.done) = (9, -1.0, 7, 1.0);
    let mut model = model(vec![c, b, a]);
    #[rustfmt::skip]
    let table: [(Column, [u32; 3]); 9] = [
        (Column::Name,  [1, 2, 3]),
        (Column::State, [1, 2, 3]),
        (Column::Size,  [3, 2, 1]),
        (Column::Done,  [2, 1, 3]),
        (Column::Down,  [1, 2, 3]),
        (Column::Up,    [2, 1, 3]),
        (Column::Ratio, [1, 3, 2]),
        (Column::Eta,   [1, 2, 3]),
        (Column::Peers, [2, 1, 3]),
    ];
    for (column, want) in table {
        assert_eq!(model.sort().0, column);
        assert_eq!(seen(&model), want, "{column:?}");
        model.sort_next();
    }
    assert_eq!(model.sort(), (Column::Name, false), "round and round");
}

#[test]
fn the_choice_is_always_on_the_screen_and_the_screen_is_full() {
    let count = 10_000;
    let all = (0..count).map(|id| torrent(id, &format!("t{id:05}"), u64::from(id % 7)));
    let mut model = model(all.collect());
    let mut rng = crate::rng::Rng::new(7);
    let steps = [
        Step::Up,
        Step::Down,
        Step::PageUp,
        Step::PageDown,
        Step::First,
        Step::Last,
    ];
    for turn in 0..2000_u32 {
        match rng.below(8) {
            0 => model.resize(usize::try_from(rng.below(60)).unwrap()),
            1 if turn % 50 == 0 => model.sort_next(),
            _ => model.go(steps[usize::try_from(rng.below(6)).unwrap()]),
        }
        let height = model.height;
        let rows: Vec<bool> = model.visible().map(|(_, is_chosen)| is_chosen).collect();
        assert_eq!(rows.len(), height, "turn {turn}");
        let marked = rows.iter().filter(|is_chosen| **is_chosen).count();
        assert_eq!(marked, height.min(1), "turn {turn}");
    }
}

#[test]
fn what_comes_too_late_is_not_shown() {
    let mut model = model(vec![torrent(1, "a", 0), torrent(2, "b", 0)]);
    let detail = |id, tab| Detail {
        id,
        tab,
        why: "because".to_owned(),
        place: String::new(),
        labels: Vec::new(),
        peers: Vec::new(),
        trackers: Vec::new(),
        files: Vec::new(),
    };
    model.detailed(detail(1, Tab::Peers));
    assert!(model.detail().is_none(), "the pane is closed");
    model.set_pane(Some(Tab::Peers));
    model.detailed(detail(2, Tab::Peers));
    model.detailed(detail(1, Tab::Files));
    assert!(model.detail().is_none(), "another's");
    model.detailed(detail(1, Tab::Peers));
    assert!(model.detail().is_some());
    model.go(Step::Down);
    assert!(model.detail().is_none(), "not of what is chosen now");
}

#[test]
fn the_pace_is_what_happened_between_two_looks() {
    let mut model = Model::new(None);
    let at = |time, processed, turn_sum, turn_count| Figures {
        time,
        processed,
        turn_sum,
        turn_count,
        ..Figures::default()
    };
    model.measure(at(1000, 100, 500, 10));
    model.measure(at(3000, 300, 800, 20));
    let pace = model.figures().map(|(_, pace)| pace);
    let want = Pace {
        messages: 100,
        turn: 30,
    };
    assert_eq!(pace, Some(want));
    // The daemon was started anew.
    model.measure(at(3000, 1, 0, 0));
    assert_eq!(model.figures().map(|(_, pace)| pace), Some(Pace::default()));
}
