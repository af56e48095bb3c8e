//! The path of a field inside an object, written the way the API server writes it.

use std::fmt;

/// `spec.steps[2].pause`; `<nil>` at the object itself. A chain of borrowed segments, so that walking an object
/// costs nothing until there is something to report.
#[derive(Clone, Copy, Debug)]
pub struct FieldPath<'a> {
    parent: Option<&'a FieldPath<'a>>,
    segment: Segment<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Segment<'a> {
    Root,
    Field(&'a str),
    Index(usize),
}

impl<'a> FieldPath<'a> {
    pub const ROOT: FieldPath<'static> = FieldPath {
        parent: None,
        segment: Segment::Root,
    };

    pub fn child(&'a self, name: &'a str) -> Self {
        FieldPath {
            parent: Some(self),
            segment: Segment::Field(name),
        }
    }

    pub fn index(&'a self, index: usize) -> Self {
        FieldPath {
            parent: Some(self),
            segment: Segment::Index(index),
        }
    }

    fn is_root(&self) -> bool {
        self.parent.is_none()
    }

    fn write(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(parent) = self.parent else { return Ok(()) };
        parent.write(formatter)?;
        match self.segment {
            Segment::Root => Ok(()),
            Segment::Field(name) if parent.is_root() => formatter.write_str(name),
            Segment::Field(name) => write!(formatter, ".{name}"),
            Segment::Index(index) => write!(formatter, "[{index}]"),
        }
    }
}

impl fmt::Display for FieldPath<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            formatter.write_str("<nil>")
        } else {
            self.write(formatter)
        }
    }
}
