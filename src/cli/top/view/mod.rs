//! The screen: a summary and rates, the actor's line, the table, the pane, a line for keys and words. Only rows that are
//! seen are made into text, so that ten thousand torrents cost no more than fifty.

mod pane;
mod table;
#[cfg(test)]
mod tests;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph, RenderDirection, Sparkline};

use super::keys::{Mode, Screen};
use super::model::{Column, Link, Model};
use crate::cli::units;

/// Below this nothing can be read: a smaller terminal is told so.
const COLUMNS_MIN: u16 = 40;
/// As [`COLUMNS_MIN`].
const ROWS_MIN: u16 = 10;

/// Rows from which rates get graphs of more than a line.
const TALL: u16 = 36;

/// Draws `screen`, and tells its model how many rows were seen.
pub(super) fn draw(frame: &mut Frame<'_>, screen: &mut Screen) {
    let area = frame.area();
    if area.width < COLUMNS_MIN || area.height < ROWS_MIN {
        let text = format!("needs {COLUMNS_MIN}x{ROWS_MIN}");
        return frame.render_widget(Paragraph::new(text), area);
    }
    let graph = if area.height >= TALL { 3 } else { 1 };
    // The table is never less than four rows; the pane has what a torrent needs, and no more than half.
    let pane = match screen.model.pane() {
        Some(_) => (area.height * 2 / 5).clamp(6, 20),
        None => 0,
    };
    let parts = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(graph),
        Constraint::Length(graph),
        Constraint::Length(1),
        Constraint::Min(4),
        Constraint::Length(pane.min(area.height.saturating_sub(7 + 2 * graph))),
        Constraint::Length(1),
    ]);
    let [summary, down, up, actor, rows, pane, bottom] = parts.areas(area);
    screen
        .model
        .resize(usize::from(rows.height.saturating_sub(1)));
    let model = &screen.model;
    draw_summary(frame, summary, model);
    let history = model.history();
    let (downs, ups) = (history.down.iter(), history.up.iter());
    draw_rate(frame, down, "down", downs.copied(), Color::Green);
    draw_rate(frame, up, "up", ups.copied(), Color::Cyan);
    draw_actor(frame, actor, model);
    table::draw(frame, rows, model);
    if pane.height > 0 {
        pane::draw(frame, pane, &mut screen.model);
    }
    draw_bottom(frame, bottom, screen);
    if screen.mode == Mode::Help {
        draw_help(frame, area);
    }
}

/// States as they are counted, those first that a person looks for.
const STATES: [&str; 8] = [
    "error",
    "downloading",
    "metadata",
    "checking",
    "seeding",
    "queued",
    "stopped",
    "paused",
];

/// What a state looks like.
fn style_of(state: &str) -> Style {
    match state {
        "error" => Style::new().fg(Color::Red),
        "downloading" => Style::new().fg(Color::Green),
        "seeding" => Style::new().fg(Color::Cyan),
        "checking" | "metadata" => Style::new().fg(Color::Yellow),
        _ => Style::new().add_modifier(Modifier::DIM),
    }
}

fn draw_summary(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let states = model.states();
    let counted = units::counted(model.torrent_count() as u64, "torrent");
    let mut line = Line::from(vec![Span::raw("linnet ").bold(), Span::raw(counted)]);
    let known = STATES
        .iter()
        .filter_map(|state| Some((*state, *states.get(state)?)));
    let others = states
        .iter()
        .filter(|(state, _)| !STATES.contains(state))
        .map(|(state, count)| (*state, *count));
    for (state, count) in known.chain(others) {
        line.push_span(Span::raw(", "));
        line.push_span(Span::styled(format!("{count} {state}"), style_of(state)));
    }
    frame.render_widget(line, area);
    let (sort, reversed) = model.sort();
    let mut right = vec![Span::raw(format!(
        " by {}{}",
        table::word(sort),
        if reversed { ", reversed" } else { "" }
    ))];
    if !model.filter().is_empty() {
        let text = format!(
            ", {} with \"{}\"",
            model.row_count(),
            table::fit(model.filter(), 20)
        );
        right.push(Span::raw(text).yellow());
    }
    right.push(Span::raw(format!(
        "  {}/{}",
        model.row_number(),
        model.row_count()
    )));
    let right = Line::from(right).right_aligned();
    // Where there is no room for both, the counts are what gives way.
    let width = u16::try_from(right.width())
        .unwrap_or(u16::MAX)
        .min(area.width);
    let place = Rect {
        x: area.right() - width,
        width,
        ..area
    };
    frame.render_widget(Clear, place);
    frame.render_widget(right, place);
}

/// A rate with what it was: the newest at the right, the highest that is seen named.
fn draw_rate(
    frame: &mut Frame<'_>,
    area: Rect,
    title: &str,
    rates: impl Iterator<Item = u64>,
    colour: Color,
) {
    let [words, graph] =
        Layout::horizontal([Constraint::Length(32), Constraint::Min(0)]).areas(area);
    let seen: Vec<u64> = rates.take(usize::from(graph.width)).collect();
    let now = units::rate(seen.first().copied().unwrap_or(0));
    let most = seen.iter().copied().max().unwrap_or(0);
    let most_text = format!("(most {})", units::rate(most).trim_end_matches(" MiB/s"));
    let line = Line::from(vec![
        Span::raw(format!("{title:<5}")),
        Span::styled(format!("{now:>11}"), Style::new().fg(colour).bold()),
        Span::raw(format!(" {most_text}")).dim(),
    ]);
    frame.render_widget(line, words);
    let graphs = Sparkline::default()
        .data(seen)
        .max(most.max(1))
        .direction(RenderDirection::RightToLeft)
        .style(Style::new().fg(colour));
    frame.render_widget(graphs, graph);
}

/// "35 µs", "12 ms", "1.2 s".
fn micros(micros: u64) -> String {
    match micros {
        0..10_000 => format!("{micros} µs"),
        10_000..10_000_000 => format!("{} ms", micros / 1000),
        _ => format!("{} s", micros / 1_000_000),
    }
}

fn draw_actor(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let Some((figures, pace)) = model.figures() else {
        return;
    };
    let mut parts = vec![
        Span::raw(format!("queue {} (most {})", figures.queued, figures.peak)),
        Span::raw(format!(
            "turn {}, p99 {}, most {}",
            micros(pace.turn),
            micros(figures.turn_p99),
            micros(figures.turn_max)
        )),
        Span::raw(format!("{} msg/s", pace.messages)),
    ];
    if figures.drops > 0 {
        parts.push(Span::raw(format!("{} dropped", figures.drops)).red());
    }
    parts.extend([
        Span::raw(units::size(figures.memory)),
        Span::raw(units::counted(figures.links, "link")),
        Span::raw(format!("wait {}", micros(figures.wait_ns / 1000))),
    ]);
    let mut line = Line::from(Span::raw("actor").bold());
    for (at, part) in parts.into_iter().enumerate() {
        // A part stands whole or not at all.
        if line.width() + 3 + part.width() > usize::from(area.width) {
            break;
        }
        line.push_span(Span::raw(if at == 0 { " " } else { " · " }).dim());
        line.push_span(part);
    }
    frame.render_widget(line, area);
}

fn draw_bottom(frame: &mut Frame<'_>, area: Rect, screen: &Screen) {
    let alarm = Style::new().fg(Color::White).bg(Color::Red).bold();
    let line = match (&screen.mode, &screen.model.link, &screen.notice) {
        (Mode::Filter { .. }, _, _) => Line::from(vec![
            Span::raw("filter: ").bold(),
            Span::raw(screen.model.filter().to_owned()),
            Span::raw("█"),
            Span::raw("   enter keeps it, esc drops it").dim(),
        ]),
        (Mode::Remove { name, delete, .. }, _, _) => {
            let (what, style) = if *delete {
                (" AND DELETE ITS FILES?", alarm)
            } else {
                ("? its files stay.", Style::new().fg(Color::Yellow).bold())
            };
            let answer = "  y: yes, any other key: no";
            let room = usize::from(area.width).saturating_sub(7 + what.len() + answer.len());
            let name = table::fit(name, room.max(8));
            Line::from(vec![
                Span::styled(format!("remove {name}{what}"), style),
                Span::raw(answer),
            ])
        }
        (_, Link::Down(text), _) => Line::styled(
            format!("{text}: waiting for it to come back (q quits)"),
            alarm,
        ),
        (_, Link::Slow(text), _) => Line::styled(text.clone(), alarm),
        (_, _, Some(notice)) if notice.is_fault => Line::styled(notice.text.clone(), alarm),
        (_, _, Some(notice)) => Line::raw(table::fit(&notice.text, usize::from(area.width))),
        _ => hints(),
    };
    frame.render_widget(line, area);
}

fn hints() -> Line<'static> {
    let hints = [
        ("q", "quit"),
        ("?", "help"),
        ("enter", "detail"),
        ("/", "filter"),
        ("s", "sort"),
        ("p", "pause"),
        ("r", "resume"),
        ("d", "remove"),
    ];
    let spans = hints
        .into_iter()
        .flat_map(|(key, does)| [Span::raw(key).bold(), Span::raw(format!(" {does}  ")).dim()]);
    Line::from_iter(spans)
}

/// Keys and what they do.
const HELP: &[(&str, &str)] = &[
    ("up down k j", "choose a torrent"),
    ("page up/down, space", "a page further"),
    ("home end g G", "the first, the last"),
    ("enter", "open or close the pane of the chosen one"),
    ("tab  left right", "peers, trackers, files"),
    ("[  ]", "scroll the pane"),
    ("p  r", "pause, resume"),
    ("d  D", "remove it; remove it with its files (asks)"),
    ("s  S", "sort by the next column; turn the order round"),
    ("/  esc", "filter by name; show all again"),
    ("q  ctrl-c", "quit"),
    ("ctrl-z", "suspend"),
];

fn draw_help(frame: &mut Frame<'_>, area: Rect) {
    let lines = HELP.iter().map(|(keys, does)| {
        Line::from(vec![
            Span::raw(format!(" {keys:<20} ")).bold(),
            Span::raw(*does),
        ])
    });
    let height = u16::try_from(HELP.len() + 2).unwrap_or(u16::MAX);
    let place = area.centered(
        Constraint::Max(70.min(area.width)),
        Constraint::Max(height.min(area.height)),
    );
    // A wide letter just left of it would reach into it.
    let cleared = Rect {
        x: place.x.saturating_sub(1),
        width: place.width + place.x.min(1),
        ..place
    };
    frame.render_widget(Clear, cleared);
    let block = Block::bordered().title(" keys (any key closes) ");
    let text = Paragraph::new(ratatui::text::Text::from_iter(lines)).block(block);
    frame.render_widget(text, place);
}

/// Whether a column's texts stand to the right.
const fn is_number(column: Column) -> bool {
    !matches!(column, Column::Name | Column::State)
}
