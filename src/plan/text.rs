//! Texts of others that are kept in the status, which must stay small: 32 KiB in all.

/// At most so many bytes, with an ellipsis in the place of the rest.
pub fn shorten(mut text: String, most: usize) -> String {
    const ELLIPSIS: &str = "…";
    if text.len() > most {
        let mut end = most.saturating_sub(ELLIPSIS.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push_str(ELLIPSIS);
    }
    text
}
