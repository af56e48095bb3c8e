//! A terminal: a pseudo-terminal for the plugin to write to, and what can be seen on it.
//!
//! Of escape codes it knows those that the plugin writes, and fails at any other.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use tidegate::clock::Stopwatch;

const PATIENCE: Duration = Duration::from_secs(20);

pub struct Terminal {
    window: OwnedFd,
    output: Receiver<Vec<u8>>,
    child: Child,
    screen: Screen,
    /// The beginning of a character or of an escape code.
    rest: Vec<u8>,
}

impl Terminal {
    /// Runs `command` with its standard output in a terminal of this size.
    pub fn run(mut command: Command, width: u16, height: u16) -> Self {
        let window = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&window).unwrap();
        unlockpt(&window).unwrap();
        resize(&window, width, height);
        let inside = OsString::from_vec(ptsname(&window, Vec::new()).unwrap().into_bytes());
        let inside = File::options().read(true).write(true).open(inside).unwrap();
        let child = command.stdout(inside).spawn().unwrap();
        let (sender, output) = channel();
        let mut reader = File::from(window.try_clone().unwrap());
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count) = reader.read(&mut buffer) {
                if count == 0 || sender.send(buffer[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Terminal {
            window,
            output,
            child,
            screen: Screen::new(width, height),
            rest: Vec::new(),
        }
    }

    pub fn resize(&mut self, width: u16, height: u16) {
        self.screen = Screen::new(width, height);
        resize(&self.window, width, height);
    }

    /// Waits until this is what is seen, without blanks at the ends of lines.
    pub fn shows(&mut self, expected: &[String]) {
        let stopwatch = Stopwatch::start();
        while self.screen.lines() != expected {
            if let Ok(bytes) = self.output.recv_timeout(Duration::from_millis(100)) {
                self.rest.extend(bytes);
                let read = self.screen.write(&self.rest);
                self.rest.drain(..read);
            }
            assert!(
                stopwatch.elapsed() < PATIENCE,
                "seen:\n{}\nexpected:\n{}",
                self.screen.lines().join("\n"),
                expected.join("\n")
            );
        }
    }

    /// Whether a line was ever too long for the screen, or the screen too short for the lines.
    pub fn has_wrapped_or_scrolled(&self) -> (bool, bool) {
        (self.screen.wrapped, self.screen.scrolled)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn resize(window: &OwnedFd, width: u16, height: u16) {
    let size = Winsize {
        ws_row: height,
        ws_col: width,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(window, size).unwrap();
}

struct Screen {
    width: usize,
    height: usize,
    cells: Vec<Vec<char>>,
    row: usize,
    /// As wide as the screen once the last column is written: the cursor stands on it still.
    column: usize,
    wrapped: bool,
    scrolled: bool,
}

impl Screen {
    fn new(width: u16, height: u16) -> Self {
        let (width, height) = (usize::from(width), usize::from(height));
        Screen {
            width,
            height,
            cells: vec![vec![' '; width]; height],
            row: 0,
            column: 0,
            wrapped: false,
            scrolled: false,
        }
    }

    fn lines(&self) -> Vec<String> {
        let line = |cells: &Vec<char>| cells.iter().collect::<String>().trim_end().to_owned();
        self.cells.iter().map(line).collect()
    }

    /// How many bytes were whole characters and escape codes.
    fn write(&mut self, bytes: &[u8]) -> usize {
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap(),
        };
        let mut left = text;
        while let Some(character) = left.chars().next() {
            let after = &left[character.len_utf8()..];
            left = match character {
                '\u{1b}' => match after.find(|end: char| end.is_ascii_alphabetic()) {
                    None => break,
                    Some(end) => {
                        self.obey(&after[..=end]);
                        &after[end + 1..]
                    }
                },
                '\r' => {
                    self.column = 0;
                    after
                }
                '\n' => {
                    self.feed();
                    after
                }
                visible => {
                    self.put(visible);
                    after
                }
            };
        }
        text.len() - left.len()
    }

    fn obey(&mut self, code: &str) {
        match code {
            "[H" => (self.row, self.column) = (0, 0),
            "[K" => self.clear_line(),
            "[J" => {
                self.clear_line();
                self.cells[self.row + 1..]
                    .iter_mut()
                    .for_each(|line| line.fill(' '));
            }
            colour if colour.starts_with('[') && colour.ends_with('m') => {}
            other => panic!("unknown escape code {other:?}"),
        }
    }

    fn clear_line(&mut self) {
        let column = self.column.min(self.width - 1);
        self.cells[self.row][column..].fill(' ');
    }

    fn feed(&mut self) {
        if self.row + 1 == self.height {
            self.scrolled = true;
            self.cells.remove(0);
            self.cells.push(vec![' '; self.width]);
        } else {
            self.row += 1;
        }
    }

    fn put(&mut self, visible: char) {
        if self.column == self.width {
            self.wrapped = true;
            self.column = 0;
            self.feed();
        }
        self.cells[self.row][self.column] = visible;
        self.column += 1;
    }
}
