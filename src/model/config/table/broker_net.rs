//! Broker keys about listeners, sockets, threads and client quotas. Types, defaults and valid values are those of
//! Kafka 4.4; what
//! differs here says so. Rows are sorted. Must not touch: parsing, resolution.

use crate::config::key::Importance::{High, Low, Medium};
use crate::config::key::Rule::{Any, AtLeast};
use crate::config::key::ValueType::{Class, Int, List, Long, String};
use crate::config::key::{Key, key};

#[rustfmt::skip]
pub(super) static KEYS: &[Key] = &[
    key("advertised.listeners", List, None, Any, High)
        .doc("Addresses that clients are told to use, where they differ from the ones listened on."),
    key("background.threads", Int, Some("10"), AtLeast(1), High).dynamic().unused()
        .doc("Threads for background work; here each core has its own background executor."),
    key("client.quota.callback.class", Class, None, Any, Low).unused()
        .doc("Java class that decides which quota a client falls under."),
    key("connection.failed.authentication.delay.ms", Int, Some("100"), AtLeast(0), Low).unused()
        .doc("Wait before a connection with wrong credentials is answered and closed."),
    key("connections.max.idle.ms", Long, Some("600000"), Any, Medium)
        .doc("Silence after which a client's connection is closed."),
    key("connections.max.reauth.ms", Long, Some("0"), Any, Medium).unused()
        .doc("Longest life of a login before a client has to repeat it; 0 never asks."),
    key("early.start.listeners", List, None, Any, High).unused()
        .doc("Listeners that open before authorization data is loaded."),
    key("listener.security.protocol.map", String,
        Some("SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT"),
        Any, Low).dynamic()
        .doc("Which security protocol each named listener speaks."),
    key("listeners", List, Some("PLAINTEXT://127.0.0.1:9092"), Any, High).dynamic()
        .doc("Addresses to listen on, as NAME://host:port, separated by commas."),
    key("max.connection.creation.rate", Int, Some("2147483647"), AtLeast(0), Medium).dynamic().unused()
        .doc("New connections per second that the broker accepts."),
    key("max.connections", Int, Some("2147483647"), AtLeast(0), Medium).dynamic()
        .doc("Connections that the broker keeps open at one time."),
    key("max.connections.per.ip", Int, Some("2147483647"), AtLeast(0), Medium).dynamic()
        .doc("Connections that one address may keep open at one time."),
    key("max.connections.per.ip.overrides", String, Some(""), Any, Medium).dynamic()
        .doc("Connection limits of single addresses, as address:number, separated by commas."),
    key("num.io.threads", Int, Some("8"), AtLeast(1), High).dynamic().unused()
        .doc("Threads that handle requests; here every core handles its own, see coretide.shards."),
    key("num.network.threads", Int, Some("3"), AtLeast(1), High).dynamic().unused()
        .doc("Threads that read and write sockets; here every core does, see coretide.shards."),
    key("queued.max.request.bytes", Long, Some("-1"), Any, Medium)
        .doc("Bytes of requests that may wait before sockets are not read any more; -1 leaves it to the budget."),
    key("queued.max.requests", Int, Some("500"), AtLeast(1), High).unused()
        .doc("Requests that may wait before sockets are not read any more; here bytes are what counts."),
    key("quota.window.num", Int, Some("11"), AtLeast(1), Low).unused()
        .doc("How many past windows a client's rate is averaged over."),
    key("quota.window.size.seconds", Int, Some("1"), AtLeast(1), Low).unused()
        .doc("Length of one window of a client's rate."),
    key("request.timeout.ms", Int, Some("30000"), Any, High).unused()
        .doc("How long the broker waits for an answer to its own requests."),
    key("socket.connection.setup.timeout.max.ms", Long, Some("30000"), Any, Medium).unused()
        .doc("Upper end of the growing wait for the broker's own connections to open."),
    key("socket.connection.setup.timeout.ms", Long, Some("10000"), Any, Medium).unused()
        .doc("Lower end of the growing wait for the broker's own connections to open."),
    key("socket.listen.backlog.size", Int, Some("50"), AtLeast(1), Medium)
        .doc("Connections that the kernel holds ready before they are accepted."),
    key("socket.receive.buffer.bytes", Int, Some("102400"), Any, High)
        .doc("Kernel receive buffer of a client's socket; unless it is set, or with -1, the system decides."),
    key("socket.request.max.bytes", Int, Some("104857600"), AtLeast(1), High)
        .doc("Largest request that is read; a larger one closes the connection."),
    key("socket.send.buffer.bytes", Int, Some("102400"), Any, High)
        .doc("Kernel send buffer of a client's socket; unless it is set, or with -1, the system decides."),
    key("telemetry.max.bytes", Int, Some("1048576"), AtLeast(1), Low).unused()
        .doc("Largest metrics message that a client may push."),
];
