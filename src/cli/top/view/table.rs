//! The table of torrents: as many columns as there is room for, the name as wide as what is left.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::{Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row, Table};

use super::super::model::{Column, Model, Torrent};
use super::{is_number, style_of};
use crate::cli::units;

/// A name has at least so many columns; others are left out for it.
const NAME_MIN: u16 = 24;

/// And at most so many: further away, nobody sees which numbers are whose.
const NAME_MAX: u16 = 100;

/// Columns in the order in which they are left out.
const DISPENSABLE: [Column; 6] = [
    Column::Ratio,
    Column::Peers,
    Column::Eta,
    Column::Size,
    Column::Up,
    Column::Down,
];

/// What stands above a column.
pub(super) const fn title(column: Column) -> &'static str {
    match column {
        Column::Name => "name",
        Column::State => "state",
        Column::Size => "size",
        Column::Done => "done",
        Column::Down => "↓ MiB/s",
        Column::Up => "↑ MiB/s",
        Column::Ratio => "ratio",
        Column::Eta => "eta",
        Column::Peers => "peers",
    }
}

/// What a column is called in a sentence.
pub(super) const fn word(column: Column) -> &'static str {
    match column {
        Column::Down => "download rate",
        Column::Up => "upload rate",
        other => title(other),
    }
}

const fn width(column: Column) -> u16 {
    match column {
        Column::Name => NAME_MIN,
        Column::State => 11,
        Column::Size => 8,
        Column::Down | Column::Up => 7,
        Column::Done | Column::Peers => 5,
        Column::Ratio | Column::Eta => 6,
    }
}

/// The columns that there is room for, left to right. The one that is sorted by stays.
fn columns(room: u16, sort: Column) -> Vec<Column> {
    let mut columns = Column::ALL.to_vec();
    for dispensable in DISPENSABLE {
        let needed: u16 = columns.iter().map(|column| width(*column) + 1).sum();
        if needed <= room + 1 {
            break;
        }
        if dispensable != sort {
            columns.retain(|column| *column != dispensable);
        }
    }
    columns
}

/// Draws the rows that the model says are seen.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let (sort, reversed) = model.sort();
    let columns = columns(area.width, sort);
    let others: u16 = columns
        .iter()
        .skip(1)
        .map(|column| width(*column) + 1)
        .sum();
    let room = area.width.saturating_sub(others).min(NAME_MAX);
    let head = columns.iter().map(|column| {
        let mut text = Span::raw(title(*column));
        if *column == sort {
            text = text.underlined().bold();
            if reversed {
                text = text.italic();
            }
        }
        cell(*column, Line::from(text))
    });
    let rows = model.visible().map(|(torrent, is_chosen)| {
        let cells = columns.iter().map(|column| {
            let text = match column {
                Column::Name => fit(&torrent.name, usize::from(room)),
                _ => value(torrent, *column),
            };
            let style = match column {
                Column::State => style_of(&torrent.state),
                Column::Name if !torrent.error.is_empty() => style_of("error"),
                _ => Style::new(),
            };
            cell(*column, Line::styled(text, style))
        });
        let row = Row::new(cells);
        if is_chosen { row.reversed() } else { row }
    });
    let widths = columns.iter().map(|column| match column {
        Column::Name => Constraint::Length(room),
        other => Constraint::Length(width(*other)),
    });
    let table = Table::new(rows, widths)
        .header(Row::new(head).on_dark_gray())
        .column_spacing(1);
    frame.render_widget(table, area);
    if model.row_count() == 0 && area.height > 2 {
        let text = if model.torrent_count() == 0 {
            "no torrents: linnet add SOURCE adds one"
        } else {
            "no name has that in it: esc shows all again"
        };
        let place = Rect {
            y: area.y + 2,
            height: 1,
            ..area
        };
        frame.render_widget(Paragraph::new(text).centered(), place);
    }
}

fn cell(column: Column, line: Line<'_>) -> Cell<'_> {
    Cell::from(if is_number(column) {
        line.right_aligned()
    } else {
        line
    })
}

fn value(torrent: &Torrent, column: Column) -> String {
    match column {
        Column::Name => torrent.name.clone(),
        Column::State => torrent.state.clone(),
        Column::Size => units::size(torrent.size),
        Column::Done => percent(torrent.done),
        Column::Down => mib(torrent.down),
        Column::Up => mib(torrent.up),
        Column::Ratio if torrent.ratio < 0.0 => String::new(),
        Column::Ratio if torrent.ratio < 100.0 => format!("{:.2}", torrent.ratio),
        Column::Ratio => format!("{:.0}", torrent.ratio),
        Column::Eta => u64::try_from(torrent.eta).map_or_else(|_| String::new(), eta),
        Column::Peers if torrent.peers == 0 => String::new(),
        Column::Peers => torrent.peers.to_string(),
    }
}

/// A share of 1; all of it only when it is all, so that 99.97 % does not look done.
pub(super) fn percent(share: f64) -> String {
    if share >= 1.0 {
        "100%".to_owned()
    } else {
        format!("{:.1}%", (share * 1000.0).floor() / 10.0)
    }
}

/// Bytes per second in MiB/s; nothing for none, so that what moves is seen at once.
pub(super) fn mib(rate: u64) -> String {
    let hundredths = (u128::from(rate) * 100 + (1 << 19)) >> 20;
    match hundredths {
        0 if rate == 0 => String::new(),
        0..1000 => format!("{}.{:02}", hundredths / 100, hundredths % 100),
        1000..10_000 => format!("{}.{}", hundredths / 100, hundredths / 10 % 10),
        _ => (hundredths / 100).to_string(),
    }
}

/// "42s", "12m", "3h20m", "5d3h", in six letters.
fn eta(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        86_400..8_640_000 => format!("{}d{}h", seconds / 86_400, seconds / 3600 % 24),
        _ => ">100d".to_owned(),
    }
}

/// `text` in at most `room` columns of the terminal: what is too long loses its middle, because both ends tell names apart.
pub(super) fn fit(text: &str, room: usize) -> String {
    let wide = |text: &str| Span::raw(text).width();
    // A name of thousands of letters is not measured letter by letter twice: a letter takes at most four bytes here.
    if text.len() <= room || wide(text) <= room {
        return text.to_owned();
    }
    let Some(room) = room.checked_sub(1) else {
        return String::new();
    };
    let mut buffer = [0; 4];
    let mut taken = |letters: &mut dyn Iterator<Item = char>, room: usize| {
        let (mut used, mut bytes) = (0, 0);
        for letter in letters {
            let letter = letter.encode_utf8(&mut buffer);
            used += wide(letter);
            if used > room {
                break;
            }
            bytes += letter.len();
        }
        bytes
    };
    let tail = taken(&mut text.chars().rev(), room / 3);
    let tail = &text[text.len() - tail..];
    let head = taken(&mut text.chars(), room - wide(tail));
    format!("{}…{tail}", &text[..head])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_loses_its_middle() {
        #[rustfmt::skip]
        let table = [
            ("short",             10, "short"),
            ("abcdefghijklmnop",  10, "abcdef…nop"),
            ("abcdefghijklmnop",   1, "…"),
            ("abcdefghijklmnop",   0, ""),
            ("größe größe größe", 10, "größe …öße"),
            // Wide letters take two columns, and are not cut in half.
            ("大大大大大大大大",    9, "大大大…大"),
        ];
        for (text, room, want) in table {
            assert_eq!(fit(text, room), want, "{text} in {room}");
            assert!(Span::raw(fit(text, room)).width() <= room);
        }
    }

    #[test]
    fn numbers_are_short() {
        #[rustfmt::skip]
        let rates = [
            (0, ""), (1, "0.00"), (20_000, "0.02"), (1_572_864, "1.50"), (104_857_600, "100"), (u64::MAX, "17592186044416"),
        ];
        for (rate, want) in rates {
            assert_eq!(mib(rate), want);
        }
        assert_eq!(mib(15 << 20), "15.0");
        #[rustfmt::skip]
        let times = [(0, "0s"), (61, "1m01"), (3600, "1h00m"), (90_000, "1d1h"), (u64::MAX, ">100d")];
        for (seconds, want) in times {
            assert_eq!(eta(seconds), want);
        }
        assert_eq!(percent(0.9999), "99.9%");
        assert_eq!(percent(1.0), "100%");
    }

    #[test]
    fn columns_give_way_to_the_name_but_not_the_one_sorted_by() {
        assert_eq!(columns(200, Column::Name), Column::ALL);
        let narrow = columns(60, Column::Ratio);
        assert!(narrow.contains(&Column::Ratio) && narrow.contains(&Column::Done));
        assert!(!narrow.contains(&Column::Peers));
        assert!(!columns(80, Column::Name).contains(&Column::Ratio));
        assert!(columns(80, Column::Name).contains(&Column::Peers));
    }
}
