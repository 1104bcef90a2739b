//! What the broker says when it is up: where it listens, what runs where, where the data is, what an ack means, what the
//! machine refused and what that costs, and one thing to try.
//! Must never touch: deciding any of it.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;

/// Everything that is said.
pub(crate) struct StartLines<'a> {
    pub(crate) addresses: &'a [(String, SocketAddr)],
    pub(crate) shards: u16,
    /// The core of each shard; empty: not pinned.
    pub(crate) cores: &'a [usize],
    pub(crate) data: &'a Path,
    pub(crate) file_system: &'a str,
    pub(crate) cluster_id: &'a str,
    /// The broker's default for `flush.messages`.
    pub(crate) flush_messages: i64,
    /// Each: what was refused, and what that costs.
    pub(crate) refused: &'a [String],
}

impl StartLines<'_> {
    /// The lines, the last of which is `ready` with the addresses, for programs that wait for it.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        let addresses: Vec<String> = self.addresses.iter().map(|(_, address)| address.to_string()).collect();
        let mut line = |name: &str, value: &str| writeln!(text, "  {name:<10}{value}").expect("a string takes all");
        line(
            "listens",
            &self.addresses.iter().map(|(name, at)| format!("{at} ({name})")).collect::<Vec<_>>().join(", "),
        );
        let cores: Vec<String> = self.cores.iter().map(ToString::to_string).collect();
        let shards = match (self.shards, cores.as_slice()) {
            (shards, []) => format!("{shards}, not pinned to cores"),
            (1, [core]) => format!("1, on core {core}"),
            (shards, cores) => format!("{shards}, on cores {}", cores.join(", ")),
        };
        line("shards", &shards);
        line("data", &format!("{} ({}), cluster {}", self.data.display(), self.file_system, self.cluster_id));
        line("an ack", &self.durability());
        match self.refused {
            [] => line("refused", "nothing: io_uring and direct IO are there"),
            refused => refused.iter().for_each(|refusal| line("refused", refusal)),
        }
        let first = addresses.first().map_or("127.0.0.1:9092", String::as_str);
        line("try", &format!("echo hello | coretide produce --bootstrap {first} --create greetings"));
        format!("coretide {}\n{text}ready {}", env!("CARGO_PKG_VERSION"), addresses.join(","))
    }

    fn durability(&self) -> String {
        match self.flush_messages {
            1 => "means on stable storage: survives power loss (log.flush.interval.messages=1)".to_string(),
            more => format!(
                "means written to the device: survives kill -9, not power loss (log.flush.interval.messages={more}; 1 is \
                 durable)"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_said_and_the_last_line_is_for_programs() {
        let addresses = [("PLAINTEXT".to_string(), "127.0.0.1:9092".parse().expect("an address"))];
        let mut lines = StartLines {
            addresses: &addresses,
            shards: 2,
            cores: &[0, 1],
            data: Path::new("./data"),
            file_system: "ext2/3/4",
            cluster_id: "abc",
            flush_messages: 1,
            refused: &[],
        };
        let text = lines.text();
        assert_eq!(text.lines().last(), Some("ready 127.0.0.1:9092"));
        for part in
            ["127.0.0.1:9092 (PLAINTEXT)", "2, on cores 0, 1", "./data (ext2/3/4)", "power loss", "nothing", "produce"]
        {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
        let refused = ["direct IO: slower".to_string()];
        (lines.flush_messages, lines.refused, lines.cores) = (10_000, &refused, &[]);
        let text = lines.text();
        assert!(text.contains("not power loss") && text.contains("direct IO: slower") && text.contains("not pinned"));
    }
}
