//! The one writer behind everything both binaries print. A reader that goes away (`| head`) is an
//! [`OutputError::Closed`], which ends the program quietly, never a panic.

use std::ffi::OsStr;
use std::io::{self, BufWriter, IsTerminal, Write};

use serde::Serialize;
use thiserror::Error;

use crate::view::paint::Paint;

#[derive(Debug, Error)]
pub enum OutputError {
    #[error("the reader of the output went away")]
    Closed,
    #[error("cannot write the output")]
    Io(#[source] io::Error),
    #[error("cannot format the output")]
    Json(#[from] serde_json::Error),
    #[error("cannot format the output")]
    Yaml(#[from] serde_saphyr::SerializeError),
}

impl From<io::Error> for OutputError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => OutputError::Closed,
            _ => OutputError::Io(error),
        }
    }
}

/// What is known about the place where the output ends up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Screen {
    pub paint: Paint,
    /// Columns, where the output ends in a terminal or `COLUMNS` says so.
    pub width: Option<usize>,
    /// Rows, only of a terminal: without it nothing is redrawn in place.
    pub height: Option<usize>,
}

impl Screen {
    pub fn detect() -> Self {
        let terminal = io::stdout().is_terminal();
        let size = terminal_size::terminal_size().filter(|_| terminal);
        let (no_color, term) = (std::env::var_os("NO_COLOR"), std::env::var_os("TERM"));
        let columns = std::env::var("COLUMNS")
            .ok()
            .and_then(|columns| columns.parse().ok());
        Screen {
            paint: choose_paint(terminal, no_color.as_deref(), term.as_deref()),
            width: size.map(|(width, _)| usize::from(width.0)).or(columns),
            height: size
                .filter(|_| !is_dumb(term.as_deref()))
                .map(|(_, height)| usize::from(height.0)),
        }
    }
}

/// Colours on a terminal only, and not with `NO_COLOR` (no-color.org) or a dumb terminal.
fn choose_paint(terminal: bool, no_color: Option<&OsStr>, term: Option<&OsStr>) -> Paint {
    let unwanted = no_color.is_some_and(|value| !value.is_empty());
    match terminal && !unwanted && !is_dumb(term) {
        true => Paint::Colour,
        false => Paint::Plain,
    }
}

fn is_dumb(term: Option<&OsStr>) -> bool {
    term.is_some_and(|term| term == "dumb")
}

pub struct Output {
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    pub screen: Screen,
    /// Whether the screen is that of the process.
    measures: bool,
}

impl Output {
    pub fn stdio() -> Self {
        let out = Box::new(BufWriter::new(io::stdout()));
        Output {
            measures: true,
            ..Output::new(out, Box::new(io::stderr()), Screen::detect())
        }
    }

    pub fn new(out: Box<dyn Write + Send>, err: Box<dyn Write + Send>, screen: Screen) -> Self {
        Output {
            out,
            err,
            screen,
            measures: false,
        }
    }

    /// A line on standard output, visible at once.
    pub fn line(&mut self, text: impl AsRef<str>) -> Result<(), OutputError> {
        writeln!(self.out, "{}", text.as_ref())?;
        Ok(self.out.flush()?)
    }

    pub fn lines<S: AsRef<str>>(&mut self, lines: impl IntoIterator<Item = S>) -> Result<(), OutputError> {
        for line in lines {
            writeln!(self.out, "{}", line.as_ref())?;
        }
        Ok(self.out.flush()?)
    }

    /// Text with its own line ends, as it is.
    pub fn text(&mut self, text: &str) -> Result<(), OutputError> {
        self.out.write_all(text.as_bytes())?;
        Ok(self.out.flush()?)
    }

    /// A line on standard error. Nobody can be told when that fails.
    pub fn note(&mut self, text: impl AsRef<str>) {
        let _ = writeln!(self.err, "{}", text.as_ref());
        let _ = self.err.flush();
    }

    /// As wide and high as the terminal is now: its window may have been resized.
    pub fn measure(&mut self) {
        if self.measures {
            self.screen = Screen::detect();
        }
    }

    /// Replaces what the terminal shows; elsewhere the lines simply follow.
    pub fn redraw(&mut self, lines: &[String]) -> Result<(), OutputError> {
        if self.screen.height.is_none() {
            return self.lines(lines.iter().map(String::as_str).chain([""]));
        }
        // Each line is cleared before it is written: behind one that fills its width the cursor still stands on the last
        // character, which would go.
        let screen = lines.join("\n\u{1b}[K");
        self.text(&format!("\u{1b}[H\u{1b}[K{screen}"))?;
        let below = self.screen.height.is_some_and(|height| lines.len() < height);
        self.text(if below { "\n\u{1b}[J" } else { "" })
    }

    pub fn json(&mut self, value: &impl Serialize) -> Result<(), OutputError> {
        let text = serde_json::to_string_pretty(value)?;
        self.line(text)
    }

    pub fn yaml(&mut self, value: &impl Serialize) -> Result<(), OutputError> {
        let text = serde_saphyr::to_string(value)?;
        self.text(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Gone;

    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn colours_need_a_terminal_that_can_and_a_user_who_wants_them() {
        for (terminal, no_color, term, paint) in [
            (true, None, Some("xterm-256color"), Paint::Colour),
            (true, None, None, Paint::Colour),
            (true, Some(""), Some("xterm"), Paint::Colour),
            (true, Some("1"), Some("xterm"), Paint::Plain),
            (true, Some("0"), None, Paint::Plain),
            (true, None, Some("dumb"), Paint::Plain),
            (false, None, Some("xterm"), Paint::Plain),
            (false, Some("1"), Some("dumb"), Paint::Plain),
        ] {
            let chosen = choose_paint(terminal, no_color.map(OsStr::new), term.map(OsStr::new));
            assert_eq!(chosen, paint, "{terminal} {no_color:?} {term:?}");
        }
    }

    #[test]
    fn a_closed_pipe_has_its_own_error() {
        let mut output = Output::new(Box::new(Gone), Box::new(Gone), Screen::default());
        assert!(matches!(output.line("x"), Err(OutputError::Closed)));
        output.note("nobody hears this");
    }
}
