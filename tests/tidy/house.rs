//! What the rules know about the package as a whole: the import table in the documentation of `src/lib.rs` and the
//! crates of `Cargo.toml`. The table is written there and only there, where a reader looks for it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::source::{Source, UsedPath};

pub struct House {
    rows: Vec<Row>,
    pub crates: BTreeSet<String>,
}

struct Row {
    name: String,
    pure: bool,
    /// Paths below `crate`.
    ours: Vec<String>,
    others: Vec<String>,
}

impl House {
    pub fn new(lib: &str, manifest: &str) -> House {
        House {
            rows: lib.lines().filter_map(row).collect(),
            crates: dependencies(manifest),
        }
    }

    pub fn here() -> House {
        let read = |name: &str| fs::read_to_string(root().join(name)).expect(name);
        House::new(&read("src/lib.rs"), &read("Cargo.toml"))
    }

    pub fn has_row_for(&self, module: &str) -> bool {
        self.rows_of(module).next().is_some()
    }

    pub fn is_pure(&self, module: &str) -> bool {
        self.rows_of(module).any(|row| row.pure)
    }

    /// Whether `module` may name `path`, which starts with `crate` or with the name of a crate.
    pub fn allows(&self, module: &str, path: &[String]) -> bool {
        match path {
            [root, ours @ ..] if root == "crate" => {
                let own = module.split("::").next();
                let target = ours.join("::");
                ours.first().map(String::as_str) == own
                    || self
                        .rows_of(module)
                        .flat_map(|row| &row.ours)
                        .any(|allowed| is_within(&target, allowed))
            }
            _ => {
                let target = path.join("::");
                let mut allowed = self.rows_of(module).flat_map(|row| &row.others);
                allowed.any(|allowed| allowed == "any" || is_within(&target, allowed))
            }
        }
    }

    /// What the table allows but `Cargo.toml` does not have: a spelling mistake, or a row that outlived its crate.
    pub fn unknown_crates(&self) -> Vec<&str> {
        let named = self
            .rows
            .iter()
            .flat_map(|row| &row.others)
            .filter_map(|path| path.split("::").next());
        named
            .filter(|name| *name != "any" && !self.crates.contains(*name))
            .collect()
    }

    /// Rows without a module, and what rows allow of ours although none of their modules uses it.
    pub fn idle_rows(&self, sources: &[Source]) -> Vec<String> {
        let of_row = |row: &Row| {
            let in_row = |source: &&Source| {
                let module = source.module.as_deref().unwrap_or_default();
                !source.is_test && row.is_about(module)
            };
            let modules: Vec<&Source> = sources.iter().filter(in_row).collect();
            if modules.is_empty() {
                return vec![format!("there is no module `{}`", row.name)];
            }
            let paths = modules.iter().flat_map(|source| source.paths());
            // The binaries call the library by its name.
            let ours = |path: UsedPath| match path.segments.as_slice() {
                [root, ours @ ..] if root == "crate" || root == "tidegate" => Some(ours.join("::")),
                _ => None,
            };
            let used: Vec<String> = paths.filter_map(ours).collect();
            let idle = |allowed: &&String| !used.iter().any(|used| is_within(used, allowed));
            let say = |allowed: &String| format!("`{}` does not use `{allowed}`", row.name);
            row.ours.iter().filter(idle).map(say).collect()
        };
        self.rows.iter().flat_map(of_row).collect()
    }

    fn rows_of(&self, module: &str) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| row.is_about(module))
    }
}

impl Row {
    fn is_about(&self, module: &str) -> bool {
        match self.name.strip_suffix('*') {
            Some(stem) => module.starts_with(stem),
            None => is_within(module, &self.name),
        }
    }
}

/// Whether `path` is `ancestor` or lies below it.
pub fn is_within(path: &str, ancestor: &str) -> bool {
    path.strip_prefix(ancestor)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Every Rust source of the package, test code marked as such.
pub fn sources() -> Vec<Source> {
    let mut paths = Vec::new();
    for folder in ["src", "tests", "benches"] {
        collect(&root().join(folder), &mut paths);
    }
    paths.sort();
    let parse = |path: &PathBuf| {
        let name = path
            .strip_prefix(root())
            .unwrap_or(path)
            .to_string_lossy()
            .replace('\\', "/");
        Source::parse(&name, &fs::read_to_string(path).expect(&name))
    };
    let mut sources: Vec<Source> = paths.iter().map(parse).collect();
    let for_tests: Vec<String> = sources.iter().flat_map(Source::test_modules).collect();
    for source in &mut sources {
        let module = source.module.clone().unwrap_or_default();
        source.is_test |= for_tests.iter().any(|test| is_within(&module, test));
    }
    sources
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// ``//! | `module` | kind | of ours | of others |``
fn row(line: &str) -> Option<Row> {
    let cells: Vec<&str> = line.strip_prefix("//! |")?.split('|').map(str::trim).collect();
    let [name, kind, ours, others, ""] = cells.as_slice() else {
        return None;
    };
    let name = name.strip_prefix('`')?.strip_suffix('`')?;
    let list = |cell: &str| {
        cell.split(", ")
            .filter(|entry| !entry.is_empty())
            .map(str::to_owned)
            .collect()
    };
    Some(Row {
        name: name.to_owned(),
        pure: *kind == "pure",
        ours: list(ours),
        others: list(others),
    })
}

fn dependencies(manifest: &str) -> BTreeSet<String> {
    let section = manifest
        .lines()
        .skip_while(|line| *line != "[dependencies]")
        .skip(1);
    let entries = section
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split_once(" = "));
    entries.map(|(name, _)| name.replace('-', "_")).collect()
}
