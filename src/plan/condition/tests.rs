//! Tables and properties of conditions: what is refused before it is parsed, what is true, what is judged.

use proptest::prelude::*;

use super::*;
use crate::api::analysis_run::Verdict;

fn list(values: &[f64]) -> Samples {
    Samples::Vector(values.to_vec())
}

#[test]
fn conditions_that_users_write() {
    for (source, samples, holds) in [
        ("result[0] < 0.01", list(&[0.005]), true),
        ("result[0] < 0.01", list(&[0.01]), false),
        ("result >= 0.95", Samples::Scalar(0.95), true),
        ("len(result) == 0 || result[0] <= 1", list(&[2.0]), false),
        ("all(result, # < 3)", list(&[1.0, 2.0]), true),
        ("all(result, {# < 2})", list(&[1.0, 2.0]), false),
        ("any(result, {# > 1})", list(&[1.0, 2.0]), true),
        ("default(result[5], 0) == 0", list(&[1.0]), true),
        ("(result[5] ?? 7) == 7", list(&[1.0]), true),
        ("isNil(result[1])", list(&[1.0]), true),
        ("not isNaN(result[0]) and !isInf(result[0])", list(&[1.0]), true),
        ("asInt(result[0]) == 1", list(&[1.7]), true),
        ("asFloat(result) / 2 > 0.4", Samples::Scalar(1.0), true),
        ("result[0] in [1, 2]", list(&[2.0]), true),
        ("len(result) > 1 ? result[1] > 0 : false", list(&[1.0]), false),
        ("result | sum() > 2", list(&[1.0, 2.0]), true),
    ] {
        assert_eq!(check_condition(source), Ok(()), "{source}");
        assert_eq!(evaluate(source, &samples), Ok(holds), "{source}");
    }
}

#[test]
fn refuses_before_parsing() {
    let parentheses = format!("{}1{} > 0", "(".repeat(400), ")".repeat(400));
    let indexes = format!("{}0{} > 0", "result[".repeat(30), "]".repeat(30));
    let long = format!("result[0] > {}", "1".repeat(1_100));
    let chain = format!("result[0] > {}0", "1+".repeat(300));
    for source in [
        "",
        "  ",
        &parentheses,
        &indexes,
        &long,
        &chain,
        "1..20000000 == nil",
        "len(1 .. 9) > 0",
        "len(1..9) > 0",
        "\"a\" == 'a'",
        "result[0] < `a`",
        "result[0] < 1 // ok",
        "let x = 1; x > 0",
        "now() > 0",
        "repeat(1, 9)",
        "$env",
        "result.x > 1",
        "result[0:1] == [1]",
        "{a: 1} == nil",
        "if result[0] > 1 {true} else {false}",
        "result[0] matches 1",
        "(result[0] > 1",
        "result[0) > 1",
        "all(result, {all(result, {all(result, {# > 1})})})",
        "latency < 1",
        "result[0] < {{args.x}}",
        "len < 1",
        "result = 1",
    ] {
        assert!(check_condition(source).is_err(), "{source}");
    }
}

#[test]
fn must_say_yes_or_no() {
    for source in ["result[0]", "result[0] + 1", "len(result)", "result"] {
        assert!(
            matches!(check_condition(source), Err(ConditionError::NotBool(_))),
            "{source}"
        );
    }
    for source in ["result[0] <", "result[0] < true", "asInt()", "all(1, # > 1)"] {
        assert!(check_condition(source).is_err(), "{source}");
    }
}

#[test]
fn an_expression_error_is_an_error() {
    assert!(evaluate("result < 1", &list(&[1.0])).is_err());
    assert!(evaluate("result[1] < 1", &list(&[1.0])).is_err());
    assert!(evaluate("result[0] < 1", &Samples::Scalar(1.0)).is_err());
}

#[test]
fn truth_table() {
    use Verdict::{Failed, Inconclusive, Successful};
    let (low, high) = (Some("result[0] < 1"), Some("result[0] > 2"));
    for (success, failure, value, verdict) in [
        (low, None, 0.5, Successful),
        (low, None, 1.5, Failed),
        (None, high, 3.0, Failed),
        (None, high, 1.5, Successful),
        (low, high, 0.5, Successful),
        (low, high, 1.5, Inconclusive),
        (low, high, 3.0, Failed),
        // Both hold: failure wins.
        (Some("result[0] > 0"), high, 3.0, Failed),
    ] {
        assert_eq!(
            judge(success, failure, &list(&[value])),
            Ok(verdict),
            "{success:?} {failure:?} {value}"
        );
    }
    assert_eq!(judge(None, None, &list(&[0.0])), Err(ConditionError::Missing));
    assert!(judge(low, Some("result < 1"), &list(&[0.5])).is_err());
}

#[test]
fn says_where_it_cannot_be_read() {
    for (source, problem) in [
        ("result[0] <", "it ends too early"),
        ("result[0] < 1 2", "\"2\" is not expected there"),
        ("result[0] 0.01 <", "\"0.01 <\" is not expected there"),
    ] {
        let error = check_condition(source).unwrap_err();
        assert_eq!(error, ConditionError::Syntax(problem.to_owned()), "{source}");
    }
}

#[test]
fn finds_thresholds() {
    for (source, threshold) in [
        ("result[0] < 0.01", Some(0.01)),
        ("result >= -2", Some(-2.0)),
        ("0.95 <= result[0]", Some(0.95)),
        ("len(result) > 0 && result[0] < 1e-2", Some(0.01)),
        ("(result[0] < 5) or false", Some(5.0)),
        ("2 * result[0] < 0.1", None),
        ("result[0] < 0.1 * 3", None),
        ("all(result, # < 3)", None),
        ("result[1] < 3", None),
        ("result[0] <", None),
    ] {
        assert_eq!(threshold_of(source), threshold, "{source}");
    }
}

#[test]
fn knows_who_looks_at_the_list() {
    for (source, many) in [
        ("result[0] < 1 && result[0] > 0", false),
        ("len(result) == 3", true),
        ("all(result, # < 3)", true),
        ("result[1] < 1", true),
    ] {
        assert_eq!(takes_list(source), many, "{source}");
    }
}

proptest! {
    /// Whatever the guard lets through ends, and neither panics nor overflows the stack.
    #[test]
    fn no_token_soup_hangs_or_panics(words in prop::collection::vec(prop::sample::select(vec![
        "result", "#", "1", "0.5", "(", ")", "[", "]", "{", "}", "?", ":", "??", ",", "<", "&&", "||", "**", "-", "!",
        "not", "in", "|", "%", "9223372036854775807", "all(", "any(", "filter(", "map(", "sum(", "default(", "result[",
    ]), 1..200)) {
        let _ = evaluate(&words.join(" "), &list(&[1.0, 2.0]));
    }

    #[test]
    fn no_text_panics(source in "\\PC{0,200}") {
        let _ = check_condition(&source);
    }
}

#[test]
fn the_worst_that_passes_the_guard_ends() {
    for (open, middle, close) in [
        ("(", "result", ")"),
        ("[", "1", "]"),
        ("result[", "0", "]"),
        ("abs(", "1", ")"),
        ("1 ** ", "1", ""),
        ("true ? true : ", "true", ""),
        ("1 + ", "1", ""),
        ("-", "1", ""),
        ("!", "true", ""),
        ("nil ?? ", "1", ""),
        ("all(result, {", "true", "})"),
        ("result | map(", "#", ")"),
        ("true ? ", "true", " : true"),
        ("result[0 ? ", "1", " : 0]"),
    ] {
        for count in [4, 32, 60, 199] {
            let _ = check_condition(&format!("{}{middle}{}", open.repeat(count), close.repeat(count)));
        }
    }
}
