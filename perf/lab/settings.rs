//! A producer's settings by Kafka's names, with the defaults of the client whose rules it follows.
//! Must never touch: what the rules do with them.

use crate::lab::scenario::{Acks, CompressionType};
use serde::{Deserialize, Serialize};

/// Whose rules a producer follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientKind {
    /// The official Java client: a request takes the oldest batch of each of a broker's partitions along.
    #[default]
    Java,
    /// librdkafka, on which the clients of most other languages stand: each request carries one batch.
    Librdkafka,
}

/// A producer's settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct ProducerSettings {
    /// Whose rules it follows.
    pub kind: ClientKind,
    /// Bytes that a batch of one partition may have; 0: every record alone.
    pub batch_size: u32,
    /// How long a batch waits for more records, in milliseconds (librdkafka: also `queue.buffering.max.ms`).
    pub linger_ms: u64,
    /// Who must have a batch before it is acknowledged.
    pub acks: Acks,
    /// How batches are compressed.
    pub compression_type: CompressionType,
    /// Produce requests on their way on one connection.
    pub max_in_flight: u32,
    /// Memory for records that wait, in bytes (librdkafka: `queue.buffering.max.kbytes`).
    pub buffer_memory: u64,
    /// The largest Produce request, in bytes (librdkafka: `message.max.bytes`).
    pub max_request_size: u32,
    /// Producer id and sequences: no duplicates.
    pub enable_idempotence: bool,
    /// How long a batch is tried, in milliseconds.
    pub delivery_timeout_ms: u64,
    /// How long an answer may take, in milliseconds.
    pub request_timeout_ms: u64,
    /// The first pause before a batch is tried again, in milliseconds; it doubles.
    pub retry_backoff_ms: u64,
    /// The longest pause before a batch is tried again, in milliseconds.
    pub retry_backoff_max_ms: u64,
    /// Records that a batch may have: librdkafka's.
    pub batch_num_messages: u32,
    /// Records that may wait or be on their way: librdkafka's `queue.buffering.max.messages`.
    pub queue_max_messages: u64,
    /// How long records without a key go to one partition, in milliseconds: librdkafka's. None: see
    /// [`ProducerSettings::sticky_ms`].
    pub sticky_linger_ms: Option<u64>,
}

impl Default for ProducerSettings {
    fn default() -> ProducerSettings {
        ProducerSettings::of(ClientKind::Java)
    }
}

impl ProducerSettings {
    /// How long librdkafka stays with a partition, in milliseconds: twice `linger.ms` where nothing else is said.
    pub fn sticky_ms(&self) -> u64 {
        const MOST_MS: u64 = 900_000;
        self.sticky_linger_ms.unwrap_or_else(|| self.linger_ms.saturating_mul(2).min(MOST_MS))
    }

    /// The defaults of Java's client 4.4 or of librdkafka 2.16.
    pub fn of(kind: ClientKind) -> ProducerSettings {
        let java = ProducerSettings {
            kind,
            batch_size: 16_384,
            linger_ms: 5,
            acks: Acks::All,
            compression_type: CompressionType::None,
            max_in_flight: 5,
            buffer_memory: 32 << 20,
            max_request_size: 1 << 20,
            enable_idempotence: true,
            delivery_timeout_ms: 120_000,
            request_timeout_ms: 30_000,
            retry_backoff_ms: 100,
            retry_backoff_max_ms: 1_000,
            batch_num_messages: 10_000,
            queue_max_messages: 100_000,
            sticky_linger_ms: None,
        };
        match kind {
            ClientKind::Java => java,
            ClientKind::Librdkafka => ProducerSettings {
                batch_size: 1_000_000,
                max_in_flight: 1_000_000,
                buffer_memory: 1 << 30,
                max_request_size: 1_000_000,
                enable_idempotence: false,
                delivery_timeout_ms: 300_000,
                ..java
            },
        }
    }
}

impl ProducerSettings {
    /// The same for another client: what has this one's default gets the other's.
    pub fn by_rules_of(&self, kind: ClientKind) -> ProducerSettings {
        fn changed<T: PartialEq>(value: Option<T>, usual: &Option<T>) -> Option<T> {
            if value == *usual { None } else { value }
        }
        let usual = Written::from(ProducerSettings::of(self.kind));
        let own = Written::from(self.clone());
        ProducerSettings::from(Written {
            kind: Some(kind),
            batch_size: changed(own.batch_size, &usual.batch_size),
            linger_ms: changed(own.linger_ms, &usual.linger_ms),
            acks: changed(own.acks, &usual.acks),
            compression_type: changed(own.compression_type, &usual.compression_type),
            max_in_flight: changed(own.max_in_flight, &usual.max_in_flight),
            buffer_memory: changed(own.buffer_memory, &usual.buffer_memory),
            max_request_size: changed(own.max_request_size, &usual.max_request_size),
            enable_idempotence: changed(own.enable_idempotence, &usual.enable_idempotence),
            delivery_timeout_ms: changed(own.delivery_timeout_ms, &usual.delivery_timeout_ms),
            request_timeout_ms: changed(own.request_timeout_ms, &usual.request_timeout_ms),
            retry_backoff_ms: changed(own.retry_backoff_ms, &usual.retry_backoff_ms),
            retry_backoff_max_ms: changed(own.retry_backoff_max_ms, &usual.retry_backoff_max_ms),
            batch_num_messages: changed(own.batch_num_messages, &usual.batch_num_messages),
            queue_max_messages: changed(own.queue_max_messages, &usual.queue_max_messages),
            sticky_linger_ms: changed(own.sticky_linger_ms, &usual.sticky_linger_ms),
        })
    }
}

/// Settings as they are written: what is not there has the client's default.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Written {
    /// `java` or `librdkafka`.
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<ClientKind>,
    #[serde(rename = "batch.size")]
    batch_size: Option<u32>,
    #[serde(rename = "linger.ms", alias = "queue.buffering.max.ms")]
    linger_ms: Option<u64>,
    acks: Option<Acks>,
    #[serde(rename = "compression.type")]
    compression_type: Option<CompressionType>,
    #[serde(rename = "max.in.flight.requests.per.connection")]
    max_in_flight: Option<u32>,
    #[serde(rename = "buffer.memory")]
    buffer_memory: Option<u64>,
    #[serde(rename = "max.request.size", alias = "message.max.bytes")]
    max_request_size: Option<u32>,
    #[serde(rename = "enable.idempotence")]
    enable_idempotence: Option<bool>,
    #[serde(rename = "delivery.timeout.ms")]
    delivery_timeout_ms: Option<u64>,
    #[serde(rename = "request.timeout.ms")]
    request_timeout_ms: Option<u64>,
    #[serde(rename = "retry.backoff.ms")]
    retry_backoff_ms: Option<u64>,
    #[serde(rename = "retry.backoff.max.ms")]
    retry_backoff_max_ms: Option<u64>,
    #[serde(rename = "batch.num.messages", skip_serializing_if = "Option::is_none")]
    batch_num_messages: Option<u32>,
    #[serde(rename = "queue.buffering.max.messages", skip_serializing_if = "Option::is_none")]
    queue_max_messages: Option<u64>,
    #[serde(rename = "sticky.partitioning.linger.ms", skip_serializing_if = "Option::is_none")]
    sticky_linger_ms: Option<u64>,
}

impl From<Written> for ProducerSettings {
    fn from(given: Written) -> ProducerSettings {
        let usual = ProducerSettings::of(given.kind.unwrap_or_default());
        ProducerSettings {
            kind: usual.kind,
            batch_size: given.batch_size.unwrap_or(usual.batch_size),
            linger_ms: given.linger_ms.unwrap_or(usual.linger_ms),
            acks: given.acks.unwrap_or(usual.acks),
            compression_type: given.compression_type.unwrap_or(usual.compression_type),
            max_in_flight: given.max_in_flight.unwrap_or(usual.max_in_flight),
            buffer_memory: given.buffer_memory.unwrap_or(usual.buffer_memory),
            max_request_size: given.max_request_size.unwrap_or(usual.max_request_size),
            enable_idempotence: given.enable_idempotence.unwrap_or(usual.enable_idempotence),
            delivery_timeout_ms: given.delivery_timeout_ms.unwrap_or(usual.delivery_timeout_ms),
            request_timeout_ms: given.request_timeout_ms.unwrap_or(usual.request_timeout_ms),
            retry_backoff_ms: given.retry_backoff_ms.unwrap_or(usual.retry_backoff_ms),
            retry_backoff_max_ms: given.retry_backoff_max_ms.unwrap_or(usual.retry_backoff_max_ms),
            batch_num_messages: given.batch_num_messages.unwrap_or(usual.batch_num_messages),
            queue_max_messages: given.queue_max_messages.unwrap_or(usual.queue_max_messages),
            sticky_linger_ms: given.sticky_linger_ms.or(usual.sticky_linger_ms),
        }
    }
}

impl From<ProducerSettings> for Written {
    fn from(settings: ProducerSettings) -> Written {
        let librdkafka = settings.kind == ClientKind::Librdkafka;
        Written {
            kind: librdkafka.then_some(settings.kind),
            batch_size: Some(settings.batch_size),
            linger_ms: Some(settings.linger_ms),
            acks: Some(settings.acks),
            compression_type: Some(settings.compression_type),
            max_in_flight: Some(settings.max_in_flight),
            buffer_memory: Some(settings.buffer_memory),
            max_request_size: Some(settings.max_request_size),
            enable_idempotence: Some(settings.enable_idempotence),
            delivery_timeout_ms: Some(settings.delivery_timeout_ms),
            request_timeout_ms: Some(settings.request_timeout_ms),
            retry_backoff_ms: Some(settings.retry_backoff_ms),
            retry_backoff_max_ms: Some(settings.retry_backoff_max_ms),
            batch_num_messages: librdkafka.then_some(settings.batch_num_messages),
            queue_max_messages: librdkafka.then_some(settings.queue_max_messages),
            sticky_linger_ms: settings.sticky_linger_ms.filter(|_| librdkafka),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_written_has_the_clients_default() {
        let java: ProducerSettings = toml::from_str("\"linger.ms\" = 7").unwrap();
        assert_eq!(java, ProducerSettings { linger_ms: 7, ..ProducerSettings::default() });
        let other: ProducerSettings = toml::from_str("kind = \"librdkafka\"\n\"queue.buffering.max.ms\" = 7").unwrap();
        assert_eq!(other, ProducerSettings { linger_ms: 7, ..ProducerSettings::of(ClientKind::Librdkafka) });
        assert_eq!((other.batch_size, other.enable_idempotence, other.sticky_ms()), (1_000_000, false, 14));
        assert_eq!(ProducerSettings { sticky_linger_ms: Some(3), ..other }.sticky_ms(), 3);
    }

    #[test]
    fn what_was_chosen_stays_for_another_client() {
        let java = ProducerSettings { batch_size: 99, ..ProducerSettings::default() };
        let other = ProducerSettings { batch_size: 99, ..ProducerSettings::of(ClientKind::Librdkafka) };
        assert_eq!(
            (java.by_rules_of(ClientKind::Librdkafka), other.by_rules_of(ClientKind::Java)),
            (other.clone(), java)
        );
    }

    #[test]
    fn both_kinds_survive_a_result_file() {
        for kind in [ClientKind::Java, ClientKind::Librdkafka] {
            let settings = ProducerSettings { batch_size: 99, ..ProducerSettings::of(kind) };
            let text = serde_json::to_string(&settings).unwrap();
            assert_eq!(text.contains("batch.num"), kind == ClientKind::Librdkafka);
            assert_eq!(serde_json::from_str::<ProducerSettings>(&text).unwrap(), settings);
        }
    }

    #[test]
    fn unknown_settings_are_refused() {
        let refused = toml::from_str::<ProducerSettings>("\"batch.sice\" = 1").unwrap_err().to_string();
        assert!(refused.contains("batch.sice") && refused.contains("batch.size"), "{refused}");
        let refused = toml::from_str::<ProducerSettings>("kind = \"sarama\"").unwrap_err().to_string();
        assert!(refused.contains("librdkafka"), "{refused}");
    }
}
