//! The texts that Kafka and Maven are given. Must not start anything.

use std::path::Path;

/// An id for a cluster of one that lives for one measurement: 16 bytes in URL-safe base64.
pub const CLUSTER_ID: &str = "Y29yZXRpZGUtYmVuY2hfXw";
/// The tools that format storage, and what prints Kafka's warnings, which its own jars would swallow.
const SLF4J: &str = "1.7.36";

/// The ports of a node.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// For clients.
    pub broker: u16,
    /// For the controller.
    pub controller: u16,
}

/// A node that is broker and controller, with Kafka's defaults but for what a single node needs.
pub fn server_properties(ports: Ports, data: &Path, extra: &[String]) -> String {
    let Ports { broker, controller } = ports;
    let listeners = format!("PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}");
    let mut lines = vec![
        "process.roles=broker,controller".to_string(),
        "node.id=1".to_string(),
        format!("controller.quorum.bootstrap.servers=127.0.0.1:{controller}"),
        format!("listeners={listeners}"),
        format!("advertised.listeners={listeners}"),
        "controller.listener.names=CONTROLLER".to_string(),
        "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT".to_string(),
        format!("log.dirs={}", data.display()),
        "offsets.topic.replication.factor=1".to_string(),
        "transaction.state.log.replication.factor=1".to_string(),
        "transaction.state.log.min.isr=1".to_string(),
    ];
    lines.extend(extra.iter().cloned());
    lines.join("\n") + "\n"
}

/// A pom that names the broker of a version and what it needs. An error: that is no version.
pub fn pom(version: &str) -> Result<String, String> {
    let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if version.is_empty() || !version.chars().all(sound) {
        return Err(format!("'{version}' is no version of Kafka; as in {}", super::VERSION));
    }
    let dependency = |group: &str, artifact: &str, version: &str| {
        let quiet = "<exclusion><groupId>org.slf4j</groupId><artifactId>slf4j-nop</artifactId></exclusion>";
        format!(
            "    <dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version>\
             <exclusions>{quiet}</exclusions></dependency>\n"
        )
    };
    Ok(format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\">\n  <modelVersion>4.0.0</modelVersion>\n  \
         <groupId>coretide</groupId>\n  <artifactId>bench-kafka</artifactId>\n  <version>1</version>\n  <dependencies>\n\
         {}{}{}  </dependencies>\n</project>\n",
        dependency("org.apache.kafka", "kafka_2.13", version),
        dependency("org.apache.kafka", "kafka-tools", version),
        dependency("org.slf4j", "slf4j-simple", SLF4J),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cluster_id_is_what_kafka_takes() {
        assert_eq!(CLUSTER_ID.len(), 22, "16 bytes in base64 without padding");
        assert!(CLUSTER_ID.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_'));
    }

    #[test]
    fn the_node_listens_where_it_is_told_and_extra_lines_come_last() {
        let ports = Ports { broker: 1234, controller: 4321 };
        let text = server_properties(ports, Path::new("/d"), &["num.io.threads=3".to_string()]);
        assert!(text.contains("listeners=PLAINTEXT://127.0.0.1:1234,CONTROLLER://127.0.0.1:4321\n"));
        assert!(text.contains("log.dirs=/d\n") && text.ends_with("num.io.threads=3\n"));
    }

    #[test]
    fn a_version_cannot_smuggle_anything_into_the_pom() {
        assert!(pom("4.3.1").unwrap().contains("<version>4.3.1</version>"));
        assert!(pom("4.3.1</version>").is_err() && pom("").is_err());
    }
}
