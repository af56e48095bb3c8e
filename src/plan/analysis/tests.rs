//! Tables and properties of runs: limits, pacing, policies for no data, termination.

use chrono::{DateTime, Duration, Utc};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::*;
use crate::api::analysis_run::{AnalysisRun, AnalysisRunSpec, Verdict};
use crate::api::analysis_template::{Metric, NoDataPolicy, PrometheusProvider, Provider};
use crate::api::measure::{Measured, Outcome, Samples};

mod property;

const GOOD: f64 = 0.5;
const BAD: f64 = 5.0;

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000 + seconds, 0).unwrap()
}

fn metric(name: &str, count: i32) -> Metric {
    Metric {
        name: name.into(),
        interval: Some(crate::api::duration::Duration::from_seconds(30)),
        count: Some(IntOrString::Int(count)),
        success_condition: Some("result[0] < 1".into()),
        provider: Provider {
            prometheus: Some(PrometheusProvider {
                query: "up".into(),
                ..Default::default()
            }),
        },
        ..Metric::default()
    }
}

fn run(metrics: Vec<Metric>) -> AnalysisRun {
    let mut run = AnalysisRun::new(
        "run",
        AnalysisRunSpec {
            metrics,
            ..Default::default()
        },
    );
    run.metadata.namespace = Some("shop".into());
    run.status = Some(record(&run, &[], at(0)));
    run
}

#[test]
fn no_query_keeps_its_place_longer_than_a_minute() {
    use crate::api::duration::Duration;
    for (written, used) in [(None, 10), (Some(30), 30), (Some(60), 60), (Some(2_592_000), 60)] {
        let mut slow = metric("slow", 1);
        if let Some(prometheus) = &mut slow.provider.prometheus {
            prometheus.timeout = written.map(Duration::from_seconds);
        }
        let tasks = schedule(&run(vec![slow]), at(0)).tasks;
        assert_eq!(tasks[0].timeout, Duration::from_seconds(used), "{written:?}");
    }
}

fn value(value: f64) -> Outcome {
    Outcome::Samples(Samples::Vector(vec![value]))
}

fn empty() -> Outcome {
    Outcome::NoData("no series".into())
}

fn down() -> Outcome {
    Outcome::Error("connection refused".into())
}

fn measured(metric: &str, outcome: Outcome, now: DateTime<Utc>) -> Measured {
    Measured {
        metric: metric.into(),
        started_at: now,
        outcome,
    }
}

/// Runs rounds as a controller does, each at the time the one before asked for; returns their number.
fn drive(run: &mut AnalysisRun, mut answer: impl FnMut(&str, usize) -> Outcome) -> usize {
    let mut now = at(0);
    for round in 0..1_000 {
        let schedule = schedule(run, now);
        let measured: Vec<Measured> = schedule
            .tasks
            .iter()
            .map(|task| measured(&task.metric, answer(&task.metric, round), now))
            .collect();
        run.status = Some(record(run, &measured, now));
        match super::schedule(run, now).next_at {
            Some(next_at) => now = next_at,
            None => return round + 1,
        }
    }
    panic!("the run does not end: {:?}", run.status)
}

fn verdict(metric: Metric, outcomes: &[Outcome]) -> (Verdict, i64, String) {
    let mut run = run(vec![metric]);
    let mut index = 0;
    drive(&mut run, |_, _| {
        index += 1;
        outcomes.get(index - 1).or(outcomes.last()).unwrap().clone()
    });
    let status = run.status.unwrap();
    let taken =
        status.metric_results[0].count + status.metric_results[0].error + status.metric_results[0].no_data;
    (status.phase, taken, status.message.unwrap_or_default())
}

#[test]
fn a_sample_may_be_two_intervals_old_and_five_minutes_in_any_case() {
    use crate::api::duration::Duration;
    for (interval, oldest) in [(None, 300), (Some(30), 300), (Some(150), 300), (Some(600), 1_200)] {
        let interval = interval.map(Duration::from_seconds);
        let run = run(vec![Metric {
            interval,
            ..metric("m", 1)
        }]);
        let tasks = schedule(&run, at(0)).tasks;
        assert_eq!(tasks[0].max_age, Duration::from_seconds(oldest), "{interval:?}");
    }
}

#[test]
fn limits_are_strict_and_errors_do_not_count() {
    let limit = |failures: i32| Metric {
        failure_limit: Some(IntOrString::Int(failures)),
        ..metric("m", 5)
    };
    let (good, bad) = (value(GOOD), value(BAD));
    let cases = [
        (limit(0), vec![good.clone()], Verdict::Successful, 5),
        (limit(0), vec![good.clone(), bad.clone()], Verdict::Failed, 2),
        (
            limit(2),
            vec![bad.clone(), bad.clone(), good.clone()],
            Verdict::Successful,
            5,
        ),
        (
            limit(2),
            vec![bad.clone(), good.clone(), bad.clone(), bad.clone()],
            Verdict::Failed,
            4,
        ),
        (
            limit(0),
            vec![down(), good.clone(), down(), good.clone()],
            Verdict::Successful,
            7,
        ),
        (limit(0), vec![down()], Verdict::Error, 5),
        (
            limit(0),
            vec![down(), down(), down(), down(), good.clone()],
            Verdict::Successful,
            9,
        ),
        (
            limit(0),
            vec![Outcome::Partial("one store is down".into())],
            Verdict::Inconclusive,
            1,
        ),
        // Within a limit as large as the count, but nothing ever succeeded.
        (limit(5), vec![bad.clone()], Verdict::Inconclusive, 5),
    ];
    for (index, (metric, outcomes, phase, taken)) in cases.into_iter().enumerate() {
        let (got, count, message) = verdict(metric, &outcomes);
        assert_eq!((got, count), (phase, taken), "case {index}: {message}");
    }
}

#[test]
fn consecutive_successes_end_early_and_only_they_do() {
    let wanted = |row: i32| Metric {
        consecutive_success_limit: Some(IntOrString::Int(row)),
        failure_limit: Some(IntOrString::Int(-1)),
        ..metric("m", 4)
    };
    let (good, bad) = (value(GOOD), value(BAD));
    assert_eq!(
        verdict(wanted(2), &[bad.clone(), good.clone()]).0,
        Verdict::Successful
    );
    assert_eq!(
        verdict(wanted(2), &[good.clone(), bad.clone(), good.clone(), bad.clone()]).0,
        Verdict::Inconclusive
    );
    assert_eq!(
        verdict(wanted(2), &[good.clone(), empty(), good.clone(), bad, good]).0,
        Verdict::Inconclusive
    );
}

#[test]
fn no_data_does_what_the_policy_says() {
    let policy = |policy| Metric {
        no_data: policy,
        ..metric("m", 3)
    };
    let cases = [
        // 11 measurements are more than max(count, 10).
        (None, vec![empty()], Verdict::Inconclusive, 11),
        (
            Some(NoDataPolicy::Wait),
            vec![empty(), empty(), value(GOOD)],
            Verdict::Successful,
            5,
        ),
        (
            Some(NoDataPolicy::Wait),
            vec![empty(), value(BAD)],
            Verdict::Failed,
            2,
        ),
        (
            Some(NoDataPolicy::Inconclusive),
            vec![empty()],
            Verdict::Inconclusive,
            1,
        ),
        (Some(NoDataPolicy::Success), vec![empty()], Verdict::Successful, 3),
        (Some(NoDataPolicy::Fail), vec![empty()], Verdict::Failed, 1),
    ];
    for (index, (given, outcomes, phase, taken)) in cases.into_iter().enumerate() {
        let (got, count, message) = verdict(policy(given), &outcomes);
        assert_eq!((got, count), (phase, taken), "case {index}: {message}");
    }
    // What is not there does not fulfil a failureCondition, and that is no success.
    let failure_only = Metric {
        success_condition: None,
        failure_condition: Some("result[0] > 1".into()),
        ..metric("m", 3)
    };
    assert_eq!(verdict(failure_only, &[empty()]).0, Verdict::Inconclusive);
    // A single measurement without an interval waits as well.
    let single = Metric {
        interval: None,
        count: None,
        ..metric("m", 1)
    };
    assert_eq!(verdict(single, &[empty(), value(GOOD)]).0, Verdict::Successful);
    // Errors and silence in turn reach neither limit, but the deadline.
    assert_eq!(
        verdict(metric("m", 3), &vec![vec![down(), empty()]; 20].concat()).0,
        Verdict::Inconclusive
    );
}

#[test]
fn messages_say_what_was_measured_and_wanted() {
    let failing = Metric {
        failure_limit: Some(IntOrString::Int(2)),
        success_condition: Some("result[0] < 0.01".into()),
        ..metric("error-rate", 5)
    };
    let mut run = run(vec![failing]);
    drive(&mut run, |_, _| value(0.052));
    let status = run.status.unwrap();
    let message = "error-rate: measured 0.052, wanted result[0] < 0.01; failed 3 times, limit 2";
    assert_eq!(status.message.as_deref(), Some(message));
    assert_eq!(
        deciding_metric(&status),
        Some(Decision {
            rule: "error-rate".into(),
            measured: Some(0.052),
            threshold: Some(0.01),
            message: message.into(),
        })
    );
    assert_eq!(
        verdict(metric("m", 3), &[down()]).2,
        "m: connection refused; 5 errors in a row, limit 4"
    );
    assert_eq!(
        verdict(metric("m", 3), &[empty()]).2,
        "m: no verdict after 11 measurements without data and 0 errors; the last: no data: no series"
    );
}

#[test]
fn the_worst_metric_decides_and_ends_the_others() {
    let mut run = run(vec![metric("fine", 5), metric("broken", 5)]);
    drive(&mut run, |name, _| value(if name == "fine" { GOOD } else { BAD }));
    let status = run.status.unwrap();
    assert_eq!(status.phase, Verdict::Failed);
    assert_eq!(status.metric_results[0].phase, Verdict::Terminated);
    assert_eq!(status.completed_at, Some(at(0)));
}

#[test]
fn dry_run_metrics_never_decide() {
    let mut both = run(vec![metric("fine", 2), metric("dry", 9)]);
    both.spec.dry_run = vec!["dry".into()];
    both.status = Some(record(
        &AnalysisRun {
            status: None,
            ..both.clone()
        },
        &[],
        at(0),
    ));
    drive(&mut both, |name, _| {
        value(if name == "fine" { GOOD } else { BAD })
    });
    let status = both.status.unwrap();
    assert_eq!(status.phase, Verdict::Successful);
    assert_eq!(status.metric_results[1].phase, Verdict::Failed);
    assert_eq!(deciding_metric(&status), None);

    let mut only = AnalysisRun::new(
        "run",
        AnalysisRunSpec {
            metrics: vec![metric("dry", 2)],
            ..Default::default()
        },
    );
    only.spec.dry_run = vec!["dry".into()];
    drive(&mut only, |_, _| value(BAD));
    assert_eq!(only.status.unwrap().phase, Verdict::Successful);
}

#[test]
fn terminated_is_not_successful() {
    let mut run = run(vec![metric("m", 5)]);
    run.status = Some(record(&run, &[measured("m", value(GOOD), at(0))], at(0)));
    run.spec.terminate = true;
    assert_eq!(schedule(&run, at(1)).tasks, []);
    let status = record(&run, &[], at(1));
    assert_eq!(status.phase, Verdict::Terminated);
    assert_eq!(deciding_metric(&status), None);
}

#[test]
fn keeps_ten_measurements_and_never_changes_after_the_end() {
    let mut run = run(vec![metric("m", 15)]);
    drive(&mut run, |_, _| value(GOOD));
    let status = run.status.clone().unwrap();
    assert_eq!(
        (
            status.metric_results[0].count,
            status.metric_results[0].measurements.len()
        ),
        (15, 10)
    );
    assert_eq!(
        record(&run, &[measured("m", value(BAD), at(9_999))], at(9_999)),
        status
    );
    assert_eq!(schedule(&run, at(9_999)), Schedule::default());
}

#[test]
fn paces_measurements() {
    let delayed = Metric {
        initial_delay: Some(crate::api::duration::Duration::from_seconds(60)),
        ..metric("m", 3)
    };
    let mut run = run(vec![delayed]);
    let due = |run: &AnalysisRun, now| {
        let schedule = schedule(run, now);
        (schedule.tasks.len(), schedule.next_at)
    };
    assert_eq!(due(&run, at(0)), (0, Some(at(60))));
    assert_eq!(due(&run, at(60)), (1, Some(at(60))));
    run.status = Some(record(&run, &[measured("m", value(GOOD), at(60))], at(61)));
    assert_eq!(due(&run, at(61)), (0, Some(at(90))));
    run.status = Some(record(&run, &[measured("m", down(), at(90))], at(91)));
    assert_eq!(due(&run, at(91)), (0, Some(at(100))));
}

#[test]
fn a_jumping_clock_neither_finishes_nor_stalls_a_run() {
    let mut run = run(vec![metric("m", 3)]);
    run.status = Some(record(&run, &[measured("m", value(GOOD), at(0))], at(0)));
    let year = Duration::days(365);
    let ahead = schedule(&run, at(0) + year);
    assert_eq!(ahead.tasks.len(), 1);
    run.status = Some(record(
        &run,
        &[measured("m", value(GOOD), at(0) + year)],
        at(0) + year,
    ));
    assert_eq!(run.status.as_ref().unwrap().phase, Verdict::Running);
    assert_eq!(run.status.as_ref().unwrap().metric_results[0].count, 2);
    assert_eq!(schedule(&run, at(1)).tasks.len(), 1);
}

#[test]
fn one_round_counts_one_measurement() {
    let run = run(vec![metric("m", 3)]);
    let twice = [
        measured("m", value(GOOD), at(0)),
        measured("m", value(BAD), at(0)),
        measured("other", down(), at(0)),
    ];
    let status = record(&run, &twice, at(0));
    assert_eq!(
        (status.metric_results[0].count, status.metric_results[0].failed),
        (1, 0)
    );
}

#[test]
fn a_run_that_cannot_be_measured_is_an_error() {
    let broken = |change: fn(&mut Metric)| {
        let mut metric = metric("m", 3);
        change(&mut metric);
        let run = AnalysisRun::new(
            "run",
            AnalysisRunSpec {
                metrics: vec![metric],
                ..Default::default()
            },
        );
        record(&run, &[], at(0)).phase
    };
    assert_eq!(
        broken(|metric| metric.count = Some(IntOrString::Int(0))),
        Verdict::Error
    );
    assert_eq!(
        broken(|metric| metric.count = Some(IntOrString::String("{{args.n}}".into()))),
        Verdict::Error
    );
    assert_eq!(
        broken(|metric| metric.failure_limit = Some(IntOrString::Int(4))),
        Verdict::Error
    );
    assert_eq!(
        broken(|metric| metric.failure_limit = Some(IntOrString::Int(-1))),
        Verdict::Error
    );
    assert_eq!(broken(|metric| metric.interval = None), Verdict::Error);
    assert_eq!(
        broken(|metric| metric.interval = Some(crate::api::duration::Duration::default())),
        Verdict::Error
    );
    assert_eq!(
        broken(|metric| metric.provider = Provider::default()),
        Verdict::Error
    );
    assert_eq!(
        record(&AnalysisRun::new("run", AnalysisRunSpec::default()), &[], at(0)).phase,
        Verdict::Error
    );
    // No condition is found out by the first measurement.
    let mut silent = run(vec![Metric {
        success_condition: None,
        ..metric("m", 1)
    }]);
    drive(&mut silent, |_, _| value(GOOD));
    assert_eq!(silent.status.unwrap().phase, Verdict::Error);
}
