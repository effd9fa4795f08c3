//! Tables for people: columns as wide as what is in them, numbers to the right.

use crate::cli::console::printable;

/// On which side a column's texts stand.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
}

/// A table in the making.
pub(super) struct Table {
    columns: Vec<(&'static str, Side)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(columns: &[(&'static str, Side)]) -> Self {
        Self {
            columns: columns.to_vec(),
            rows: Vec::new(),
        }
    }

    /// A row, a text for each column. Names are strangers' texts: made harmless here.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells = cells.into_iter().map(|cell| printable(&cell));
        self.rows.push(cells.collect());
    }

    /// One line a row, under a line of titles.
    pub(super) fn lines(&self) -> Vec<String> {
        let width = |at: usize| {
            let title = self.columns[at].0.chars().count();
            let cells = self.rows.iter().filter_map(|row| row.get(at));
            cells
                .map(|cell| cell.chars().count())
                .fold(title, usize::max)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let line = |cells: &[String]| {
            let mut line = String::new();
            for ((cell, width), (_, side)) in cells.iter().zip(&widths).zip(&self.columns) {
                let gap = " ".repeat(width - cell.chars().count());
                match side {
                    Side::Left => line.extend([cell.as_str(), &gap, "  "]),
                    Side::Right => line.extend([&gap, cell.as_str(), "  "]),
                }
            }
            line.trim_end().to_owned()
        };
        let titles: Vec<String> = self
            .columns
            .iter()
            .map(|(title, _)| (*title).to_owned())
            .collect();
        std::iter::once(line(&titles))
            .chain(self.rows.iter().map(|row| line(row)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        let mut table = Table::new(&[
            ("#", Side::Right),
            ("name", Side::Left),
            ("size", Side::Right),
        ]);
        table.row(["1".to_owned(), "größe\u{1b}".to_owned(), "5 B".to_owned()]);
        table.row(["12".to_owned(), "x".to_owned(), "100 B".to_owned()]);
        assert_eq!(
            table.lines(),
            [
                " #  name     size",
                " 1  größe\u{fffd}    5 B",
                "12  x       100 B"
            ]
        );
    }
}
