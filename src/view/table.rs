//! Columns that fit a width: text is measured and cut first, painted last.

use unicode_width::UnicodeWidthStr;

use super::paint::{Paint, Tone};

/// Blanks between two columns.
const GAP: usize = 3;
/// Names keep at least this many characters, however narrow the screen.
const MIN_NAME: usize = 20;
/// Columns between the first and the last are left alone up to this: ages, weights, most names.
const MIN_MIDDLE: usize = 16;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    pub text: String,
    pub tone: Tone,
}

impl Cell {
    pub fn new(text: impl Into<String>) -> Self {
        Cell::toned(text, Tone::Plain)
    }

    pub fn toned(text: impl Into<String>, tone: Tone) -> Self {
        Cell {
            text: without_controls(&text.into()),
            tone,
        }
    }
}

/// Lines of aligned columns. When they do not fit in `width`, the last column is cut at its end, and then long columns
/// before it in their middle, where generated names differ least: the first one, then the widest ones between.
pub fn render(rows: &[Vec<Cell>], width: Option<usize>, paint: Paint) -> Vec<String> {
    let widths = fit(natural_widths(rows), width);
    rows.iter().map(|row| render_row(row, &widths, paint)).collect()
}

fn natural_widths(rows: &[Vec<Cell>]) -> Vec<usize> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width_of = |column| {
        rows.iter()
            .filter_map(move |row| row.get(column))
            .map(|cell: &Cell| length(&cell.text))
    };
    (0..columns)
        .map(|column| width_of(column).max().unwrap_or(0))
        .collect()
}

fn fit(mut widths: Vec<usize>, limit: Option<usize>) -> Vec<usize> {
    let Some(limit) = limit else { return widths };
    let total = widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1);
    let mut excess = total.saturating_sub(limit);
    if let [first, middle @ .., last] = widths.as_mut_slice() {
        shrink(last, MIN_NAME, &mut excess);
        shrink(first, MIN_NAME, &mut excess);
        while let Some(widest) = middle
            .iter_mut()
            .max()
            .filter(|width| excess > 0 && **width > MIN_MIDDLE)
        {
            *widest -= 1;
            excess -= 1;
        }
        shrink(last, 0, &mut excess);
    }
    widths
}

/// Takes as much of the excess as `width` has above `least`.
fn shrink(width: &mut usize, least: usize, excess: &mut usize) {
    let taken = (*excess).min(width.saturating_sub(least));
    *width -= taken;
    *excess -= taken;
}

fn render_row(row: &[Cell], widths: &[usize], paint: Paint) -> String {
    let mut line = String::new();
    let mut pending = 0;
    for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
        let text = match column + 1 == widths.len() {
            false => cut_middle(&cell.text, *width),
            true => cut_end(&cell.text, *width),
        };
        if !text.is_empty() {
            line.push_str(&" ".repeat(pending));
            line.push_str(&paint.apply(cell.tone, &text));
            pending = 0;
        }
        pending += width.saturating_sub(length(&text)) + GAP;
    }
    line
}

/// The columns that it takes on a terminal.
pub fn length(text: &str) -> usize {
    text.width()
}

/// People and servers write reasons and messages; what would move the cursor or start an escape code is a blank here.
pub fn without_controls(text: &str) -> String {
    let visible = |character: char| if character.is_control() { ' ' } else { character };
    text.chars().map(visible).collect()
}

/// At most `width` columns; what was cut shows as `…`.
pub fn cut_end(text: &str, width: usize) -> String {
    match length(text) <= width {
        true => text.to_owned(),
        false if width == 0 => String::new(),
        false => format!("{}…", beginning(text, width - 1)),
    }
}

fn cut_middle(text: &str, width: usize) -> String {
    if length(text) <= width || width < 3 {
        return cut_end(text, width);
    }
    let tail = (width - 1) / 3;
    format!("{}…{}", beginning(text, width - 1 - tail), ending(text, tail))
}

/// As much as fits. A character may change the width of the one before it, as a variation selector does, so that the
/// whole is what is measured.
fn beginning(text: &str, width: usize) -> String {
    let mut fitting = String::new();
    for character in text.chars() {
        fitting.push(character);
        if length(&fitting) > width {
            fitting.pop();
            break;
        }
    }
    fitting
}

fn ending(text: &str, width: usize) -> &str {
    let mut endings = text.char_indices().filter_map(|(from, _)| text.get(from..));
    endings.find(|ending| length(ending) <= width).unwrap_or_default()
}

/// Breaks at blanks so that no line is longer than `width`; a single longer word is cut.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in without_controls(text).split_whitespace() {
        match lines.last_mut() {
            Some(line) if length(line) + 1 + length(word) <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(cut_end(word, width)),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(texts: &[&str]) -> Vec<Cell> {
        texts.iter().map(|text| Cell::new(*text)).collect()
    }

    #[test]
    fn cuts_the_last_column_before_the_name() {
        let long = "a".repeat(30);
        let rows = [
            cells(&["NAME", "AGE", "INFO"]),
            cells(&["checkout-67f9", "5m", &long]),
        ];
        assert_eq!(
            render(&rows, Some(42), Paint::Plain),
            [
                "NAME            AGE   INFO",
                &format!("checkout-67f9   5m    {}…", "a".repeat(19))
            ]
        );
        let name = "checkout-with-a-rather-long-name-abcde";
        let lines = render(&[cells(&[name, "5m", &long])], Some(48), Paint::Plain);
        assert_eq!(
            lines,
            ["checkout-with…-abcde   5m   aaaaaaaaaaaaaaaaaaa…"].map(str::to_owned)
        );
        assert!(lines.iter().all(|line| length(line) <= 48));
    }

    #[test]
    fn leaves_no_trailing_blanks() {
        let rows = [cells(&["NAME", "INFO"]), cells(&["checkout", ""])];
        assert_eq!(render(&rows, None, Paint::Plain), ["NAME       INFO", "checkout"]);
    }

    #[test]
    fn wide_characters_take_two_columns() {
        assert_eq!(length("支払い✔"), 7);
        assert_eq!(cut_end("支払いの確認", 6), "支払…");
        assert_eq!(cut_middle("支払いの確認", 8), "支払…認");
        assert_eq!(wrap("支払い 確認", 9), ["支払い", "確認"]);
        let rows = [cells(&["NAME", "INFO"]), cells(&["支払い", "x"])];
        assert_eq!(render(&rows, None, Paint::Plain), ["NAME     INFO", "支払い   x"]);
    }

    #[test]
    fn a_character_that_widens_the_one_before_it_is_measured_with_it() {
        let warning = "\u{26a0}\u{fe0f}";
        assert_eq!(length(warning), 2);
        for text in [
            warning.repeat(9),
            format!("⚠{}", warning.repeat(8)),
            format!("a{}", warning.repeat(8)),
        ] {
            for width in 0..18 {
                for cut in [cut_end(&text, width), cut_middle(&text, width)] {
                    assert!(length(&cut) <= width, "{cut} at {width}");
                }
                let rows = [cells(&["NAME", &text, "INFO"]), cells(&[&text, "a", &text])];
                let lines = render(&rows, Some(width), Paint::Plain);
                assert_eq!(lines.len(), 2);
            }
        }
    }

    #[test]
    fn a_long_name_between_leaves_room_for_the_last_column() {
        let rows = [
            cells(&["REVISION", "BY", "AGE", "WHY"]),
            cells(&[
                "3",
                "system:serviceaccount:argocd:argocd-server",
                "5m",
                "the reason that was given for it",
            ]),
        ];
        assert_eq!(
            render(&rows, Some(60), Paint::Plain),
            [
                "REVISION   BY                     AGE   WHY",
                "3          system:servic…server   5m    the reason that was…",
            ]
        );
    }

    #[test]
    fn nobody_moves_the_cursor_of_another() {
        let rows = [cells(&["a\nb", "\u{1b}[2Jc\u{9b}d"])];
        assert_eq!(render(&rows, None, Paint::Plain), ["a b    [2Jc d"]);
        assert_eq!(wrap("a\u{1b}[2J\r\nb", 80), ["a [2J b"]);
    }

    #[test]
    fn wraps_at_blanks() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("unbreakable", 5), ["unbr…"]);
    }
}
