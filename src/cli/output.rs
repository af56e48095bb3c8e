//! The one writer behind everything both binaries print. A reader that goes away (`| head`) is an
//! [`OutputError::Closed`], which ends the program quietly, never a panic.

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
    /// Colours on a terminal only, and not with `NO_COLOR` (no-color.org) or a dumb terminal.
    pub fn detect() -> Self {
        let terminal = io::stdout().is_terminal();
        let size = terminal_size::terminal_size().filter(|_| terminal);
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let columns = std::env::var("COLUMNS")
            .ok()
            .and_then(|columns| columns.parse().ok());
        Screen {
            paint: if terminal && !no_color && !dumb {
                Paint::Colour
            } else {
                Paint::Plain
            },
            width: size.map(|(width, _)| usize::from(width.0)).or(columns),
            height: size.filter(|_| !dumb).map(|(_, height)| usize::from(height.0)),
        }
    }
}

pub struct Output {
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    pub screen: Screen,
}

impl Output {
    pub fn stdio() -> Self {
        let out = Box::new(BufWriter::new(io::stdout()));
        Output::new(out, Box::new(io::stderr()), Screen::detect())
    }

    pub fn new(out: Box<dyn Write + Send>, err: Box<dyn Write + Send>, screen: Screen) -> Self {
        Output { out, err, screen }
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

    /// Replaces what the terminal shows; elsewhere the lines simply follow.
    pub fn redraw(&mut self, lines: &[String]) -> Result<(), OutputError> {
        if self.screen.height.is_none() {
            return self.lines(lines.iter().map(String::as_str).chain([""]));
        }
        let screen: String = lines.join("\u{1b}[K\n");
        self.text(&format!("\u{1b}[H{screen}\u{1b}[K\u{1b}[J"))
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
    fn a_closed_pipe_has_its_own_error() {
        let mut output = Output::new(Box::new(Gone), Box::new(Gone), Screen::default());
        assert!(matches!(output.line("x"), Err(OutputError::Closed)));
        output.note("nobody hears this");
    }
}
