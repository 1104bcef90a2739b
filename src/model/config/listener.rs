//! Listeners: which addresses the broker listens on and which it tells clients to use.
//! Must not touch: sockets, name look-up.

use super::error::ConfigError;
use super::key::split_list;
use std::collections::BTreeMap;

/// One address that clients connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its name, as in `NAME://host:port`.
    pub name: String,
    /// Where to bind; empty for all addresses.
    pub host: String,
    /// 0 lets the kernel choose.
    pub port: u16,
    /// What clients are told. None: the address that the client itself reached.
    pub advertised: Option<(String, u16)>,
}

/// The texts that decide about listeners.
pub(super) struct Texts<'a> {
    pub listeners: &'a str,
    pub advertised: Option<&'a str>,
    pub protocols: &'a str,
    pub controller_names: &'a str,
}

/// The client listeners; those of the controller are left out, since it has no socket of its own.
pub(super) fn listeners(texts: &Texts<'_>) -> Result<Vec<Listener>, ConfigError> {
    let protocols = protocol_map(texts.protocols)?;
    let controller = split_list(texts.controller_names);
    let mut advertised = BTreeMap::new();
    for (name, host, port) in parse_all("advertised.listeners", texts.advertised.unwrap_or(""))? {
        if host.is_empty() || host == "0.0.0.0" || host == "::" {
            let reason = format!("{name}:// must name an address that clients can reach");
            return Err(ConfigError::Conflict { key: "advertised.listeners".to_string(), reason });
        }
        advertised.insert(name, (host, port));
    }
    let mut found: Vec<Listener> = Vec::new();
    for (name, host, port) in parse_all("listeners", texts.listeners)? {
        if controller.contains(&name) {
            continue;
        }
        let conflict = |reason: String| ConfigError::Conflict { key: "listeners".to_string(), reason };
        match protocols.get(&name).map(String::as_str) {
            Some("PLAINTEXT") => {}
            Some(other) => return Err(conflict(format!("{name} speaks {other}, and only PLAINTEXT is offered yet"))),
            None => return Err(conflict(format!("{name} has no entry in listener.security.protocol.map"))),
        }
        if found.iter().any(|other| other.name == name) {
            return Err(conflict(format!("{name} is listed twice")));
        }
        if port != 0 && found.iter().any(|other| other.port == port && other.host == host) {
            return Err(conflict(format!("{host}:{port} is listed twice")));
        }
        let reachable = !(host.is_empty() || host == "0.0.0.0" || host == "::") && port != 0;
        let own = reachable.then(|| (host.clone(), port));
        let advertised = advertised.remove(&name).or(own);
        found.push(Listener { name, host, port, advertised });
    }
    if found.is_empty() {
        let reason = "at least one listener that is not the controller's is needed".to_string();
        return Err(ConfigError::Conflict { key: "listeners".to_string(), reason });
    }
    if let Some(name) = advertised.into_keys().find(|name| !controller.contains(name)) {
        let reason = format!("{name} is not one of the listeners");
        return Err(ConfigError::Conflict { key: "advertised.listeners".to_string(), reason });
    }
    Ok(found)
}

fn protocol_map(text: &str) -> Result<BTreeMap<String, String>, ConfigError> {
    let mut map = BTreeMap::new();
    for entry in split_list(text) {
        let Some((name, protocol)) = entry.split_once(':') else {
            return Err(ConfigError::Invalid {
                key: "listener.security.protocol.map".to_string(),
                value: entry,
                expected: "NAME:PROTOCOL pairs with commas between them".to_string(),
            });
        };
        map.insert(name.trim().to_ascii_uppercase(), protocol.trim().to_ascii_uppercase());
    }
    Ok(map)
}

/// `NAME://host:port` entries; an IPv6 address stands in brackets.
fn parse_all(key: &'static str, text: &str) -> Result<Vec<(String, String, u16)>, ConfigError> {
    split_list(text).into_iter().map(|entry| parse_one(key, &entry)).collect()
}

fn parse_one(key: &'static str, entry: &str) -> Result<(String, String, u16), ConfigError> {
    let refuse = || ConfigError::Invalid {
        key: key.to_string(),
        value: entry.to_string(),
        expected: "NAME://host:port, for example PLAINTEXT://0.0.0.0:9092".to_string(),
    };
    let (name, address) = entry.split_once("://").ok_or_else(refuse)?;
    let (host, port) = address.rsplit_once(':').ok_or_else(refuse)?;
    let host = match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']').ok_or_else(refuse)?,
        None if host.contains(':') => return Err(refuse()),
        None => host,
    };
    let name_ok = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
    if !name_ok || host.contains(['/', ' ', '@']) {
        return Err(refuse());
    }
    let port = port.parse::<u16>().map_err(|_| refuse())?;
    Ok((name.to_ascii_uppercase(), host.to_string(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: &str = "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,INTERNAL:PLAINTEXT";

    fn parse(listeners: &str, advertised: Option<&str>) -> Result<Vec<Listener>, ConfigError> {
        super::listeners(&Texts { listeners, advertised, protocols: MAP, controller_names: "CONTROLLER" })
    }

    #[test]
    fn listeners_and_what_clients_are_told() {
        let found = parse(
            "PLAINTEXT://:9092,CONTROLLER://:9093,INTERNAL://10.0.0.1:9094",
            Some("PLAINTEXT://kafka.example:19092,CONTROLLER://localhost:9093"),
        )
        .unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].host.as_str(), found[0].port), ("", 9092));
        assert_eq!(found[0].advertised, Some(("kafka.example".to_string(), 19092)));
        assert_eq!(found[1].advertised, Some(("10.0.0.1".to_string(), 9094)));
        assert_eq!(parse("PLAINTEXT://0.0.0.0:9092", None).unwrap()[0].advertised, None);
        assert_eq!(parse("plaintext://[::1]:9092", None).unwrap()[0].host, "::1");
    }

    #[test]
    fn refusals() {
        for (listeners, advertised) in [
            ("", None),
            ("CONTROLLER://:9093", None),
            ("SSL://:9093", None),
            ("NAMELESS://:9093", None),
            ("PLAINTEXT://:9092,PLAINTEXT://:9095", None),
            ("PLAINTEXT://h:9092,INTERNAL://h:9092", None),
            ("localhost:9092", None),
            ("PLAINTEXT://localhost", None),
            ("PLAINTEXT://::1:9092", None),
            ("PLAINTEXT://h:70000", None),
            ("PLAINTEXT://:9092", Some("PLAINTEXT://0.0.0.0:9092")),
            ("PLAINTEXT://:9092", Some("INTERNAL://h:9092")),
        ] {
            assert!(parse(listeners, advertised).is_err(), "{listeners} {advertised:?}");
        }
    }
}
