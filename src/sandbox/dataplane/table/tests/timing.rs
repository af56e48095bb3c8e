//! When changes take effect, in which order, and what a reload does to the balancers.

use super::*;

#[test]
fn an_unrelated_reload_every_second_starves_weight_5_at_10_requests_per_second() {
    let mut plane = nginx("5", &[Ready], &[Ready]);
    service(&mut plane, "unrelated");
    let mut canary = 0;
    for request in 0..301 {
        let now = at(request * 100);
        if request % 10 == 0 {
            let state = if request % 20 == 0 { Ready } else { NotReady };
            slice(
                &mut plane,
                request * 100,
                "unrelated",
                &[endpoint("127.9.9.9", "unrelated-0", state)],
            );
        }
        let decision = plane.route(now, HOST, "GET", "/");
        canary += usize::from(matches!(decision, Decision::To { pod, .. } if pod == "canary-0"));
    }
    assert_eq!(canary, 0);
}

#[test]
fn a_change_that_routes_nothing_differently_is_no_reload() {
    let mut plane = nginx("50", &[Ready], &[Ready]);
    let first = plane.route(at(0), HOST, "GET", "/");
    let mut same = ingress("stable", json!({"note": "seen"}));
    same["status"] = json!({"loadBalancer": {}});
    put(&mut plane, 0, Kind::Ingress, "shop", same);
    assert_ne!(
        plane.route(at(0), HOST, "GET", "/"),
        first,
        "the second turn is the other backend's"
    );
}

#[test]
fn a_change_takes_effect_after_its_delay_and_not_before() {
    let mut plane = nginx("0", &[Ready], &[Ready]);
    plane.set_delays(Delays::all(TimeDelta::milliseconds(1800)));
    put(
        &mut plane,
        1000,
        Kind::Ingress,
        "shop-canary",
        canary_ingress("100"),
    );
    assert_eq!(plane.shares(at(2799), HOST, "/").pods["stable-0"], Fraction::ONE);
    assert_eq!(plane.next_change(), Some(at(2800)));
    assert_eq!(plane.shares(at(2800), HOST, "/").pods["canary-0"], Fraction::ONE);
    assert_eq!(plane.next_change(), None);
}

/// Weight 0 first, endpoints emptied after: the slower Ingress makes the second write felt first, and requests are lost.
#[test]
fn order_is_not_kept_across_kinds() {
    let mut plane = gateway(weights(50, 50), &[Ready], &[Ready]);
    assert!(plane.shares(at(0), HOST, "/").lost_total().is_zero());
    let slow = TimeDelta::milliseconds(2000);
    plane.set_delays(Delays {
        http_route: slow,
        ..Delays::all(TimeDelta::zero())
    });
    put(&mut plane, 100, Kind::HttpRoute, "shop", weights(100, 0));
    slice(&mut plane, 200, "canary", &[]);
    assert_eq!(plane.shares(at(300), HOST, "/").lost_total(), percent(50));
    assert!(plane.shares(at(2100), HOST, "/").lost_total().is_zero());
}

#[test]
fn order_is_kept_within_a_kind_even_when_the_delay_shrinks() {
    let mut plane = gateway(weights(100, 0), &[Ready], &[Ready]);
    plane.set_delays(Delays::all(TimeDelta::milliseconds(1000)));
    put(&mut plane, 0, Kind::HttpRoute, "shop", weights(50, 50));
    plane.set_delays(Delays::all(TimeDelta::zero()));
    put(&mut plane, 100, Kind::HttpRoute, "shop", weights(0, 100));
    assert_eq!(plane.shares(at(500), HOST, "/").pods["stable-0"], Fraction::ONE);
    assert_eq!(plane.shares(at(1000), HOST, "/").pods["canary-0"], Fraction::ONE);
}
