//! Scripted lives of one Rollout. The sequence of writes is a golden text where the order is the point; elsewhere
//! the end is asserted.

mod abort;
mod analysis;
mod command;
mod data_plane;
mod fault;
mod held;
mod history;
mod lost;
mod measured;
mod promotion;
mod release;
mod rerouted;
mod scale;
pub mod trouble;
mod unrouted;
mod writes;

use tidegate::api::rollout_status::Phase;

use crate::cluster::Cluster;

/// Whether this one of many alike is looked at: every `stride`-th, or all with `TIDEGATE_FULL=1`.
pub fn is_sampled(index: usize, stride: usize) -> bool {
    index.is_multiple_of(stride) || std::env::var_os("TIDEGATE_FULL").is_some()
}

/// What an abort would go back to.
pub fn assert_stable(cluster: &Cluster, version: &str) {
    let stable = cluster.status().stable_rs;
    assert_eq!(
        stable,
        Some(crate::fixture::hash(version)),
        "{}",
        cluster.explain()
    );
}

/// Healthy at `version`, with everything in place for five pods.
pub fn assert_released(cluster: &Cluster, version: &str) {
    assert_eq!(cluster.phase(), Phase::Healthy, "{}", cluster.what_happened());
    assert_eq!(cluster.status().stable_rs, Some(crate::fixture::hash(version)));
    assert_eq!(
        (cluster.weight(), cluster.pods(version)),
        (0, 5),
        "{}",
        cluster.what_happened()
    );
    for other in crate::fixture::VERSIONS
        .into_iter()
        .filter(|other| *other != version)
    {
        assert_eq!(cluster.pods(other), 0, "{other}\n{}", cluster.what_happened());
    }
    if cluster.status().canary.weights.is_some() {
        assert_eq!(cluster.selected("checkout-stable"), version);
        assert_eq!(cluster.selected("checkout-canary"), version);
    }
}

/// Aborted, with all traffic on `version`.
pub fn assert_turned_back(cluster: &Cluster, version: &str) {
    assert_eq!(cluster.phase(), Phase::Degraded, "{}", cluster.what_happened());
    assert!(cluster.status().abort);
    assert_eq!(
        (cluster.weight(), cluster.pods(version)),
        (0, 5),
        "{}",
        cluster.what_happened()
    );
    if cluster.status().canary.weights.is_some() {
        assert_eq!(cluster.selected("checkout-stable"), version);
        assert_eq!(cluster.selected("checkout-canary"), version);
    }
}

/// `v1` everywhere, at rest.
pub fn deployed(mut cluster: Cluster) -> Cluster {
    cluster.run();
    assert_released(&cluster, "v1");
    cluster.log.clear();
    cluster
}
