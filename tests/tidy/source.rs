//! One source file as the rules see it: its text, its place in the module tree, and the paths, words, functions and
//! attributes in its tokens. Comments and strings are no tokens, so what they say breaks no rule.

use std::collections::BTreeSet;

use proc_macro2::{Delimiter, Group, Span, TokenStream, TokenTree};

pub struct Source {
    pub path: String,
    pub text: String,
    /// `plan::snapshot`, or `bin::tidegate`; empty for `src/lib.rs`, none outside `src/`.
    pub module: Option<String>,
    /// Whether all of the file is test code.
    pub is_test: bool,
    tokens: TokenStream,
    shipped: TokenStream,
}

/// A path such as `crate::plan::Plan` or `kube::Client`; what starts at the root of the package starts with `crate`.
pub struct UsedPath {
    pub segments: Vec<String>,
    pub line: usize,
    /// Whether a `use` brings it in.
    pub imported: bool,
}

pub struct Function {
    pub name: String,
    pub line: usize,
    pub length: usize,
}

impl Source {
    pub fn parse(path: &str, text: &str) -> Source {
        let tokens: TokenStream = text.parse().unwrap_or_else(|error| panic!("{path}: {error}"));
        Source {
            path: path.to_owned(),
            text: text.to_owned(),
            module: module_of(path),
            is_test: !path.starts_with("src/"),
            shipped: without_tests(&tokens),
            tokens,
        }
    }

    /// The modules of other files that this one declares for tests only, such as `plan::tests`.
    pub fn test_modules(&self) -> Vec<String> {
        let mut found = Vec::new();
        for_each_level(&self.tokens, &mut |level| {
            for start in (0..level.len()).filter(|start| is_cfg_test(level, *start)) {
                let item = &level[start..end_of_item(level, start)];
                found.extend(names_after("mod", item).map(|(name, _)| self.child(&name)));
            }
        });
        found
    }

    /// The paths that code outside tests uses, in `use` items and everywhere else, macros included.
    pub fn paths(&self) -> Vec<UsedPath> {
        let mut found = Vec::new();
        for_each_level(&self.shipped, &mut |level| paths_in(level, &mut found));
        for path in &mut found {
            path.segments = self.rooted(&path.segments);
        }
        found
    }

    /// The names that mean something else here than a crate: child modules, and what a `use` brought in.
    pub fn local_names(&self) -> BTreeSet<String> {
        let mut names: BTreeSet<String> = self
            .declared_modules()
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        let imports = self
            .paths()
            .into_iter()
            .filter(|path| path.imported && path.segments.len() > 1);
        names.extend(imports.filter_map(|mut path| path.segments.pop()));
        names
    }

    /// The identifiers and keywords of code outside tests.
    pub fn words(&self) -> Vec<(String, usize)> {
        let mut found = Vec::new();
        for_each_level(&self.shipped, &mut |level| {
            found.extend(
                level
                    .iter()
                    .filter_map(|tree| Some((word(tree)?, line(tree.span())))),
            );
        });
        found
    }

    pub fn declared_modules(&self) -> Vec<(String, usize)> {
        let mut found = Vec::new();
        for_each_level(&self.tokens, &mut |level| found.extend(names_after("mod", level)));
        found
    }

    /// Every function with a body, from `fn` to the closing brace.
    pub fn functions(&self) -> Vec<Function> {
        let mut found = Vec::new();
        for_each_level(&self.tokens, &mut |level| {
            for (index, pair) in level.windows(2).enumerate() {
                let (Some("fn"), Some(name)) = (word(&pair[0]).as_deref(), word(&pair[1])) else {
                    continue;
                };
                let end = end_of_item(level, index);
                if let Some(body) = group(&level[end - 1], Delimiter::Brace) {
                    let line = line(pair[0].span());
                    found.push(Function {
                        name,
                        line,
                        length: body.span_close().start().line - line + 1,
                    });
                }
            }
        });
        found
    }

    /// What stands in `#[…]` and `#![…]`, without its spaces.
    pub fn attributes(&self) -> Vec<(String, usize)> {
        let mut found = Vec::new();
        for_each_level(&self.tokens, &mut |level| {
            for (index, tree) in level.iter().enumerate() {
                let Some(attribute) = group(tree, Delimiter::Bracket) else {
                    continue;
                };
                let before = |back: usize| index.checked_sub(back).and_then(|at| level.get(at));
                if is_punct(before(1), '#') || (is_punct(before(1), '!') && is_punct(before(2), '#')) {
                    found.push((squeezed(attribute), line(attribute.span())));
                }
            }
        });
        found
    }

    fn child(&self, name: &str) -> String {
        match self.module.as_deref() {
            None | Some("") => name.to_owned(),
            Some(module) => format!("{module}::{name}"),
        }
    }

    /// `super`, `self` and the library's own name, written as a path from the root of the package.
    fn rooted(&self, path: &[String]) -> Vec<String> {
        let here: Vec<&str> = self.module.iter().flat_map(|module| module.split("::")).collect();
        let relative = path
            .iter()
            .take_while(|segment| ["self", "super"].contains(&segment.as_str()))
            .count();
        let climbed = path[..relative]
            .iter()
            .filter(|segment| *segment == "super")
            .count();
        let (above, below) = match path.first().map(String::as_str) {
            Some("crate" | "tidegate") => (&here[..0], &path[1..]),
            Some("self" | "super") => (&here[..here.len().saturating_sub(climbed)], &path[relative..]),
            _ => return path.to_vec(),
        };
        let above = above.iter().map(|segment| (*segment).to_owned());
        ["crate".to_owned()]
            .into_iter()
            .chain(above)
            .chain(below.iter().cloned())
            .collect()
    }
}

fn module_of(path: &str) -> Option<String> {
    let inside = path.strip_prefix("src/")?.strip_suffix(".rs")?;
    let name = inside.strip_suffix("/mod").unwrap_or(inside);
    Some(if name == "lib" {
        String::new()
    } else {
        name.replace('/', "::")
    })
}

fn line(span: Span) -> usize {
    span.start().line
}

fn word(tree: &TokenTree) -> Option<String> {
    if let TokenTree::Ident(ident) = tree {
        Some(ident.to_string())
    } else {
        None
    }
}

fn is_punct(tree: Option<&TokenTree>, wanted: char) -> bool {
    matches!(tree, Some(TokenTree::Punct(punct)) if punct.as_char() == wanted)
}

fn group(tree: &TokenTree, delimiter: Delimiter) -> Option<&Group> {
    if let TokenTree::Group(group) = tree {
        (group.delimiter() == delimiter).then_some(group)
    } else {
        None
    }
}

fn squeezed(group: &Group) -> String {
    group.stream().to_string().replace(' ', "")
}

fn names_after(keyword: &str, level: &[TokenTree]) -> impl Iterator<Item = (String, usize)> {
    let hits = level
        .windows(2)
        .filter(move |pair| word(&pair[0]).as_deref() == Some(keyword));
    hits.filter_map(|pair| Some((word(&pair[1])?, line(pair[1].span()))))
}

/// Calls `visit` with the tokens of the file and of every group in it; a group is one token of the level around it.
fn for_each_level(stream: &TokenStream, visit: &mut dyn FnMut(&[TokenTree])) {
    let level: Vec<TokenTree> = stream.clone().into_iter().collect();
    visit(&level);
    for tree in level {
        if let TokenTree::Group(group) = tree {
            for_each_level(&group.stream(), visit);
        }
    }
}

fn is_cfg_test(level: &[TokenTree], index: usize) -> bool {
    let attribute = level
        .get(index + 1)
        .and_then(|tree| group(tree, Delimiter::Bracket));
    let says_test = |it: &Group| squeezed(it) == "cfg(test)" || squeezed(it).starts_with("cfg(all(test,");
    is_punct(level.get(index), '#') && attribute.is_some_and(says_test)
}

/// Where the item that starts at `start` ends: behind its body or its semicolon.
fn end_of_item(level: &[TokenTree], start: usize) -> usize {
    let ends = |tree: &TokenTree| group(tree, Delimiter::Brace).is_some() || is_punct(Some(tree), ';');
    level
        .iter()
        .skip(start)
        .position(ends)
        .map_or(level.len(), |offset| start + offset + 1)
}

fn without_tests(stream: &TokenStream) -> TokenStream {
    let level: Vec<TokenTree> = stream.clone().into_iter().collect();
    let mut kept = Vec::new();
    let mut index = 0;
    while index < level.len() {
        if is_cfg_test(&level, index) {
            index = end_of_item(&level, index);
            continue;
        }
        kept.push(match &level[index] {
            TokenTree::Group(group) => {
                let mut inner = Group::new(group.delimiter(), without_tests(&group.stream()));
                inner.set_span(group.span());
                TokenTree::Group(inner)
            }
            other => other.clone(),
        });
        index += 1;
    }
    kept.into_iter().collect()
}

fn paths_in(level: &[TokenTree], found: &mut Vec<UsedPath>) {
    let mut index = 0;
    while index < level.len() {
        let Some(first) = word(&level[index]) else {
            index += 1;
            continue;
        };
        if first == "use" && !is_punct(level.get(index + 1), '<') {
            let end = index
                + level[index..]
                    .iter()
                    .take_while(|tree| !is_punct(Some(tree), ';'))
                    .count();
            use_tree(&[], &level[index + 1..end], found);
            index = end;
            continue;
        }
        let path = UsedPath {
            line: line(level[index].span()),
            segments: path_at(level, &mut index),
            imported: false,
        };
        if path.segments.len() > 1 {
            found.push(path);
        }
    }
}

/// The longest `a::b::c` at `index`, which moves behind it.
fn path_at(level: &[TokenTree], index: &mut usize) -> Vec<String> {
    let mut segments: Vec<String> = level.get(*index).and_then(word).into_iter().collect();
    *index += 1;
    while is_punct(level.get(*index), ':') && is_punct(level.get(*index + 1), ':') {
        let Some(next) = level.get(*index + 2).and_then(word) else {
            break;
        };
        segments.push(next);
        *index += 3;
    }
    segments
}

/// One path for each leaf of what stands behind `use`; a leaf's alias takes no part, a glob is a leaf called `*`.
fn use_tree(prefix: &[String], tree: &[TokenTree], found: &mut Vec<UsedPath>) {
    for part in tree
        .split(|token| is_punct(Some(token), ','))
        .filter(|part| !part.is_empty())
    {
        let path_tokens = part
            .iter()
            .take_while(|token| word(token).as_deref() != Some("as"));
        let mut segments = prefix.to_vec();
        let mut inner = None;
        for token in path_tokens {
            inner = group(token, Delimiter::Brace).or(inner);
            segments.extend(word(token).or_else(|| is_punct(Some(token), '*').then(|| "*".to_owned())));
        }
        match inner {
            Some(group) => use_tree(&segments, &group.stream().into_iter().collect::<Vec<_>>(), found),
            None => {
                if segments.len() > 1 && segments.last().is_some_and(|last| last == "self") {
                    segments.pop();
                }
                found.push(UsedPath {
                    segments,
                    line: line(part[0].span()),
                    imported: true,
                });
            }
        }
    }
}
