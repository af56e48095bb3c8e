//! Lines of the table that a benchmark prints, and what is in them.

use std::collections::BTreeMap;

/// Of sorted values; 0 if there are none.
pub fn quantile(percent: usize, sorted: &[f64]) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(0.0)
}

/// What has grown, and by how much.
pub fn difference(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let grown = |(request, count): (&String, &u64)| {
        let more = count - before.get(request).unwrap_or(&0);
        (more > 0).then(|| (request.clone(), more))
    };
    after.iter().filter_map(grown).collect()
}

pub fn mebibytes(kibibytes: u64) -> String {
    format!("{:.1} MiB", kibibytes as f64 / 1024.0)
}

/// A line of the table; an empty limit is none.
pub fn row(what: &str, measured: impl ToString, limit: &str) {
    let limit = if limit.is_empty() {
        String::new()
    } else {
        format!("limit {limit}")
    };
    println!("{what:<60} {:>12}  {limit}", measured.to_string());
}
