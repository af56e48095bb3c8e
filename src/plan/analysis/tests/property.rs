//! Runs whose backend answers anything.

use proptest::prelude::*;

use super::*;

fn outcomes() -> impl Strategy<Value = Vec<Outcome>> {
    prop::collection::vec(
        prop::sample::select(vec![
            value(GOOD),
            value(BAD),
            empty(),
            down(),
            Outcome::Partial("half".into()),
        ]),
        1..60,
    )
}

proptest! {
    /// Whatever the backend answers, a bounded run ends, never promotes without a success, and says why if it
    /// is bad.
    #[test]
    fn a_run_always_ends(
        outcomes in outcomes(), count in 1..20i32, failures in 0..5i32, doubts in 0..3i32, row in 0..4i32,
    ) {
        let metric = Metric {
            failure_limit: Some(IntOrString::Int(failures.min(count))),
            inconclusive_limit: Some(IntOrString::Int(doubts)),
            consecutive_success_limit: Some(IntOrString::Int(row.min(count))),
            ..metric("m", count)
        };
        let mut run = run(vec![metric]);
        let mut index = 0;
        let rounds = drive(&mut run, |_, _| { index += 1; outcomes[(index - 1) % outcomes.len()].clone() });
        let status = run.status.unwrap();
        prop_assert!(rounds <= 2 * 20 + 10 + 2);
        prop_assert!(status.phase != Verdict::Successful || status.metric_results[0].successful > 0);
        prop_assert_eq!(deciding_metric(&status).is_some(), status.phase > Verdict::Terminated);
        prop_assert!(serde_json::to_vec(&status).unwrap().len() < 8_192);
    }

    /// The same arguments give the same bytes, and what a store gives back is what was written.
    #[test]
    fn record_is_deterministic_and_survives_the_store(outcomes in outcomes(), nanos in 0..1_000_000_000i64) {
        let mut run = run(vec![metric("m", 9)]);
        for (round, outcome) in outcomes.into_iter().enumerate() {
            let now = at(30 * i64::try_from(round).unwrap()) + Duration::nanoseconds(nanos);
            let measured = [measured("m", outcome, now)];
            let status = record(&run, &measured, now);
            prop_assert_eq!(&record(&run, &measured, now), &status);
            let stored = serde_json::from_str(&serde_json::to_string(&status).unwrap()).unwrap();
            prop_assert_eq!(&status, &stored);
            run.status = Some(stored);
        }
    }
}
