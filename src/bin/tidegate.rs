//! `tidegate`.

use std::process::ExitCode;

/// Gives back what a busy minute took, and is quick with musl too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tidegate::cli::daemon::main()
}
