//! How many questions are under way at once, so that a backend that hangs holds up those who asked it and
//! nobody else: it can take neither all places of a namespace nor all places of the controller.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

const GLOBAL: usize = 64;
/// Of [`GLOBAL`], for one address.
const PER_ADDRESS: usize = 32;
const PER_NAMESPACE: usize = 4;
/// Of [`PER_NAMESPACE`], for one address.
const PER_NAMESPACE_AND_ADDRESS: usize = 2;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Share {
    NamespaceAndAddress(String, String),
    Namespace(String),
    Address(String),
}

impl Share {
    fn size(&self) -> usize {
        match self {
            Share::NamespaceAndAddress(..) => PER_NAMESPACE_AND_ADDRESS,
            Share::Namespace(_) => PER_NAMESPACE,
            Share::Address(_) => PER_ADDRESS,
        }
    }
}

/// Places for questions; shares that nobody uses take no memory.
#[derive(Debug)]
pub struct Limits {
    global: Arc<Semaphore>,
    shares: Mutex<BTreeMap<Share, Arc<Semaphore>>>,
}

/// A place; given back when dropped.
#[derive(Debug)]
pub struct Permit {
    _places: Vec<OwnedSemaphorePermit>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            global: Arc::new(Semaphore::new(GLOBAL)),
            shares: Mutex::default(),
        }
    }
}

impl Limits {
    /// Waits for a place. From narrow to wide, so that whoever waits holds only what its like would use.
    pub async fn acquire(&self, namespace: &str, address: &str) -> Permit {
        let shares = [
            self.share(Share::NamespaceAndAddress(
                namespace.to_owned(),
                address.to_owned(),
            )),
            self.share(Share::Namespace(namespace.to_owned())),
            self.share(Share::Address(address.to_owned())),
            Arc::clone(&self.global),
        ];
        let mut places = Vec::with_capacity(shares.len());
        for share in shares {
            // Fails only for a closed semaphore, and nobody closes these.
            places.extend(share.acquire_owned().await.ok());
        }
        Permit { _places: places }
    }

    fn share(&self, share: Share) -> Arc<Semaphore> {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        shares.retain(|_, semaphore| Arc::strong_count(semaphore) > 1);
        let size = share.size();
        Arc::clone(
            shares
                .entry(share)
                .or_insert_with(|| Arc::new(Semaphore::new(size))),
        )
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    /// As many places as there are at once; `None` is in the list for every one that has to wait.
    fn take(limits: &Limits, namespace: &str, address: &str, wanted: usize) -> Vec<Permit> {
        (0..wanted)
            .filter_map(|_| limits.acquire(namespace, address).now_or_never())
            .collect()
    }

    #[test]
    fn shares_are_as_large_as_they_say() {
        let limits = Limits::default();
        let first = take(&limits, "shop", "http://a", 10);
        let second = take(&limits, "shop", "http://b", 10);
        assert_eq!((first.len(), second.len()), (2, 2));
        assert_eq!(take(&limits, "shop", "http://c", 10).len(), 0);
        drop(first);
        assert_eq!(take(&limits, "shop", "http://c", 10).len(), 2);
    }

    #[test]
    fn a_hanging_backend_leaves_room_for_others() {
        let limits = Limits::default();
        let hanging: Vec<Permit> = (0..60)
            .flat_map(|tenant| take(&limits, &format!("ns-{tenant}"), "http://hangs", 60))
            .collect();
        assert_eq!(hanging.len(), PER_ADDRESS);
        for tenant in 0..16 {
            let healthy = take(&limits, &format!("ns-{tenant}"), "http://answers", 10);
            assert_eq!(healthy.len(), 2, "ns-{tenant}");
        }
    }

    #[test]
    fn the_controller_never_asks_more_than_its_limit() {
        let limits = Limits::default();
        let all: Vec<Permit> = (0..100)
            .flat_map(|n| take(&limits, &format!("ns-{n}"), &format!("http://{n}"), 9))
            .collect();
        assert_eq!(all.len(), GLOBAL);
    }

    #[test]
    fn forgets_shares_that_nobody_uses() {
        let limits = Limits::default();
        for n in 0..1_000 {
            take(&limits, &format!("ns-{n}"), "http://a", 1);
        }
        assert!(limits.shares.lock().unwrap().len() <= 6);
    }
}
