//! The conformance of the sandbox: the same conversations are held with the sandbox's API server and with a real
//! control plane, and must read the same, but for the differences that `docs/sandbox.md` lists. `make e2e` runs it.
//!
//! Arguments are parts of behaviours' titles; none means all.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test a panic is a failure"
)]

mod behaviour;
#[allow(dead_code, reason = "the end-to-end tests use the rest")]
#[path = "../e2e/control_plane.rs"]
mod control_plane;
mod difference;
#[path = "../e2e/network.rs"]
mod network;
mod object;
#[allow(dead_code, reason = "the end-to-end tests use the rest")]
#[path = "../e2e/process.rs"]
mod process;
mod server;
#[allow(dead_code, reason = "the validation tests use the rest")]
#[path = "../validation/table.rs"]
mod table;
mod talk;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use futures::{StreamExt, stream};
use serde_json::json;
use tidegate::clock::Stopwatch;

use behaviour::Behaviour;
use difference::Differences;
use server::Server;
use talk::Talk;

const AT_A_TIME: usize = 8;

fn main() -> ExitCode {
    network::run_inside(run())
}

struct Servers {
    sandbox: Server,
    real: Server,
}

async fn run() -> ExitCode {
    let chosen: Vec<String> = std::env::args().skip(1).collect();
    let is_chosen = |behaviour: &Behaviour| {
        let title = behaviour.title();
        chosen.is_empty() || chosen.iter().any(|part| title.contains(part))
    };
    let choose = |all: Vec<Behaviour>| -> Vec<Behaviour> { all.into_iter().filter(is_chosen).collect() };
    let directory = process::log_folder("conformance");
    let binaries = std::env::var_os("TIDEGATE_CONTROL_PLANE")
        .expect("TIDEGATE_CONTROL_PLANE is not set: run `make e2e`");
    let binaries = PathBuf::from(binaries);
    let stopwatch = Stopwatch::start();
    let servers = Arc::new(Servers {
        sandbox: Server::start_sandbox(&binaries, &directory).await,
        real: Server::start_real(&binaries, &directory).await,
    });
    println!(
        "both servers are up after {:.1} s",
        stopwatch.elapsed().as_secs_f64()
    );
    let mut found = play(&servers, choose(behaviour::all()), AT_A_TIME).await;
    found.extend(play(&servers, choose(behaviour::last()), 1).await);
    found.sort_by(|one, other| one.title.cmp(&other.title));
    let verdict = Differences::listed().judge(&found, chosen.is_empty());
    println!("{verdict}, {:.0} s", stopwatch.elapsed().as_secs_f64());
    match verdict.failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// What the two servers said.
pub struct Found {
    pub title: String,
    pub sandbox: Vec<String>,
    pub real: Vec<String>,
}

async fn play(servers: &Arc<Servers>, behaviours: Vec<Behaviour>, at_a_time: usize) -> Vec<Found> {
    let compare = |behaviour: Behaviour| async move {
        Found {
            title: behaviour.title(),
            sandbox: converse(servers, |both| &both.sandbox, &behaviour).await,
            real: converse(servers, |both| &both.real, &behaviour).await,
        }
    };
    stream::iter(behaviours)
        .map(compare)
        .buffer_unordered(at_a_time)
        .collect()
        .await
}

async fn converse(servers: &Arc<Servers>, of: fn(&Servers) -> &Server, behaviour: &Behaviour) -> Vec<String> {
    let (servers, namespace, play) = (Arc::clone(servers), behaviour.namespace(), behaviour.play);
    // A task of its own, so that its panic ends nothing else.
    let held = tokio::spawn(async move {
        let mut talk = Talk {
            server: of(&servers),
            namespace: namespace.clone(),
            transcript: Vec::new(),
        };
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        talk.given("/api/v1/namespaces", &object).await;
        play(&mut talk).await;
        talk.transcript
    });
    held.await
        .unwrap_or_else(|error| vec![format!("PANICKED: {error}")])
}
