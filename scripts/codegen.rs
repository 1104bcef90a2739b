//! `cargo x codegen`: checked-in Rust from the definitions in `scripts/definitions`: the messages and record formats of
//! `src/wire/messages` and the error codes of `src/model/error.rs`. `--check` compares and writes nothing.

use crate::codegen_arbitrary;
use crate::codegen_emit;
use crate::codegen_errors;
use crate::codegen_schema::{Message, snake_case};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const MESSAGES: &str = "src/wire/messages";

/// What `--help` prints.
pub const USAGE: &str = "usage: cargo x codegen [--check]
  --check                 write nothing, fail where something would be written";

/// Writes (or with `--check` compares) every generated file.
pub fn run(arguments: &[String]) -> Result<(), String> {
    let check = match arguments {
        [] => false,
        [flag] if flag == "--check" => true,
        _ => return Err(USAGE.into()),
    };
    let root = crate::root()?;
    let outputs = outputs(&root)?;
    let mut stale = Vec::new();
    for (path, text) in &outputs {
        if fs::read_to_string(root.join(path)).is_ok_and(|old| old == *text) {
            continue;
        }
        stale.push(path.display().to_string());
        if !check {
            write(&root.join(path), text)?;
        }
    }
    for path in json_or_rust_files(&root.join(MESSAGES), "rs")? {
        let path = path.strip_prefix(&root).expect("it was found under the root").to_owned();
        if !outputs.contains_key(&path) {
            stale.push(path.display().to_string());
            if !check {
                fs::remove_file(root.join(&path)).map_err(|e| format!("{}: {e}", path.display()))?;
            }
        }
    }
    if check && !stale.is_empty() {
        return Err(format!("not what the generator makes, run `cargo x codegen`: {}", stale.join(", ")));
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    let folder = path.parent().expect("a file has a folder");
    fs::create_dir_all(folder).and_then(|()| fs::write(path, text)).map_err(|e| format!("{}: {e}", path.display()))
}

/// Every generated file's path below the root, and its text.
fn outputs(root: &Path) -> Result<BTreeMap<PathBuf, String>, String> {
    let definitions = root.join("scripts/definitions");
    let mut modules: BTreeMap<String, Vec<Message>> = BTreeMap::new();
    for folder in ["clients", "group-coordinator", "metadata", "storage"] {
        for path in json_or_rust_files(&definitions.join(folder), "json")? {
            let message = Message::parse(&read_json(&path)?).map_err(|e| format!("{}: {e}", path.display()))?;
            modules.entry(module_of(&message)).or_default().push(message);
        }
    }
    for messages in modules.values_mut() {
        prefix_collisions(messages);
    }
    let mut raw = BTreeMap::new();
    raw.insert(
        PathBuf::from("src/model/error.rs"),
        codegen_errors::emit(&read_json(&definitions.join("errors.json"))?)?,
    );
    raw.insert(PathBuf::from(format!("{MESSAGES}.rs")), codegen_emit::module_list(&modules));
    raw.insert(PathBuf::from(format!("{MESSAGES}/api_key.rs")), codegen_emit::api_keys(&modules));
    raw.insert(PathBuf::from("src/wire/tests/all_messages.rs"), codegen_arbitrary::visitor(&modules));
    raw.insert(PathBuf::from("src/wire/tests/generated.rs"), codegen_arbitrary::emit(&modules));
    for (module, messages) in &modules {
        raw.insert(PathBuf::from(format!("{MESSAGES}/{module}.rs")), codegen_emit::module(messages));
    }
    raw.into_iter().map(|(path, text)| Ok((path, rustfmt(root, &text)?))).collect()
}

/// Requests and responses live in their API's module, all else in `records`.
fn module_of(message: &Message) -> String {
    let api = message.name.strip_suffix("Request").or(message.name.strip_suffix("Response"));
    api.map_or_else(|| "records".to_owned(), snake_case)
}

/// Structs of one name in two messages of a module get the message's name in front.
fn prefix_collisions(messages: &mut [Message]) {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for name in messages.iter().flat_map(|m| m.structs.iter().map(|s| s.name.clone())) {
        *seen.entry(name).or_default() += 1;
    }
    for message in messages {
        for name in seen.iter().filter(|(_, times)| **times > 1).map(|(name, _)| name) {
            message.rename_struct(name, &format!("{}{name}", message.name));
        }
    }
}

fn json_or_rust_files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>, String> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    paths.sort();
    Ok(paths)
}

fn read_json(path: &Path) -> Result<Value, String> {
    let text = fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))
}

fn rustfmt(root: &Path, text: &str) -> Result<String, String> {
    let mut child = Command::new("rustfmt")
        .args(["--edition", "2024", "--config-path"])
        .arg(root.join(".rustfmt.toml"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| format!("rustfmt: {e}"))?;
    let mut input = child.stdin.take().expect("stdin is piped");
    let text = text.to_owned();
    let writer = std::thread::spawn(move || input.write_all(text.as_bytes()));
    let output = child.wait_with_output().map_err(|e| format!("rustfmt: {e}"))?;
    writer.join().expect("the writer does not panic").map_err(|e| format!("rustfmt: {e}"))?;
    if !output.status.success() {
        return Err("rustfmt refused the generated code".into());
    }
    String::from_utf8(output.stdout).map_err(|e| format!("rustfmt: {e}"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn checked_in_code_is_what_the_generator_makes() {
        assert_eq!(super::run(&["--check".to_owned()]), Ok(()));
    }
}
