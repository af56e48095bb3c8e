//! What can be said of conditions and queries before a Rollout gives the arguments: defaults stand for themselves,
//! and an argument without one for a number or a duration, whichever makes sense where it stands.

use std::collections::{BTreeMap, BTreeSet};

use super::substitute::{Piece, pieces};
use super::{ArgValue, FieldError, build_condition, put_into_query};
use crate::api::analysis_template::TemplateArg;

/// In a label value either of them is a text.
const STAND_INS: [&str; 2] = ["1", "1m"];
/// Every combination of stand-ins is tried; beyond this many arguments without a value nothing is said.
const MAX_OPEN: usize = 6;

/// Wrong with every value that the open arguments could have.
pub fn check_query_before_args(query: &str, args: &[TemplateArg]) -> Result<(), FieldError> {
    try_values(query, args, |values| put_into_query(query, values).map(drop))
}

pub fn check_condition_before_args(condition: &str, args: &[TemplateArg]) -> Result<(), FieldError> {
    try_values(condition, args, |values| {
        build_condition(condition, values).map(drop)
    })
}

/// The error is that of numbers, which most arguments are.
fn try_values(
    source: &str,
    args: &[TemplateArg],
    check: impl Fn(&BTreeMap<String, ArgValue>) -> Result<(), FieldError>,
) -> Result<(), FieldError> {
    let known: BTreeMap<String, ArgValue> = args.iter().filter_map(known_value).collect();
    let open: BTreeSet<&str> = pieces(source)?
        .into_iter()
        .filter_map(|piece| match piece {
            Piece::Arg(name) if !known.contains_key(name) => Some(name),
            _ => None,
        })
        .collect();
    if open.len() > MAX_OPEN {
        return Ok(());
    }
    let values = |choice: usize| {
        let chosen = open.iter().enumerate().map(|(index, name)| {
            let [number, duration] = STAND_INS;
            let stand_in = if choice >> index & 1 == 0 {
                number
            } else {
                duration
            };
            ((*name).to_owned(), ArgValue::Text(stand_in.to_owned()))
        });
        known.clone().into_iter().chain(chosen).collect()
    };
    let first = check(&values(0));
    let others = 1..1 << open.len();
    if first.is_err() && others.into_iter().any(|choice| check(&values(choice)).is_ok()) {
        return Ok(());
    }
    first
}

/// An empty default is one that every Rollout overrides.
fn known_value(arg: &TemplateArg) -> Option<(String, ArgValue)> {
    let value = match (&arg.value, &arg.value_from) {
        (Some(value), _) if !value.is_empty() => ArgValue::Text(value.clone()),
        (None, Some(source)) => ArgValue::Secret(source.clone()),
        _ => return None,
    };
    Some((arg.name.clone(), value))
}
