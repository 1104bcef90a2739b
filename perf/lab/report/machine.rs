//! Where it was measured: the machine, the brokers with all their configs.
//! Must never touch: figures.

use super::page::{details, escaped, facts, number, table};
use super::promised;
use crate::lab::machine::Machine;
use crate::lab::result::ResultFile;
use serde_json::Value;

/// Machine and brokers.
pub fn section(file: &ResultFile) -> String {
    let mut html = String::from("<h2>Machine and brokers</h2>");
    html.push_str(&match serde_json::from_value::<Machine>(file.machine.clone()) {
        Ok(machine) => told(&machine),
        Err(_) => as_it_stands(&file.machine),
    });
    let heads = ["broker", "address", "version", "durability", "found out by", "nodes"];
    let rows: Vec<Vec<String>> = file
        .brokers
        .iter()
        .map(|broker| {
            let words = [
                broker.name.as_str(),
                &broker.address,
                broker.version_guess.as_deref().unwrap_or("unknown"),
                broker.durability.words(),
                &broker.durability_because,
                &broker.nodes.to_string(),
            ];
            words.map(escaped).to_vec()
        })
        .collect();
    html.push_str(&table("Brokers", &heads, &rows));
    for broker in &file.brokers {
        let rows: Vec<Vec<String>> = broker
            .config
            .iter()
            .map(|(key, value)| vec![escaped(key), escaped(value.as_deref().unwrap_or("(not told)"))])
            .collect();
        let all = table(&promised(broker), &["key", "value"], &rows);
        html.push_str(&details(&format!("Every config of {} ({})", broker.name, rows.len()), &all));
    }
    html
}

fn told(machine: &Machine) -> String {
    let mut pairs: Vec<(String, String)> = Vec::new();
    let mut add = |name: &str, value: Option<String>| {
        pairs.push((name.to_string(), value.map_or_else(|| "unknown".to_string(), |value| escaped(&value))));
    };
    add("processor", machine.cpu.clone());
    add("cores", machine.cores.map(|cores| cores.to_string()));
    add("virtual machine of", machine.hypervisor.clone().or_else(|| Some("none".to_string())));
    add("memory", machine.memory_bytes.map(|bytes| format!("{} GiB", number(bytes as f64 / f64::from(1 << 30)))));
    add("swap", machine.swap_bytes.map(|bytes| format!("{} GiB", number(bytes as f64 / f64::from(1 << 30)))));
    add("kernel", machine.kernel.clone());
    add("distribution", machine.distribution.clone());
    add("clock source", machine.clock_source.clone());
    add("TCP congestion control", machine.congestion_control.clone());
    add("frequency governor", machine.governor.clone().or_else(|| Some("not of this machine".to_string())));
    add("CPU taken by the host since boot", machine.steal_percent_since_boot.map(|share| format!("{share} %")));
    add("load before", machine.load_before.map(|load| load.to_string()));
    for place in &machine.places {
        let of = |value: &Option<String>| value.clone().unwrap_or_else(|| "unknown".to_string());
        add(&place.what, Some(place.path.clone()));
        add("… file system", Some(format!("{} on {}", of(&place.file_system), of(&place.device))));
        add("… mount options", place.mount_options.clone());
        let yes = |flag: Option<bool>| flag.map_or("unknown", |flag| if flag { "yes" } else { "no" });
        let device = format!(
            "{}, write cache: {}, FUA: {}, rotating: {}",
            of(&place.scheduler),
            of(&place.write_cache),
            yes(place.forced_unit_access),
            yes(place.rotational)
        );
        add("… scheduler, device", Some(device));
    }
    for (program, version) in &machine.versions {
        add(program, Some(version.clone()));
    }
    facts(&pairs)
}

/// Facts of a form that we do not know.
fn as_it_stands(machine: &Value) -> String {
    let Value::Object(all) = machine else { return "<p>Nothing is known of the machine.</p>".to_string() };
    let words = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_string);
    facts(&all.iter().map(|(name, value)| (name.clone(), escaped(&words(value)))).collect::<Vec<_>>())
}
