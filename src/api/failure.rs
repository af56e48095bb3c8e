//! Errors in words.

/// An error and its causes on one line, each said once; the innermost says what happened.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| match cause.to_string() {
        said if text.contains(&said) => text,
        cause => format!("{text}: {cause}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use thiserror::Error as Derive;

    #[derive(Debug, Derive)]
    #[error("{0}")]
    struct Caused(&'static str, #[source] Option<Box<Caused>>);

    #[test]
    fn each_cause_is_said_once() {
        let inner = Caused("connection refused", None);
        let middle = Caused("tcp: connection refused", Some(Box::new(inner)));
        let outer = Caused("cannot ask", Some(Box::new(middle)));
        assert_eq!(with_causes(&outer), "cannot ask: tcp: connection refused");
    }
}
