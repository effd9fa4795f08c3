//! The pane of the chosen torrent: why it does what it does, and its peers, trackers or files.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Block, Borders, Paragraph, Row, Table, Wrap};

use super::super::model::{Detail, FileRow, Model, PeerRow, Tab, Torrent, TrackerRow};
use super::table::{fit, mib, percent};
use crate::cli::units;

const fn title(tab: Tab) -> &'static str {
    match tab {
        Tab::Peers => "peers",
        Tab::Trackers => "trackers",
        Tab::Files => "files",
    }
}

/// Draws it, and bounds how far it is scrolled.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &mut Model) {
    let mut titles = Line::default();
    for tab in Tab::ALL {
        let text = Span::raw(format!(" {} ", title(tab)));
        titles.push_span(if model.pane() == Some(tab) {
            text.bold().reversed()
        } else {
            text.dim()
        });
    }
    let name = model.chosen().map_or("", |torrent| &torrent.name);
    let room = usize::from(area.width).saturating_sub(titles.width() + 6);
    let block = Block::new()
        .borders(Borders::TOP)
        .title(format!(" {} ", fit(name, room)))
        .title(titles.right_aligned());
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let Some(torrent) = model.chosen() else {
        return;
    };
    let Some(detail) = model.detail() else {
        return frame.render_widget(Line::raw("...").dim(), inner);
    };
    let [head, list] = Layout::vertical([
        Constraint::Length(head_height(torrent, detail, inner)),
        Constraint::Min(0),
    ])
    .areas(inner);
    frame.render_widget(
        Paragraph::new(words(torrent, detail)).wrap(Wrap { trim: true }),
        head,
    );
    let rows = usize::from(list.height.saturating_sub(1));
    let count = match detail.tab {
        Tab::Peers => detail.peers.len(),
        Tab::Trackers => detail.trackers.len(),
        Tab::Files => detail.files.len(),
    };
    let first = model.pane_first.min(count.saturating_sub(rows));
    draw_list(frame, list, detail, first, rows);
    model.pane_first = first;
}

/// What is said of it above the list.
fn words(torrent: &Torrent, detail: &Detail) -> Text<'static> {
    let mut lines = vec![Line::from(vec![
        Span::raw("why    ").dim(),
        Span::raw(detail.why.clone()),
    ])];
    if !torrent.error.is_empty() && torrent.error != detail.why {
        lines.push(Line::from(vec![
            Span::raw("error  ").dim(),
            Span::raw(torrent.error.clone()).red(),
        ]));
    }
    let mut place = vec![Span::raw("in     ").dim(), Span::raw(detail.place.clone())];
    if !detail.labels.is_empty() {
        place.push(Span::raw(format!("  [{}]", detail.labels.join(", "))).dim());
    }
    lines.push(Line::from(place));
    Text::from(lines)
}

/// As many lines as the words take, but at most half of the pane.
fn head_height(torrent: &Torrent, detail: &Detail, area: Rect) -> u16 {
    let width = usize::from(area.width.max(1));
    let lines = words(torrent, detail).lines;
    let rows: usize = lines.iter().map(|line| line.width().div_ceil(width)).sum();
    let rows = u16::try_from(rows).unwrap_or(u16::MAX);
    rows.min((area.height / 2).max(1))
}

fn draw_list(frame: &mut Frame<'_>, area: Rect, detail: &Detail, first: usize, count: usize) {
    let number = Constraint::Length(8);
    // What is left beside the other columns and the gaps between them.
    let left = |others: u16| usize::from(area.width.saturating_sub(others));
    let (head, rows, widths): (Vec<&str>, Vec<Row<'_>>, Vec<Constraint>) = match detail.tab {
        Tab::Peers => {
            let room = left(22 + 8 + 8 + 8 + 6 + 5);
            let row = |peer: &PeerRow| {
                Row::new([
                    fit(&peer.address, 22),
                    right(percent(peer.done), 8),
                    right(mib(peer.down), 8),
                    right(mib(peer.up), 8),
                    peer.flags.clone(),
                    fit(&peer.client, room),
                ])
            };
            (
                vec![
                    "address", "    done", "    down", "      up", "flags", "client",
                ],
                detail
                    .peers
                    .iter()
                    .skip(first)
                    .take(count)
                    .map(row)
                    .collect(),
                vec![
                    Constraint::Length(22),
                    number,
                    number,
                    number,
                    Constraint::Length(6),
                    Constraint::Min(8),
                ],
            )
        }
        Tab::Trackers => {
            let room = left(4 + 28 + 8 + 8 + 8 + 5);
            let some = |count: Option<i64>| count.map_or("?".to_owned(), |count| count.to_string());
            let row = |tracker: &TrackerRow| {
                Row::new([
                    tracker.tier.to_string(),
                    fit(&tracker.host, 28),
                    tracker.state.to_owned(),
                    right(some(tracker.seeders), 8),
                    right(some(tracker.leechers), 8),
                    fit(&tracker.result, room),
                ])
            };
            (
                vec![
                    "tier",
                    "tracker",
                    "state",
                    "   seeds",
                    " leeches",
                    "last answer",
                ],
                detail
                    .trackers
                    .iter()
                    .skip(first)
                    .take(count)
                    .map(row)
                    .collect(),
                vec![
                    Constraint::Length(4),
                    Constraint::Length(28),
                    number,
                    number,
                    number,
                    Constraint::Min(8),
                ],
            )
        }
        Tab::Files => {
            let room = left(8 + 4 + 9 + 3);
            let row = |file: &FileRow| {
                let row = Row::new([
                    right(percent_of(file.have, file.length), 8),
                    if file.wanted { "yes" } else { "no" }.to_owned(),
                    right(units::size(file.length), 9),
                    fit(&file.name, room),
                ]);
                if file.wanted { row } else { row.dim() }
            };
            (
                vec!["    done", "get", "     size", "name"],
                detail
                    .files
                    .iter()
                    .skip(first)
                    .take(count)
                    .map(row)
                    .collect(),
                vec![
                    number,
                    Constraint::Length(4),
                    Constraint::Length(9),
                    Constraint::Min(8),
                ],
            )
        }
    };
    let is_empty = rows.is_empty();
    let table = Table::new(rows, widths)
        .header(Row::new(head).style(Style::new().fg(Color::DarkGray)))
        .column_spacing(1);
    frame.render_widget(table, area);
    if is_empty && area.height > 1 {
        let text = format!("no {}", title(detail.tab));
        let place = Rect {
            y: area.y + 1,
            height: 1,
            ..area
        };
        frame.render_widget(Line::raw(text).dim(), place);
    }
}

fn right(text: String, width: usize) -> String {
    format!("{text:>width$}")
}

#[allow(clippy::cast_precision_loss, reason = "a share for people")]
fn percent_of(have: u64, length: u64) -> String {
    percent(if length == 0 {
        1.0
    } else {
        have as f64 / length as f64
    })
}
