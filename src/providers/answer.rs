//! Reads answers of Prometheus's HTTP API. Written by hand because the library's types drop warnings (a
//! partial answer would look like a whole one), fail on native histograms and believe any time stamp.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;

use crate::api::measure::{MeasureTask, Outcome, Samples};

const MAX_NESTING: usize = 64;
const MAX_SERIES: usize = 100;
const SHOWN_SERIES: usize = 3;
const SHOWN_CHARS: usize = 120;
/// Clocks of machines in one cluster differ; beyond this, and the time the question took, a time stamp is
/// wrong.
const MAX_AHEAD_SECONDS: f64 = 60.0;

#[derive(Deserialize)]
struct Answer {
    status: String,
    #[serde(default)]
    data: Option<Data>,
    #[serde(default, rename = "errorType")]
    error_type: String,
    #[serde(default)]
    error: String,
    #[serde(default)]
    warnings: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    result_type: String,
    #[serde(default)]
    result: Value,
}

struct Sample {
    labels: String,
    time: f64,
    value: f64,
}

/// The body of a 200.
pub fn read_answer(body: &[u8], task: &MeasureTask, now: DateTime<Utc>) -> Outcome {
    match parse(body) {
        Ok(answer) if answer.status != "success" => Outcome::Error(error_of(&answer)),
        Ok(Answer { warnings, .. }) if !warnings.is_empty() => {
            Outcome::Partial(printable(&warnings.join("; ")))
        }
        Ok(Answer { data: Some(data), .. }) => match read_samples(&data) {
            Ok(samples) => weigh(&samples, data.result_type == "scalar", task, now),
            Err(why) => Outcome::Error(why),
        },
        Ok(_) => Outcome::Error("the answer has no data".to_owned()),
        Err(why) => Outcome::Error(why),
    }
}

/// What the body of an answer that is not a 200 says: Prometheus's own error, or its beginning.
pub fn read_refusal(body: &[u8]) -> String {
    match parse(body) {
        Ok(answer) if answer.status != "success" => error_of(&answer),
        _ => excerpt(body),
    }
}

fn parse(body: &[u8]) -> Result<Answer, String> {
    if nesting(body) > MAX_NESTING {
        return Err(format!(
            "the answer is nested more than {MAX_NESTING} levels deep"
        ));
    }
    serde_json::from_slice(body).map_err(|_| format!("not an answer of Prometheus: {}", excerpt(body)))
}

fn error_of(answer: &Answer) -> String {
    printable(&format!("{}: {}", answer.error_type, answer.error))
}

/// Brackets that are open at once, outside of strings.
fn nesting(body: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in body {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => depth += 1,
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

fn read_samples(data: &Data) -> Result<Vec<Sample>, String> {
    match (data.result_type.as_str(), &data.result) {
        ("scalar", value) => Ok(vec![read_sample(String::new(), value)?]),
        ("vector", Value::Array(series)) if series.len() > MAX_SERIES => Err(format!(
            "got {} series, more than {MAX_SERIES}; aggregate in the query",
            series.len()
        )),
        ("vector", Value::Array(series)) => series.iter().map(read_series).collect(),
        (kind, _) => Err(format!(
            "got a {}; the query must give numbers at one time",
            printable(kind)
        )),
    }
}

fn read_series(series: &Value) -> Result<Sample, String> {
    let labels = series
        .get("metric")
        .map(|labels| printable(&labels.to_string()))
        .unwrap_or_default();
    match (series.get("value"), series.get("histogram")) {
        (Some(value), _) => read_sample(labels, value),
        (None, Some(_)) => Err(format!(
            "got a native histogram, {labels}; make a number of it with histogram_quantile() or histogram_count()"
        )),
        (None, None) => Err(format!("series {labels} has no value")),
    }
}

/// `[1700000000.123, "0.5"]`.
fn read_sample(labels: String, pair: &Value) -> Result<Sample, String> {
    let wrong = || {
        format!(
            "sample {} is not a time and a number",
            printable(&pair.to_string())
        )
    };
    let (Some(time), Some(text)) = (
        pair.get(0).and_then(Value::as_f64),
        pair.get(1).and_then(Value::as_str),
    ) else {
        return Err(wrong());
    };
    let value = text.parse().map_err(|_| wrong())?;
    Ok(Sample { labels, time, value })
}

/// Errors first, then too many series, then what is no data.
fn weigh(samples: &[Sample], scalar: bool, task: &MeasureTask, now: DateTime<Utc>) -> Outcome {
    let age = |sample: &Sample| now.timestamp_millis() as f64 / 1_000.0 - sample.time;
    let max_age = task.max_age.as_millis() as f64 / 1_000.0;
    if let Some(infinite) = samples.iter().find(|sample| sample.value.is_infinite()) {
        return Outcome::Error(format!(
            "got {}, which is no measurement; a division by 0?",
            infinite.value
        ));
    }
    // `now` is from before the wait for a turn and for the answer, each at most the timeout.
    let max_ahead = MAX_AHEAD_SECONDS + 2.0 * task.timeout.as_millis() as f64 / 1_000.0;
    if let Some(ahead) = samples.iter().find(|sample| age(sample) < -max_ahead) {
        return Outcome::Error(format!("a sample is {:.0} s ahead of the clock", -age(ahead)));
    }
    if samples.len() > 1 && !task.many_series {
        return Outcome::Error(describe_series(samples));
    }
    if samples.is_empty() {
        return Outcome::NoData("the query matches no series".to_owned());
    }
    if samples.iter().any(|sample| sample.value.is_nan()) {
        return Outcome::NoData("got NaN; no requests, or a division of 0 by 0".to_owned());
    }
    if let Some(old) = samples.iter().find(|sample| age(sample) > max_age) {
        return Outcome::NoData(format!(
            "a sample is {:.0} s old, more than {max_age:.0} s",
            age(old)
        ));
    }
    let mut values = samples.iter().map(|sample| sample.value);
    match (scalar, values.next()) {
        (true, Some(value)) => Outcome::Samples(Samples::Scalar(value)),
        (_, Some(first)) => Outcome::Samples(Samples::Vector(std::iter::once(first).chain(values).collect())),
        (_, None) => Outcome::NoData("the query matches no series".to_owned()),
    }
}

fn describe_series(samples: &[Sample]) -> String {
    let shown: Vec<&str> = samples
        .iter()
        .take(SHOWN_SERIES)
        .map(|sample| sample.labels.as_str())
        .collect();
    let more = if samples.len() > SHOWN_SERIES { ", …" } else { "" };
    format!(
        "got {} series: {}{more}; aggregate in the query, or use all(), any() or max() in the condition",
        samples.len(),
        shown.join(", ")
    )
}

fn excerpt(body: &[u8]) -> String {
    // A little more than is shown: characters that cannot be printed are left out.
    let start = body.get(..SHOWN_CHARS * 8).unwrap_or(body);
    match printable(&String::from_utf8_lossy(start)) {
        empty if empty.is_empty() => "nothing readable".to_owned(),
        text => text,
    }
}

/// The beginning of what somebody sent, fit to be shown.
pub fn printable(text: &str) -> String {
    let visible = |character: &char| !character.is_control() && *character != char::REPLACEMENT_CHARACTER;
    text.chars()
        .filter(visible)
        .take(SHOWN_CHARS)
        .collect::<String>()
        .trim()
        .to_owned()
}
