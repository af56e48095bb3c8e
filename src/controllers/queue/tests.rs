//! What goes first, and what waits.

use super::*;

fn work(namespace: &str, name: &str) -> Work {
    Work::Rollout(ObjectKey::new(namespace, name))
}

fn pop(queue: &mut Queue, now: Duration) -> Option<Work> {
    queue.pop(now, |_| true)
}

fn wake(name: &str, cause: Cause) -> Wake {
    Wake {
        work: work("shop", name),
        cause,
    }
}

fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn queue() -> Queue {
    Queue::new(Places {
        total: 3,
        per_namespace: 2,
        urgent: 1,
    })
}

#[test]
fn a_key_runs_once_at_a_time_and_again_if_woken_meanwhile() {
    let mut queue = queue();
    queue.wake(wake("a", Cause::Itself), at(0));
    queue.wake(wake("a", Cause::Dependency), at(0));
    assert_eq!(pop(&mut queue, at(0)), Some(work("shop", "a")));
    assert_eq!(pop(&mut queue, at(0)), None);
    queue.wake(wake("a", Cause::Dependency), at(5));
    assert_eq!(pop(&mut queue, at(500)), None, "it still runs");
    queue.finish(&work("shop", "a"), After::Rest, at(500));
    assert_eq!(pop(&mut queue, at(500)), Some(work("shop", "a")));
    queue.finish(&work("shop", "a"), After::Rest, at(510));
    assert_eq!(
        (pop(&mut queue, at(10_000)), queue.next_due(at(510))),
        (None, None)
    );
}

#[test]
fn a_key_runs_at_most_ten_times_a_second_however_often_it_is_woken() {
    let mut queue = queue();
    let mut runs = 0;
    for millis in 0..1000 {
        queue.wake(wake("a", Cause::Itself), at(millis));
        if let Some(work) = pop(&mut queue, at(millis)) {
            queue.finish(&work, After::Rest, at(millis));
            runs += 1;
        }
    }
    assert_eq!(runs, 10);
}

#[test]
fn commands_come_first_and_need_no_place_of_their_namespace() {
    let mut queue = queue();
    for name in ["a", "b", "c"] {
        queue.wake(wake(name, Cause::Dependency), at(0));
    }
    assert_eq!(pop(&mut queue, at(0)), Some(work("shop", "a")));
    queue.wake(wake("c", Cause::Command), at(0));
    queue.wake(wake("c", Cause::Dependency), at(0));
    assert_eq!(pop(&mut queue, at(0)), Some(work("shop", "c")));
    assert!(queue.is_urgent(&work("shop", "c")) && !queue.is_urgent(&work("shop", "a")));
    assert_eq!(pop(&mut queue, at(0)), None, "the namespace has its share");
    queue.wake(
        Wake {
            work: work("bank", "z"),
            cause: Cause::Dependency,
        },
        at(1),
    );
    assert_eq!(pop(&mut queue, at(1)), Some(work("bank", "z")));
    assert_eq!(queue.waiting(), 1);
}

#[test]
fn taking_traffic_back_waits_for_no_place() {
    let mut queue = queue();
    for namespace in ["a", "b", "c", "d"] {
        let wake = Wake {
            work: work(namespace, "app"),
            cause: Cause::Dependency,
        };
        queue.wake(wake, at(0));
    }
    assert_eq!(
        std::iter::from_fn(|| pop(&mut queue, at(0))).count(),
        3,
        "all places"
    );
    queue.wake(wake("rescue", Cause::Safety), at(0));
    queue.wake(wake("late", Cause::Safety), at(0));
    assert_eq!(pop(&mut queue, at(0)), Some(work("shop", "late")));
    assert_eq!(pop(&mut queue, at(0)), None, "every place has an end");
    queue.finish(&work("a", "app"), After::Rest, at(1));
    assert_eq!(pop(&mut queue, at(1)), Some(work("shop", "rescue")));
    queue.finish(&work("b", "app"), After::Rest, at(1));
    assert_eq!(
        pop(&mut queue, at(1)),
        None,
        "what is not urgent waits until a usual place is free"
    );
    queue.finish(&work("c", "app"), After::Rest, at(1));
    assert_eq!(pop(&mut queue, at(1)), Some(work("d", "app")));
}

#[test]
fn what_is_urgent_stays_so_when_its_reconcile_fails() {
    let mut queue = queue();
    for (after, expected) in [(After::BackOff, "z"), (After::In(at(100)), "a")] {
        queue.wake(wake("z", Cause::Safety), at(0));
        assert_eq!(pop(&mut queue, at(0)), Some(work("shop", "z")));
        queue.wake(wake("a", Cause::Dependency), at(0));
        queue.finish(&work("shop", "z"), after, at(0));
        let first = pop(&mut queue, at(1000));
        assert_eq!(first, Some(work("shop", expected)), "{after:?}");
        queue = self::queue();
    }
}

#[test]
fn the_urgent_work_of_one_namespace_leaves_places_for_others() {
    let mut queue = Queue::new(Places {
        total: 3,
        per_namespace: 2,
        urgent: 4,
    });
    for name in 0..9 {
        queue.wake(wake(&name.to_string(), Cause::Command), at(0));
    }
    let begun = std::iter::from_fn(|| pop(&mut queue, at(0))).count();
    assert_eq!(begun, 4, "its share, and half of the urgent places");
    let rescue = Wake {
        work: work("bank", "z"),
        cause: Cause::Safety,
    };
    queue.wake(rescue.clone(), at(0));
    assert_eq!(pop(&mut queue, at(0)), Some(rescue.work));
}

#[test]
fn a_namespace_that_has_its_share_does_not_hide_the_deadlines_of_others() {
    let mut queue = queue();
    for name in ["a", "b", "c"] {
        queue.wake(wake(name, Cause::Dependency), at(0));
    }
    let bank = Wake {
        work: work("bank", "z"),
        cause: Cause::Dependency,
    };
    queue.wake(bank.clone(), at(0));
    assert_eq!(pop(&mut queue, at(0)), Some(bank.work.clone()));
    queue.finish(&bank.work, After::In(at(1000)), at(1));
    assert!(pop(&mut queue, at(1)).is_some() && pop(&mut queue, at(1)).is_some());
    assert_eq!((pop(&mut queue, at(1)), queue.waiting()), (None, 2));
    assert_eq!(
        (queue.overdue(at(0)), queue.overdue(at(7))),
        (Some(at(0)), Some(at(7)))
    );
    assert_eq!(queue.next_due(at(1)), Some(at(1001)));
    assert_eq!(pop(&mut queue, at(1001)), Some(bank.work));
}

#[test]
fn what_waits_for_its_namespace_holds_up_no_other_and_is_overdue() {
    let mut queue = queue();
    queue.wake(wake("a", Cause::Command), at(0));
    queue.wake(
        Wake {
            work: work("bank", "z"),
            cause: Cause::Itself,
        },
        at(1),
    );
    let pop = |queue: &mut Queue| queue.pop(at(2), |namespace| namespace != "shop");
    assert_eq!(pop(&mut queue), Some(work("bank", "z")));
    assert_eq!((pop(&mut queue), queue.overdue(at(9))), (None, Some(at(9))));
}

#[test]
fn failures_back_off_and_success_forgets_them() {
    let mut queue = queue();
    let key = work("shop", "a");
    let mut now = at(0);
    let mut delays = Vec::new();
    queue.wake(wake("a", Cause::Itself), now);
    for _ in 0..20 {
        pop(&mut queue, now).unwrap();
        queue.finish(&key, After::BackOff, now);
        let due = queue.next_due(now).unwrap();
        delays.push(due - now);
        now = due;
    }
    assert!(delays[0] >= at(75) && delays[0] <= at(100), "{delays:?}");
    assert!(
        delays.windows(2).take(10).all(|pair| pair[0] < pair[1]),
        "{delays:?}"
    );
    assert!(
        delays[19] >= at(225_000) && delays[19] <= at(300_000),
        "{delays:?}"
    );
    pop(&mut queue, now).unwrap();
    queue.finish(&key, After::In(at(700)), now);
    assert_eq!(queue.next_due(now), Some(now + at(700)));
    now += at(700);
    pop(&mut queue, now).unwrap();
    queue.finish(&key, After::BackOff, now);
    assert_eq!(
        queue.next_due(now),
        Some(now + at(100)),
        "no sooner than ten times a second"
    );
}

#[test]
fn a_change_cuts_a_long_wait_short() {
    let mut queue = queue();
    queue.wake(wake("a", Cause::Itself), at(0));
    let key = pop(&mut queue, at(0)).unwrap();
    queue.finish(&key, After::In(at(300_000)), at(1));
    queue.wake(wake("a", Cause::Dependency), at(5));
    assert_eq!(queue.next_due(at(5)), Some(at(100)));
    assert_eq!(queue.waiting(), 1);
}

#[test]
fn a_panic_quarantines_its_key_until_the_object_changes() {
    let mut queue = queue();
    queue.wake(wake("a", Cause::Itself), at(0));
    queue.wake(wake("b", Cause::Itself), at(0));
    let key = pop(&mut queue, at(0)).unwrap();
    queue.finish(&key, After::Quarantine, at(0));
    queue.wake(wake("a", Cause::Dependency), at(200));
    queue.wake(wake("a", Cause::Command), at(200));
    assert_eq!(
        (pop(&mut queue, at(300)), queue.quarantined()),
        (Some(work("shop", "b")), 1)
    );
    queue.wake(wake("a", Cause::Itself), at(400));
    assert_eq!((pop(&mut queue, at(400)), queue.quarantined()), (Some(key), 0));
}

#[test]
fn keys_that_rest_are_forgotten() {
    let mut queue = queue();
    for name in 0..5000 {
        queue.wake(wake(&name.to_string(), Cause::Itself), at(name * 200));
        let key = pop(&mut queue, at(name * 200)).unwrap();
        queue.finish(&key, After::Rest, at(name * 200));
    }
    assert!(queue.entries.len() < 1100, "{}", queue.entries.len());
}

#[test]
fn a_release_begins_after_everything_else_but_not_never() {
    let mut queue = queue();
    for name in 0..10 {
        queue.wake(wake(&name.to_string(), Cause::Begins), at(0));
    }
    let mut begun = Vec::new();
    for round in 1..=200 {
        let work = pop(&mut queue, at(round * 1000)).unwrap();
        if queue.entries[&work].lane_before == Lane::Begins {
            begun.push(round);
        }
        // Each is due again at once, and never done.
        queue.finish(&work, After::In(at(0)), at(round * 1000));
    }
    assert_eq!(begun, [1, 33, 65, 97, 129, 161, 193]);
    queue.wake(wake("9", Cause::Command), at(201_000));
    assert_eq!(pop(&mut queue, at(201_000)), Some(work("shop", "9")));
}

#[test]
fn who_is_due_for_other_reasons_does_not_wait_behind_releases() {
    let mut queue = queue();
    queue.wake(wake("begins", Cause::Begins), at(0));
    for (name, cause) in [("scaled", Cause::Itself), ("mended", Cause::Dependency)] {
        queue.wake(wake(name, cause), at(1));
        queue.wake(wake(name, Cause::Begins), at(2));
        let popped = pop(&mut queue, at(3)).unwrap();
        assert_eq!(popped, work("shop", name));
        queue.finish(&popped, After::In(at(300_000)), at(3));
        queue.wake(wake(name, Cause::Begins), at(200));
    }
    queue.wake(wake("late", Cause::Dependency), at(201));
    let popped: Vec<Work> = std::iter::from_fn(|| {
        let popped = pop(&mut queue, at(300))?;
        queue.finish(&popped, After::Rest, at(300));
        Some(popped)
    })
    .collect();
    assert_eq!(
        popped,
        ["late", "begins", "mended", "scaled"].map(|name| work("shop", name))
    );
}
