//! Proof that every rule can fail, and that it does not fail on what merely looks alike.

use crate::house::House;
use crate::source::Source;
use crate::{BANS, RULES, report};

const LIB: &str = "
//! | module | kind | of ours | of others |
//! |---|---|---|---|
//! | `api` | pure | | kube::core, serde |
//! | `plan` | pure | api | chrono |
//! | `observe` | IO | api, plan::snapshot | kube |
//! | `clock` | IO | | chrono |
//! | `sandbox` | IO | api | http |
//! | `sandbox::driver*` | IO | plan | |
//! | `cli` | IO | plan | any |
//! | `bin` | IO | cli | any |
";
const MANIFEST: &str = "[dependencies]\nchrono = \"0.4\"\nhttp = \"1\"\nkube = \"5\"\nserde = \"1\"\nserde-saphyr = \"2\"\n[features]\n";

fn report_on(path: &str, code: &str) -> Vec<String> {
    report(
        &House::new(LIB, MANIFEST),
        &Source::parse(path, &format!("//! Owns it.\n{code}")),
    )
}

/// Rule, file, the code from line 2 on, and the beginning of what must be said about it.
#[rustfmt::skip]
const BAD: &[(&str, &str, &str, &str)] = &[
    ("module name", "src/plan/utils.rs", "", "1: `utils` says nothing"),
    ("module name", "src/plan/mod.rs", "mod step;\nmod helpers;", "3: `helpers` says nothing"),
    ("module name", "tests/common.rs", "", "1: `common` says nothing"),
    ("reasons", "src/plan/mod.rs", "#[allow(dead_code)]\nfn f() {}", "2: `#[allow(dead_code)]` needs"),
    ("reasons", "src/plan/mod.rs", "fn f() {\n #[expect(unused)] let x = 1; }", "3: `#[expect(unused)]` needs"),
    ("reasons", "src/plan/mod.rs", "#![cfg_attr(test, allow(dead_code))]", "2: `#[cfg_attr(test,allow(dead_code))]` needs"),
    ("reasons", "tests/demo.rs", "#[allow(dead_code)]\nfn f() {}", "2: `#[allow(dead_code)]` needs"),
    ("imports", "src/plan/mod.rs", "use kube::Client;", "2: `plan` may not use `kube::Client`"),
    ("imports", "src/plan/mod.rs", "use kube as k;", "2: `plan` may not use `kube`"),
    ("imports", "src/plan/mod.rs", "use ::kube::*;", "2: `plan` may not use `kube::*`"),
    ("imports", "src/plan/mod.rs", "fn f(c: &kube::Client) {}", "2: `plan` may not use `kube::Client`"),
    ("imports", "src/plan/mod.rs", "fn f() { g!(1, [kube::x()]) }", "2: `plan` may not use `kube::x`"),
    ("imports", "src/plan/mod.rs", "use serde_saphyr::from_str;", "2: `plan` may not use `serde_saphyr::from_str`"),
    ("imports", "src/plan/mod.rs", "use crate::{api, cli::{self, get}};", "2: `plan` may not use `crate::cli`"),
    ("imports", "src/plan/mod.rs", "fn f() { crate::apply::now() }", "2: `plan` may not use `crate::apply::now`"),
    ("imports", "src/plan/a/b.rs", "use super::super::super::cli::get;", "2: `plan::a::b` may not use `crate::cli::get`"),
    ("imports", "src/plan/mod.rs", "use super::observe;", "2: `plan` may not use `crate::observe`"),
    ("imports", "src/api/mod.rs", "use kube::{Client, core::Object};", "2: `api` may not use `kube::Client`"),
    ("imports", "src/observe/mod.rs", "use crate::plan;", "2: `observe` may not use `crate::plan`"),
    ("imports", "src/observe/mod.rs", "use crate::plan::step;", "2: `observe` may not use `crate::plan::step`"),
    ("imports", "src/sandbox/store.rs", "use crate::plan::Plan;", "2: `sandbox::store` may not use `crate::plan::Plan`"),
    ("imports", "src/bin/tidegate.rs", "use tidegate::plan;", "2: `bin::tidegate` may not use `crate::plan`"),
    ("imports", "src/plan/mod.rs", "#[cfg(any(test, feature = \"x\"))]\nuse kube::Client;", "3: `plan` may not use `kube::Client`"),
    ("imports", "src/newcomer.rs", "", "1: `newcomer` has no row"),
    ("bans", "src/plan/mod.rs", "fn f() { let now = chrono::Utc::now(); }", "2: `Utc::now` does not belong"),
    ("bans", "src/cli/get.rs", "use std::time::{Duration, Instant};", "2: `time::Instant` does not belong"),
    ("bans", "src/cli/get.rs", "use std::time;\nfn f() { time::SystemTime::now(); }", "3: `SystemTime::now` does not belong"),
    ("bans", "src/sandbox/load.rs", "fn f() { tokio::time::Instant::now(); }", "2: `Instant::now` does not belong"),
    ("bans", "src/sandbox/store.rs", "use std::hash::RandomState;", "2: `RandomState` does not belong"),
    ("bans", "src/sandbox/store.rs", "fn f() -> u8 { rand::random() }", "2: `rand` does not belong"),
    ("bans", "src/plan/mod.rs", "use std::collections::{BTreeMap, HashMap};", "2: `HashMap` does not belong"),
    ("bans", "src/observe/mod.rs", "type T = std::collections::HashSet<u8>;", "2: `HashSet` does not belong"),
    ("bans", "src/plan/mod.rs", "\nasync fn f() {}", "3: `async` does not belong"),
    ("bans", "src/api/mod.rs", "fn f() { select!(x.await) }", "2: `await` does not belong"),
    ("bans", "src/plan/mod.rs", "use std::{fmt, fs};", "2: `std::fs` does not belong"),
];

/// What looks alike and is right.
#[rustfmt::skip]
const GOOD: &[(&str, &str)] = &[
    ("src/plan/mod.rs", "/// Not [`crate::cli`], not `Utc::now()`.\nconst S: &str = \"kube::Client async HashMap\"; // rand"),
    ("src/plan/mod.rs", "#[cfg(test)]\nmod tests {\n use kube::Client; use std::collections::HashMap; async fn f() {} }"),
    ("src/plan/mod.rs", "#[cfg(test)]\nuse crate::cli;\n#[cfg(test)]\n#[derive(Debug)]\nstruct T { at: kube::Client }"),
    ("src/plan/mod.rs", "use crate::api::{self, Rollout};\nuse self::step::Step;\nuse crate::plan::weight;\nuse chrono as time;"),
    ("src/plan/a.rs", "use super::{b, step::Step};\nfn f(x: u8) -> Vec<u8> { b::g::<u8>(x).into_iter().collect::<Vec<_>>() }"),
    ("src/plan/mod.rs", "mod kube;\nuse crate::api::http;\nfn f() { kube::pod(); http::route(); }"),
    ("src/api/mod.rs", "use kube::core::{Object, ObjectMeta};\n#[derive(serde::Serialize)]\nstruct S;"),
    ("src/observe/mod.rs", "use crate::plan::snapshot::{self, Snapshot};\nasync fn f(c: kube::Client) {}"),
    ("src/sandbox/driver_faults.rs", "use crate::plan::Plan;\nuse http::Request;"),
    ("src/sandbox/rng.rs", "use std::hash::RandomState;"),
    ("src/clock.rs", "use std::time::Instant;\nfn f() { chrono::Utc::now(); Instant::now(); }"),
    ("src/cli/get.rs", "use std::{env, io};\nuse serde_saphyr as yaml;\nfn f(b: [u8; 2]) { allow(b[0]) }"),
    ("src/bin/tidegate.rs", "fn main() { tidegate::cli::main() }"),
    ("src/cli/get.rs", "#[expect(dead_code, reason = \"(because)\")]\nfn f() {}"),
    ("tests/demo.rs", "use std::time::Instant;\nuse tidegate::plan;\nasync fn f() {}"),
];

#[test]
fn every_rule_finds_what_is_bad() {
    for (rule, path, code, expected) in BAD {
        let findings = report_on(path, code);
        let expected = format!("{path}:{expected}");
        assert!(
            findings.iter().any(|it| it.starts_with(&expected)),
            "{rule}: {expected}…\nfound {findings:#?}"
        );
    }
}

#[test]
fn what_looks_alike_is_left_alone() {
    for (path, code) in GOOD {
        assert_eq!(report_on(path, code), Vec::<String>::new(), "{code}");
    }
}

#[test]
fn lengths_are_counted_to_the_line() {
    let comments = |lines: usize| "//\n".repeat(lines);
    let body = |lines: usize| {
        format!(
            "impl A {{\n fn long(&self) -> u8 {{\n{} 1\n }}\n}}",
            comments(lines)
        )
    };
    let cases = [
        ("src/plan/mod.rs", comments(499), None),
        (
            "src/plan/mod.rs",
            comments(500),
            Some("501: 501 lines, at most 500"),
        ),
        (
            "tests/demo.rs",
            comments(500),
            Some("501: 501 lines, at most 500"),
        ),
        ("src/bin/tidegate.rs", comments(39), None),
        (
            "src/bin/tidegate.rs",
            comments(40),
            Some("41: 41 lines, at most 40"),
        ),
        ("src/plan/mod.rs", body(67), None),
        (
            "src/plan/mod.rs",
            body(68),
            Some("3: `long` has 71 lines, at most 70"),
        ),
        (
            "tests/demo.rs",
            body(68),
            Some("3: `long` has 71 lines, at most 70"),
        ),
    ];
    for (path, code, expected) in cases {
        let findings = report_on(path, &code);
        assert_eq!(
            findings.len(),
            usize::from(expected.is_some()),
            "{path}: {findings:?}"
        );
        assert!(
            findings
                .iter()
                .zip(expected)
                .all(|(it, expected)| it.starts_with(&format!("{path}:{expected}")))
        );
    }
}

#[test]
fn a_file_without_a_word_about_itself_is_found() {
    for (text, findings) in [
        ("fn f() {}", 1),
        ("//!\n", 1),
        ("// no doc\n//! late\n", 1),
        ("//! Owns f.\n", 0),
    ] {
        let source = Source::parse("src/plan/mod.rs", text);
        assert_eq!(
            report(&House::new(LIB, MANIFEST), &source).len(),
            findings,
            "{text}"
        );
    }
}

#[test]
fn test_modules_in_files_of_their_own_are_known() {
    let code = "#[cfg(test)]\nmod tests;\n#[cfg(all(test, feature = \"sandbox\"))]\n#[path = \"x.rs\"]\nmod golden;\nmod shipped;";
    assert_eq!(
        Source::parse("src/plan/mod.rs", code).test_modules(),
        ["plan::tests", "plan::golden"]
    );
}

/// Without this a rule or a ban could be added and never be seen to work.
#[test]
fn every_rule_and_every_ban_is_proved() {
    let elsewhere = ["file length", "function length", "module doc"];
    for rule in &RULES {
        let proved = elsewhere.contains(&rule.name) || BAD.iter().any(|(name, ..)| *name == rule.name);
        assert!(proved, "no bad snippet for the rule `{}`", rule.name);
    }
    for ban in &BANS {
        let proved = BAD
            .iter()
            .any(|(.., said)| ban.what.iter().any(|what| said.contains(&format!("`{what}`"))));
        assert!(proved, "no bad snippet for the ban of {:?}", ban.what);
    }
}

#[test]
fn a_row_without_a_module_and_an_idle_permission_are_found() {
    let sources = [
        ("src/api/mod.rs", "//! Owns it."),
        ("src/plan/mod.rs", "//! Owns it.\nuse crate::api::names;"),
        (
            "src/observe/mod.rs",
            "//! Owns it.\nuse crate::api::names;\nuse crate::plan::needs;",
        ),
        ("src/clock.rs", "//! Owns it."),
        ("src/sandbox/driver.rs", "//! Owns it.\nuse crate::{api, plan};"),
        ("src/bin/tidegate.rs", "//! Owns it.\nuse crate::cli;"),
    ];
    let sources: Vec<_> = sources
        .iter()
        .map(|(path, code)| Source::parse(path, code))
        .collect();
    assert_eq!(
        House::new(LIB, MANIFEST).idle_rows(&sources),
        [
            "`observe` does not use `plan::snapshot`",
            "there is no module `cli`"
        ]
    );
}
