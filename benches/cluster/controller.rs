//! A controller process of its own, and what it costs: memory and processor time as Linux counts them.

use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Clock ticks a second in /proc, on every Linux there is.
const TICKS_PER_SECOND: u32 = 100;

/// A running `tidegate controller`; dropping it ends it.
pub struct Controller {
    child: Child,
}

/// Resident memory in KiB.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    pub now: u64,
    pub peak: u64,
}

impl Controller {
    pub fn start(program: &Path, arguments: &[String]) -> io::Result<Self> {
        let child = Command::new(program)
            .args(arguments)
            .stdout(Stdio::null())
            .spawn()?;
        Ok(Controller { child })
    }

    pub fn memory(&self) -> io::Result<Memory> {
        let status = self.read("status")?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|rest| rest.split_whitespace().find_map(|word| word.parse().ok()));
            number.ok_or_else(|| io::Error::other("the controller has ended"))
        };
        Ok(Memory {
            now: field("VmRSS")?,
            peak: field("VmHWM")?,
        })
    }

    /// Processor time used so far, in user and kernel mode.
    pub fn processor_time(&self) -> io::Result<Duration> {
        let stat = self.read("stat")?;
        // The name of the program, in parentheses, is the only field that could hold a space.
        let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let ticks = fields.split_whitespace().skip(11).take(2);
        let ticks: u32 = ticks.filter_map(|field| field.parse::<u32>().ok()).sum();
        Ok(Duration::from_secs(1) * ticks / TICKS_PER_SECOND)
    }

    fn read(&self, file: &str) -> io::Result<String> {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id()))
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
