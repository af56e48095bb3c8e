//! Conditions of metrics, in the `expr` syntax that Argo Rollouts' users write.
//!
//! A condition sees `result`, a number or a list of numbers, and says yes or no. It is guarded before it is
//! parsed (see [`guard`]): whatever passes ends quickly, in bounded memory, and depends on `result` alone.

mod guard;
mod judge;

use std::sync::LazyLock;

use expr::{Context, Environment, Program, Value};
use thiserror::Error;

use crate::api::measure::Samples;
use guard::{Token, guard};

pub use guard::MAX_SOURCE_BYTES;
pub use judge::judge;

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConditionError {
    #[error("the condition is empty")]
    Empty,
    #[error("neither successCondition nor failureCondition is given")]
    Missing,
    #[error("the condition has {0} bytes, more than {MAX_SOURCE_BYTES}")]
    TooLong(usize),
    #[error("the condition is too complex: {0}")]
    TooComplex(&'static str),
    #[error("a condition may not use {0}")]
    Refused(&'static str),
    #[error("a condition may not contain {0:?}")]
    Character(char),
    #[error(
        "{0:?} is not known here; use result, numbers, operators and functions such as len, all, any, default"
    )]
    UnknownName(String),
    #[error("brackets do not match")]
    Brackets,
    #[error("the condition cannot be read: {0}; write for example result[0] < 0.01")]
    Syntax(String),
    #[error("the condition cannot be evaluated: {0}")]
    Evaluation(String),
    #[error("the condition gives {0}, not true or false")]
    NotBool(String),
}

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(environment);

/// Whether the condition can be parsed and says yes or no; asked when a template is taken in.
pub fn check_condition(source: &str) -> Result<(), ConditionError> {
    let program = compile(source)?;
    // Which of the two `result` will be is not known yet, so a failure counts only if both fail.
    match run(&program, &Samples::Vector(vec![1.0; 100])) {
        Err(not_bool @ ConditionError::NotBool(_)) => Err(not_bool),
        Err(as_list) => match run(&program, &Samples::Scalar(1.0)) {
            Err(not_bool @ ConditionError::NotBool(_)) => Err(not_bool),
            Err(_) => Err(as_list),
            Ok(_) => Ok(()),
        },
        Ok(_) => Ok(()),
    }
}

pub fn evaluate(source: &str, samples: &Samples) -> Result<bool, ConditionError> {
    run(&compile(source)?, samples)
}

/// The number that `result` or `result[0]` is compared with, for reports; `None` if there is no such
/// comparison.
pub fn threshold_of(source: &str) -> Option<f64> {
    let tokens = guard(source).ok()?;
    (0..tokens.len()).find_map(|start| {
        if !is_boundary(start.checked_sub(1).and_then(|before| tokens.get(before))) {
            return None;
        }
        let rest = tokens.get(start..)?;
        let ((left, rest), is_result) = read_result(rest)
            .map(|rest| ((0.0, rest), true))
            .or_else(|| read_number(rest).map(|read| (read, false)))?;
        let (Token::Symbol("<" | ">" | "<=" | ">=" | "==" | "!="), rest) = rest.split_first()? else {
            return None;
        };
        let (threshold, rest) = match is_result {
            true => read_number(rest)?,
            false => (left, read_result(rest)?),
        };
        is_boundary(rest.first()).then_some(threshold)
    })
}

/// Whether the condition looks at more than the first series.
pub fn takes_list(source: &str) -> bool {
    let Ok(tokens) = guard(source) else { return false };
    tokens.iter().enumerate().any(|(index, token)| {
        *token == Token::Word("result") && tokens.get(index..).and_then(read_first_series).is_none()
    })
}

fn read_first_series<'a, 's>(tokens: &'a [Token<'s>]) -> Option<&'a [Token<'s>]> {
    match tokens {
        [
            Token::Word("result"),
            Token::Symbol("["),
            Token::Number("0"),
            Token::Symbol("]"),
            rest @ ..,
        ] => Some(rest),
        _ => None,
    }
}

fn read_result<'a, 's>(tokens: &'a [Token<'s>]) -> Option<&'a [Token<'s>]> {
    read_first_series(tokens).or(match tokens {
        [Token::Word("result"), rest @ ..] => Some(rest),
        _ => None,
    })
}

fn read_number<'a, 's>(tokens: &'a [Token<'s>]) -> Option<(f64, &'a [Token<'s>])> {
    match tokens {
        [Token::Symbol("-"), Token::Number(number), rest @ ..] => Some((-number.parse::<f64>().ok()?, rest)),
        [Token::Number(number), rest @ ..] => Some((number.parse().ok()?, rest)),
        _ => None,
    }
}

/// A comparison ends here: nothing else takes part in it.
fn is_boundary(neighbour: Option<&Token>) -> bool {
    matches!(
        neighbour,
        None | Some(Token::Symbol("(" | ")" | "&&" | "||" | "?" | ":") | Token::Word("and" | "or"))
    )
}

fn compile(source: &str) -> Result<Program, ConditionError> {
    guard(source)?;
    expr::compile(source).map_err(|error| ConditionError::Syntax(describe_break(source, &error.to_string())))
}

fn run(program: &Program, samples: &Samples) -> Result<bool, ConditionError> {
    let mut context = Context::default();
    context.insert(
        "result",
        match samples {
            Samples::Scalar(value) => Value::Float(*value),
            Samples::Vector(values) => Value::Array(values.iter().copied().map(Value::Float).collect()),
        },
    );
    match ENVIRONMENT.run(program, &context) {
        Ok(Value::Bool(answer)) => Ok(answer),
        Ok(other) => Err(ConditionError::NotBool(last_line(&other.to_string()))),
        Err(error) => Err(ConditionError::Evaluation(last_line(&error.to_string()))),
    }
}

/// The parser names rules of its grammar, which nobody knows; where it stopped says more.
fn describe_break(source: &str, message: &str) -> String {
    let place = message.lines().find_map(|line| line.trim().strip_prefix("--> "));
    let number = |text: &str| text.parse::<usize>().ok()?.checked_sub(1);
    let place = place.and_then(|place| place.split_once(':'));
    let Some((line, column)) = place.and_then(|(line, column)| number(line).zip(number(column))) else {
        return last_line(message);
    };
    let rest: String = source
        .lines()
        .nth(line)
        .unwrap_or_default()
        .chars()
        .skip(column)
        .take(20)
        .collect();
    match rest.trim() {
        "" => "it ends too early".to_owned(),
        rest => format!("{rest:?} is not expected there"),
    }
}

/// Messages of the parser draw the source over several lines; what matters is in the last one.
fn last_line(message: &str) -> String {
    let line = message
        .lines()
        .rfind(|line| !line.trim().is_empty())
        .unwrap_or(message);
    line.trim_matches([' ', '=']).chars().take(120).collect()
}

/// Argo Rollouts' functions beside the language's own.
fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.add_function("asInt", |call| match call.args.first() {
        Some(Value::Integer(value)) => Ok(Value::Integer(*value)),
        // Saturates, and is 0 for NaN.
        Some(Value::Float(value)) => Ok(Value::Integer(*value as i64)),
        _ => Err("asInt() takes a number".to_owned().into()),
    });
    environment.add_function("asFloat", |call| {
        Ok(Value::Float(float(call.args.first(), "asFloat")?))
    });
    environment.add_function("isNaN", |call| {
        Ok(Value::Bool(float(call.args.first(), "isNaN")?.is_nan()))
    });
    environment.add_function("isInf", |call| {
        Ok(Value::Bool(float(call.args.first(), "isInf")?.is_infinite()))
    });
    environment.add_function("isNil", |call| {
        Ok(Value::Bool(matches!(call.args.first(), Some(Value::Nil))))
    });
    environment.add_function("default", |call| match call.args.as_slice() {
        [Value::Nil, fallback] => Ok(fallback.clone()),
        [value, _] => Ok(value.clone()),
        _ => Err("default() takes a value and what to use instead of nil"
            .to_owned()
            .into()),
    });
    environment
}

fn float(value: Option<&Value>, function: &str) -> expr::Result<f64> {
    match value {
        Some(Value::Float(value)) => Ok(*value),
        Some(Value::Integer(value)) => Ok(*value as f64),
        _ => Err(format!("{function}() takes a number").into()),
    }
}

#[cfg(test)]
mod tests;
