//! Nodes that "run" pods: each pod is the demo application on a loopback address of its own. Like real applications it
//! stops at once when it is told to, dropping what is in flight, unless a preStop sleep keeps it serving.
//!
//! [`Nodes::sync_pod`] is a step function over the API with the time as an argument; [`run`] is the live loop around
//! it. What a pod is on this machine is a [`PodRuntime`]: sockets ([`app::Sockets`]) or, in a simulation, nothing at
//! all ([`NoSockets`]).

pub mod app;
mod node;

pub use node::{Nodes, cannot_start, run};

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use super::resource::Key;
use app::Settings;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot {verb} Pod {key}")]
    Api {
        verb: &'static str,
        key: Key,
        source: Box<kube::Error>,
    },
    #[error(
        "cannot run Pod {key} at {address}; {}",
        advise(.address, .source)
    )]
    Start {
        key: Key,
        address: SocketAddr,
        source: io::Error,
    },
}

/// Linux has every address of `127.0.0.0/8`, macOS only those it was given.
fn advise(address: &SocketAddr, source: &io::Error) -> String {
    match source.kind() {
        io::ErrorKind::AddrNotAvailable => format!(
            "this machine lacks the address; on macOS give it one for every pod: sudo ifconfig lo0 alias {}",
            address.ip()
        ),
        _ => "choose another containerPort if this one is taken on this machine".to_owned(),
    }
}

/// What a running pod is on this machine.
pub trait PodRuntime: Send {
    /// Starts serving; an address that is in use is tried with another one.
    fn start(&mut self, pod: &Key, settings: &Settings, address: SocketAddr) -> io::Result<()>;
    /// Stops accepting and drops what is in flight; of no effect on a pod that does not run.
    fn stop(&mut self, pod: &Key);
}

/// Pods that are ready and terminate without serving anything.
#[derive(Debug, Default)]
pub struct NoSockets;

impl PodRuntime for NoSockets {
    fn start(&mut self, _: &Key, _: &Settings, _: SocketAddr) -> io::Result<()> {
        Ok(())
    }

    fn stop(&mut self, _: &Key) {}
}

/// Hands out pod addresses, each one once, upward from the first.
#[derive(Clone, Debug)]
pub struct Addresses {
    next: u32,
}

impl Addresses {
    /// The pods of a sandbox on one machine: `127.1.0.1` and on, well away from `127.0.0.1`.
    pub fn loopback() -> Self {
        Addresses::starting_at(Ipv4Addr::new(127, 1, 0, 1))
    }

    pub fn starting_at(first: Ipv4Addr) -> Self {
        Addresses {
            next: first.to_bits(),
        }
    }

    pub fn allocate(&mut self) -> Ipv4Addr {
        let address = Ipv4Addr::from_bits(self.next);
        self.next = self.next.wrapping_add(1);
        // Not the network or broadcast address of anyone's /24.
        if matches!(address.octets(), [.., 0 | 255]) {
            self.allocate()
        } else {
            address
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_the_machine_lacks_is_told_from_a_port_that_is_taken() {
        for (kind, advice) in [
            (
                io::ErrorKind::AddrNotAvailable,
                "sudo ifconfig lo0 alias 127.1.0.1",
            ),
            (io::ErrorKind::AddrInUse, "choose another containerPort"),
        ] {
            let error = Error::Start {
                key: Key::new("shop", "a"),
                address: "127.1.0.1:8080".parse().unwrap(),
                source: kind.into(),
            };
            assert!(error.to_string().contains(advice), "{error}");
        }
    }
}
