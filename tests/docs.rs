//! The documentation keeps up: every relative link leads to a file that exists, and to a heading in it if it names
//! one, every page is in the index of its folder, every reason to wait is explained, and what pages about other tools
//! have to copy is YAML and calls the plugin as it can be called.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser as _;
use serde_json::Value;
use tidegate::api::rollout_status::WaitingReason;
use tidegate::cli::plugin::Plugin;

/// The targets of `[text](target)` outside code blocks, without those that leave the repository.
fn relative_links(markdown: &str) -> Vec<&str> {
    let prose = markdown.split("```").step_by(2);
    let targets = prose
        .flat_map(|text| text.split("](").skip(1))
        .filter_map(|rest| rest.split_once(')'));
    targets
        .map(|(target, _)| target)
        .filter(|target| !target.contains("://"))
        .collect()
}

/// The name that a heading gets in a link, as GitHub makes it.
fn anchors(markdown: &str) -> Vec<String> {
    let keep = |c: &char| c.is_alphanumeric() || *c == '-' || *c == ' ';
    let anchor = |heading: &str| {
        heading
            .trim()
            .to_lowercase()
            .chars()
            .filter(keep)
            .collect::<String>()
    };
    let headings = markdown.lines().filter_map(|line| line.strip_prefix('#'));
    headings
        .map(|heading| anchor(heading.trim_start_matches('#')).replace(' ', "-"))
        .collect()
}

fn is_broken(file: &Path, markdown: &str, link: &str) -> bool {
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = file
        .parent()
        .map(|folder| folder.join(path))
        .filter(|_| !path.is_empty());
    let there = match target {
        None => markdown.to_owned(),
        Some(target) if anchor.is_empty() => return !target.exists(),
        Some(target) => fs::read_to_string(target).unwrap_or_default(),
    };
    !anchors(&there).contains(&anchor.to_owned())
}

fn documents(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    entries
        .flat_map(|path| {
            if path.is_dir() {
                documents(&path)
            } else {
                vec![path]
            }
        })
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect()
}

#[test]
fn links_lead_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let elsewhere = [
        "README.md",
        "CONTRIBUTING.md",
        "analysis-templates/README.md",
        "gitops/README.md",
    ]
    .map(|name| root.join(name));
    let files = documents(&root.join("docs"))
        .into_iter()
        .chain(elsewhere)
        .filter(|file| file.exists());
    let mut broken = Vec::new();
    for file in files {
        let markdown = fs::read_to_string(&file).unwrap();
        let links = relative_links(&markdown)
            .into_iter()
            .filter(|link| is_broken(&file, &markdown, link));
        broken.extend(links.map(|link| format!("{}: {link}", file.display())));
    }
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

#[test]
fn a_broken_link_is_found() {
    let markdown = "# It's up: 1 & 2\n[a](#its-up-1--2) [b](#its-up)\n```\n[c](none.md)\n```\n\
        [d](README.md) [e](none.md) [f](README.md#none) [g](https://example.org/none.md)";
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/page.md");
    let links = relative_links(markdown).into_iter();
    let broken: Vec<&str> = links.filter(|link| is_broken(&file, markdown, link)).collect();
    assert_eq!(broken, ["#its-up", "none.md", "README.md#none"]);
}

/// Pages of `names` that the index does not link.
fn unlisted<'a>(index: &str, names: &[&'a str]) -> Vec<&'a str> {
    let links = relative_links(index);
    let is_listed = |name: &str| links.iter().any(|link| link.split('#').next() == Some(name));
    names
        .iter()
        .copied()
        .filter(|name| *name != "README.md" && !is_listed(name))
        .collect()
}

#[test]
fn every_page_is_in_the_index_of_its_folder() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for folder in ["docs", "docs/decisions"].map(|name| root.join(name)) {
        let pages: Vec<PathBuf> = documents(&folder)
            .into_iter()
            .filter(|page| page.parent() == Some(&folder))
            .collect();
        let names: Vec<&str> = pages
            .iter()
            .filter_map(|page| page.file_name()?.to_str())
            .collect();
        assert!(
            names.len() > 5,
            "the pages of {} were not found",
            folder.display()
        );
        let index = fs::read_to_string(folder.join("README.md")).unwrap();
        let missing = unlisted(&index, &names);
        assert!(
            missing.is_empty(),
            "not in {}/README.md: {missing:?}",
            folder.display()
        );
    }
}

#[test]
fn a_page_that_is_not_in_the_index_is_found() {
    let index = "[a](a.md#part) `b.md`\n```\n[b](b.md)\n```";
    assert_eq!(unlisted(index, &["README.md", "a.md", "b.md"]), ["b.md"]);
}

#[test]
fn every_reason_to_wait_is_explained() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/troubleshooting.md");
    let page = fs::read_to_string(page).unwrap();
    let schema = schemars::schema_for!(WaitingReason);
    let reasons = schema
        .get("oneOf")
        .and_then(|variants| variants.as_array())
        .unwrap();
    let reasons: Vec<&str> = reasons
        .iter()
        .map(|variant| variant["const"].as_str().unwrap())
        .collect();
    let missing: Vec<_> = reasons
        .iter()
        .filter(|reason| !page.contains(&format!("\n| `{reason}` |")))
        .collect();
    assert!(
        reasons.contains(&"Settle") && missing.is_empty(),
        "not in docs/troubleshooting.md: {missing:?}"
    );
}

/// What stands between fences of this language.
fn fenced<'a>(markdown: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    markdown
        .split(fence.as_str())
        .skip(1)
        .filter_map(|rest| rest.split_once("```"))
        .map(|(code, _)| code)
        .collect()
}

/// Pages about other tools, with their files to copy.
const PAGES_TO_COPY_FROM: [&str; 2] = ["docs/ci.md", "docs/gitops.md"];

#[test]
fn pipelines_are_yaml() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pages = PAGES_TO_COPY_FROM.map(|page| fs::read_to_string(root.join(page)).unwrap());
    let mut found = 0;
    for code in pages.iter().flat_map(|page| fenced(page, "yaml")) {
        let parsed: Result<Vec<Value>, _> = serde_saphyr::from_multiple(code);
        assert!(parsed.is_ok(), "{code}{}", parsed.unwrap_err());
        found += 1;
    }
    for file in [
        "argocd/application.yaml",
        "argocd/argocd-cm.yaml",
        "argocd/rbac.yaml",
        "flux/kustomization.yaml",
    ] {
        let text = fs::read_to_string(root.join("gitops").join(file)).unwrap();
        let parsed: Result<Vec<Value>, _> = serde_saphyr::from_multiple(&text);
        assert!(
            parsed.is_ok_and(|documents| documents.iter().all(|object| object["kind"].is_string())),
            "{file}"
        );
    }
    assert_eq!(found, 5, "pipelines and a kustomization");
}

/// The arguments of every `kubectl tidegate` on a page, quotes taken away. A verb alone is a mention.
fn plugin_commands(markdown: &str) -> Vec<Vec<String>> {
    let calls = markdown.split("kubectl tidegate ").skip(1);
    let ends = |character: char| matches!(character, '`' | '\n' | '|' | '<' | '"');
    calls
        .filter_map(|call| call.split(ends).next())
        .map(|call| call.split_whitespace().map(str::to_owned).collect())
        .filter(|arguments: &Vec<String>| arguments.len() > 1)
        .collect()
}

#[test]
fn commands_of_the_plugin_exist_with_these_flags() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut tried = 0;
    for page in PAGES_TO_COPY_FROM {
        for arguments in plugin_commands(&fs::read_to_string(root.join(page)).unwrap()) {
            let parsed =
                Plugin::try_parse_from([&["kubectl-tidegate".to_owned()], arguments.as_slice()].concat());
            assert!(parsed.is_ok(), "{page}: {arguments:?}: {}", parsed.unwrap_err());
            tried += 1;
        }
    }
    assert!(tried > 5, "{tried} commands");
}

#[test]
fn a_command_that_does_not_exist_is_found() {
    let page = "`kubectl tidegate wait checkout --for ready` and `kubectl tidegate status`";
    let commands = plugin_commands(page);
    assert_eq!(commands, [["wait", "checkout", "--for", "ready"]]);
    let parsed = Plugin::try_parse_from([&["kubectl-tidegate".to_owned()], commands[0].as_slice()].concat());
    assert!(parsed.is_err());
}
