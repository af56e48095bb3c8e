//! The rules of the house that neither the compiler nor clippy knows: which module may use which, how long files and
//! functions may be, where time and randomness live. [`RULES`] is the list. Every rule is itself tested on a bad
//! snippet, and on snippets that only look bad.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "in a test a panic is a failure"
)]

#[path = "tidy/house.rs"]
mod house;
#[path = "tidy/source.rs"]
mod source;

use house::{House, is_within};
use source::Source;

const MAX_FILE_LINES: usize = 500;
const MAX_BINARY_LINES: usize = 40;
const MAX_FUNCTION_LINES: usize = 70;
/// Names that say nothing about what is inside.
const BANNED_MODULES: [&str; 7] = ["utils", "util", "helpers", "helper", "common", "manager", "types"];

/// A line and what is wrong with it.
type Finding = (usize, String);

struct Rule {
    name: &'static str,
    check: fn(&House, &Source) -> Vec<Finding>,
}

const RULES: [Rule; 7] = [
    Rule {
        name: "file length",
        check: check_file_length,
    },
    Rule {
        name: "function length",
        check: check_function_length,
    },
    Rule {
        name: "module doc",
        check: check_module_doc,
    },
    Rule {
        name: "module name",
        check: check_module_name,
    },
    Rule {
        name: "reasons",
        check: check_reasons,
    },
    Rule {
        name: "imports",
        check: check_imports,
    },
    Rule {
        name: "bans",
        check: check_bans,
    },
];

/// Words or paths that code outside tests may use only in some modules.
struct Ban {
    what: &'static [&'static str],
    allowed_in: fn(&House, &str) -> bool,
    instead: &'static str,
}

const BANS: [Ban; 5] = [
    Ban {
        what: &[
            "Utc::now",
            "Local::now",
            "Instant::now",
            "SystemTime::now",
            "time::Instant",
            "time::SystemTime",
        ],
        allowed_in: |_, module| is_within(module, "clock"),
        instead: "take `now` as an argument, ask a `clock::Clock`, or measure with a `clock::Stopwatch`",
    },
    Ban {
        what: &["rand", "getrandom", "fastrand", "RandomState"],
        allowed_in: |_, module| is_within(module, "sandbox::rng"),
        instead: "take what `sandbox::rng` draws as an argument",
    },
    Ban {
        what: &["HashMap", "HashSet"],
        allowed_in: |house, module| !house.is_pure(module) && !is_within(module, "observe"),
        instead: "use BTreeMap or BTreeSet: their order is the same in every run",
    },
    Ban {
        what: &["async", "await"],
        allowed_in: |house, module| !house.is_pure(module),
        instead: "this module is pure: let the caller wait, and pass in the result",
    },
    Ban {
        what: &[
            "std::env",
            "std::fs",
            "std::io",
            "std::net::TcpListener",
            "std::net::TcpStream",
            "std::net::ToSocketAddrs",
            "std::net::UdpSocket",
            "std::process",
            "std::thread",
        ],
        allowed_in: |house, module| !house.is_pure(module),
        instead: "this module is pure: let the caller do the IO, and pass in the result",
    },
];

fn check_file_length(_: &House, source: &Source) -> Vec<Finding> {
    let limit = if source.path.starts_with("src/bin/") {
        MAX_BINARY_LINES
    } else {
        MAX_FILE_LINES
    };
    let lines = source.text.lines().count();
    if lines <= limit {
        vec![]
    } else {
        vec![(
            limit + 1,
            format!("{lines} lines, at most {limit}: split the file"),
        )]
    }
}

fn check_function_length(_: &House, source: &Source) -> Vec<Finding> {
    let too_long = source
        .functions()
        .into_iter()
        .filter(|function| function.length > MAX_FUNCTION_LINES);
    let say = |function: &source::Function| {
        format!(
            "`{}` has {} lines, at most {MAX_FUNCTION_LINES}: split it",
            function.name, function.length
        )
    };
    too_long.map(|function| (function.line, say(&function))).collect()
}

fn check_module_doc(_: &House, source: &Source) -> Vec<Finding> {
    let says_something = source
        .text
        .strip_prefix("//!")
        .and_then(|rest| rest.lines().next());
    if says_something.is_some_and(|line| !line.trim().is_empty()) {
        return vec![];
    }
    vec![(
        1,
        "begin with `//!`: what the module owns, guarantees and assumes".to_owned(),
    )]
}

fn check_module_name(_: &House, source: &Source) -> Vec<Finding> {
    let stem = source
        .path
        .rsplit('/')
        .next()
        .and_then(|file| file.strip_suffix(".rs"));
    let own = stem.map(|name| (name.to_owned(), 1));
    let names = source.declared_modules().into_iter().chain(own);
    let banned = names.filter(|(name, _)| BANNED_MODULES.contains(&name.as_str()));
    banned
        .map(|(name, line)| {
            (
                line,
                format!("`{name}` says nothing: call the module by what it owns"),
            )
        })
        .collect()
}

fn check_reasons(_: &House, source: &Source) -> Vec<Finding> {
    let silences = |text: &str| {
        let inner = text
            .strip_prefix("cfg_attr(")
            .and_then(|rest| rest.split_once(','))
            .map(|(_, inner)| inner);
        let lint = inner.unwrap_or(text);
        lint.starts_with("allow(") || lint.starts_with("expect(")
    };
    let bare = source
        .attributes()
        .into_iter()
        .filter(|(text, _)| silences(text) && !text.contains("reason=\""));
    bare.map(|(text, line)| (line, format!("`#[{text}]` needs a `reason = \"…\"`")))
        .collect()
}

fn check_imports(house: &House, source: &Source) -> Vec<Finding> {
    let Some(module) = shipped_module(source) else {
        return vec![];
    };
    if !house.has_row_for(module) {
        return vec![(
            1,
            format!("`{module}` has no row in the import table of src/lib.rs"),
        )];
    }
    let local = source.local_names();
    let is_governed =
        |first: &String| first == "crate" || (house.crates.contains(first) && !local.contains(first));
    let forbidden = source.paths().into_iter().filter(|path| {
        path.segments.first().is_some_and(is_governed) && !house.allows(module, &path.segments)
    });
    let say = |path: String| format!("`{module}` may not use `{path}`: see the import table of src/lib.rs");
    forbidden
        .map(|path| (path.line, say(path.segments.join("::"))))
        .collect()
}

fn check_bans(house: &House, source: &Source) -> Vec<Finding> {
    let Some(module) = shipped_module(source) else {
        return vec![];
    };
    let words = source.words().into_iter().map(|(word, line)| (vec![word], line));
    let paths = source.paths().into_iter().map(|path| (path.segments, path.line));
    let mut findings: Vec<Finding> = Vec::new();
    for (used, line) in words.chain(paths) {
        for ban in BANS.iter().filter(|ban| !(ban.allowed_in)(house, module)) {
            let banned = ban.what.iter().filter(|what| names(&used, what));
            findings.extend(banned.map(|what| {
                (
                    line,
                    format!("`{what}` does not belong in `{module}`: {}", ban.instead),
                )
            }));
        }
    }
    findings.sort();
    findings.dedup();
    findings
}

/// The module of a file in `src/` that is not test code. `src/lib.rs` has no code to judge.
fn shipped_module(source: &Source) -> Option<&str> {
    source
        .module
        .as_deref()
        .filter(|module| !module.is_empty() && !source.is_test)
}

/// Whether the segments of `what` follow one another in `used`.
fn names(used: &[String], what: &str) -> bool {
    let wanted: Vec<&str> = what.split("::").collect();
    used.windows(wanted.len())
        .any(|window| window == wanted.as_slice())
}

fn report(house: &House, source: &Source) -> Vec<String> {
    let of_rule = |rule: &Rule| (rule.check)(house, source);
    let mut findings: Vec<Finding> = RULES.iter().flat_map(of_rule).collect();
    findings.sort();
    findings
        .into_iter()
        .map(|(line, message)| format!("{}:{line}: {message}", source.path))
        .collect()
}

#[test]
fn the_house_is_tidy() {
    let (house, sources) = (House::here(), house::sources());
    assert!(
        sources.iter().any(|source| source.path == "src/lib.rs"),
        "the sources were not found"
    );
    let findings: Vec<String> = sources.iter().flat_map(|source| report(&house, source)).collect();
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

#[test]
fn the_import_table_names_only_crates_that_we_depend_on() {
    assert_eq!(House::here().unknown_crates(), Vec::<&str>::new());
}

#[test]
fn the_import_table_names_only_modules_that_there_are_and_what_they_use() {
    assert_eq!(House::here().idle_rows(&house::sources()), Vec::<String>::new());
}

#[path = "tidy/snippets.rs"]
mod snippets;
