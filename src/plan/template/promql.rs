//! The shape of a query: what it asks, apart from the texts in its label matchers and the size of its
//! numbers.

use promql_parser::label::{MatchOp, Matchers};
use promql_parser::parser::{self, Expr, Offset, VectorSelector};
use thiserror::Error;

const MAX_BYTES: usize = 16_384;
/// Operators, matchers and brackets; the tree is walked and dropped recursively.
const MAX_OPERATORS: usize = 400;
const MAX_MESSAGE_CHARS: usize = 200;

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum QueryError {
    #[error("the query is empty")]
    Empty,
    #[error("the query is too long or too complex")]
    TooComplex,
    #[error("the query is not valid PromQL: {0}")]
    Syntax(String),
    #[error(
        "an argument changes what the query asks; use it inside a label value (label=\"{{{{args.x}}}}\") or as a number"
    )]
    Shape,
}

/// Where in a query a reader stands: in a string, in a comment, or in neither.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cursor {
    quote: Option<char>,
    escaped: bool,
    comment: bool,
    in_space: bool,
    operators: usize,
}

impl Cursor {
    pub fn quote(self) -> Option<char> {
        self.quote
    }

    pub fn advance(&mut self, text: &str) {
        for character in text.chars() {
            self.step(character);
        }
    }

    fn step(&mut self, character: char) {
        let after_space = std::mem::replace(&mut self.in_space, character.is_whitespace());
        match (self.quote, character) {
            _ if self.comment => self.comment = character != '\n',
            (Some('"' | '\''), _) if self.escaped => self.escaped = false,
            (Some('"' | '\''), '\\') => self.escaped = true,
            (Some(quote), character) if quote == character => self.quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'' | '`') => self.quote = Some(character),
            (None, '#') => self.comment = true,
            (None, '+' | '-' | '*' | '/' | '%' | '^' | '<' | '>' | '=' | '!' | '(' | '[' | '{' | ',') => {
                self.operators += 1;
            }
            // `and`, `or` and `unless` have a space on some side; indentation is one space.
            (None, space) if space.is_whitespace() && !after_space => self.operators += 1,
            (None, _) => {}
        }
    }
}

pub(in crate::plan) fn check_query(query: &str) -> Result<Expr, QueryError> {
    let mut cursor = Cursor::default();
    cursor.advance(query);
    if query.trim().is_empty() {
        return Err(QueryError::Empty);
    }
    if query.len() > MAX_BYTES || cursor.operators > MAX_OPERATORS {
        return Err(QueryError::TooComplex);
    }
    parser::parse(query).map_err(|error| QueryError::Syntax(error.chars().take(MAX_MESSAGE_CHARS).collect()))
}

pub(super) fn same_shape(mut one: Expr, mut other: Expr) -> Result<(), QueryError> {
    mask(&mut one);
    mask(&mut other);
    if one == other {
        Ok(())
    } else {
        Err(QueryError::Shape)
    }
}

/// Blanks what arguments may stand for. Texts outside matchers stay, so an argument there is found out.
fn mask(expression: &mut Expr) {
    match expression {
        Expr::NumberLiteral(number) => number.val = 0.0,
        Expr::StringLiteral(_) | Expr::Extension(_) => {}
        Expr::Paren(paren) => mask(&mut paren.expr),
        Expr::Unary(unary) => mask(&mut unary.expr),
        Expr::Binary(binary) => {
            mask(&mut binary.lhs);
            mask(&mut binary.rhs);
        }
        Expr::Aggregate(aggregate) => {
            mask(&mut aggregate.expr);
            if let Some(parameter) = &mut aggregate.param {
                mask(parameter);
            }
        }
        Expr::Call(call) => call.args.args.iter_mut().for_each(|argument| mask(argument)),
        Expr::Subquery(subquery) => {
            mask(&mut subquery.expr);
            mask_offset(&mut subquery.offset);
            subquery.range = std::time::Duration::ZERO;
            subquery.step = subquery.step.map(|_| std::time::Duration::ZERO);
        }
        Expr::VectorSelector(selector) => mask_selector(selector),
        Expr::MatrixSelector(selector) => {
            mask_selector(&mut selector.vs);
            selector.range = std::time::Duration::ZERO;
        }
    }
}

fn mask_selector(selector: &mut VectorSelector) {
    mask_matchers(&mut selector.matchers);
    mask_offset(&mut selector.offset);
}

/// The operator goes into the name: a regular expression cannot be blanked otherwise.
fn mask_matchers(matchers: &mut Matchers) {
    for matcher in matchers
        .matchers
        .iter_mut()
        .chain(matchers.or_matchers.iter_mut().flatten())
    {
        matcher.name = format!("{}{}", matcher.name, matcher.op);
        matcher.op = MatchOp::Equal;
        matcher.value.clear();
    }
}

fn mask_offset(offset: &mut Option<Offset>) {
    match offset {
        Some(Offset::Pos(length) | Offset::Neg(length)) => *length = std::time::Duration::ZERO,
        None => {}
    }
}
