//! Gathering the configuration: file, environment, command line, in Kafka's names. What keys mean is `model::config`'s.
//! Must never touch: the meaning of values.

use std::path::Path;

use coretide_model::config::broker::{ENV_PREFIX, key_of_env};
use coretide_model::config::properties::parse_properties;
use coretide_model::config::{BrokerConfig, Note, Origin};

use crate::ServeOptions;
use crate::error::ServeError;

/// Environment variables of ours that name no broker key: the command line reads them.
const OTHER_VARIABLES: &[&str] = &["CORETIDE_BOOTSTRAP"];

/// Settings out of the file, then the environment, then the command line; later values win.
pub fn load(
    options: &ServeOptions,
    environment: impl Iterator<Item = (String, String)>,
) -> Result<(BrokerConfig, Vec<Note>), ServeError> {
    let mut given = Vec::new();
    if let Some(path) = &options.config_file {
        read_file(path, &mut given)?;
    }
    let mut refused = Vec::new();
    let mut variables: Vec<(String, String)> = environment.filter(|(name, _)| name.starts_with(ENV_PREFIX)).collect();
    variables.sort();
    for (name, value) in variables {
        if OTHER_VARIABLES.contains(&name.as_str()) {
            continue;
        }
        match key_of_env(&name) {
            Some(Ok(key)) => given.push((key.to_string(), value, Origin::Environment)),
            Some(Err(error)) => refused.push(format!("environment variable {name}: {error}")),
            None => {}
        }
    }
    let mut from_flag = |key: &str, value: String| given.push((key.to_string(), value, Origin::CommandLine));
    options.overrides.iter().for_each(|(key, value)| from_flag(key, value.clone()));
    if let Some(data) = &options.data {
        from_flag("log.dirs", data.to_string_lossy().into_owned());
    }
    if let Some(listen) = &options.listen {
        from_flag("listeners", format!("PLAINTEXT://{listen}"));
    }
    if let Some(shards) = options.shards {
        from_flag("coretide.shards", shards.to_string());
    }
    match BrokerConfig::from_given(&given) {
        Ok(loaded) if refused.is_empty() => Ok(loaded),
        Ok(_) => Err(ServeError::Config(refused)),
        Err(errors) => {
            refused.extend(errors.iter().map(ToString::to_string));
            Err(ServeError::Config(refused))
        }
    }
}

fn read_file(path: &Path, given: &mut Vec<(String, String, Origin)>) -> Result<(), ServeError> {
    let text =
        std::fs::read_to_string(path).map_err(|error| ServeError::ConfigFile { path: path.to_path_buf(), error })?;
    let properties = parse_properties(&text)
        .map_err(|error| ServeError::ConfigSyntax { path: path.to_path_buf(), reason: error.to_string() })?;
    given.extend(properties.into_iter().map(|one| (one.key, one.value, Origin::File { line: one.line })));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(key, value)| ((*key).to_string(), (*value).to_string())).collect()
    }

    #[test]
    fn the_command_line_wins_over_the_environment_and_that_over_the_file() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "node.id=1\nlog.dirs=/from/file\nlog.retention.ms=1\ncoretide.shards=1\n")
            .expect("written");
        let options = ServeOptions {
            config_file: Some(file.path().to_path_buf()),
            overrides: pairs(&[("log.retention.ms", "3")]),
            data: Some("/from/flag".into()),
            listen: Some("127.0.0.1:7777".into()),
            shards: None,
        };
        let environment = pairs(&[
            ("CORETIDE_LOG_RETENTION_MS", "2"),
            ("CORETIDE_SHARDS", "2"),
            ("HOME", "/"),
            ("CORETIDE_BOOTSTRAP", "x:1"),
        ]);
        let (config, notes) = load(&options, environment.into_iter()).expect("all valid");
        assert_eq!(config.log_dirs, ["/from/flag"]);
        assert_eq!((config.node_id, config.engine.shards), (1, 2));
        assert_eq!((config.listeners[0].host.as_str(), config.listeners[0].port), ("127.0.0.1", 7777));
        assert_eq!(config.value("log.retention.ms").as_deref(), Some("3"));
        assert!(notes.is_empty(), "{notes:?}");
    }

    #[test]
    fn unknown_keys_bad_values_and_bad_files_are_refused_by_name() {
        let refuse = |overrides: &[(&str, &str)], environment: &[(&str, &str)]| {
            let options = ServeOptions { overrides: pairs(overrides), ..ServeOptions::default() };
            load(&options, pairs(environment).into_iter()).expect_err("must be refused").to_string()
        };
        let text = refuse(&[("log.retention.msx", "3"), ("num.partitions", "0")], &[("CORETIDE_NO_SUCH_KEY", "1")]);
        assert!(text.contains("log.retention.msx") && text.contains("log.retention.ms"), "{text}");
        assert!(text.contains("num.partitions") && text.contains("CORETIDE_NO_SUCH_KEY"), "{text}");
        let options = ServeOptions { config_file: Some("/no/such/file".into()), ..ServeOptions::default() };
        let error = load(&options, std::iter::empty()).expect_err("must be refused");
        assert!(error.to_string().contains("/no/such/file"));
    }
}
