//! The entries of the fuzz targets, run on damaged good texts: a short fuzz without a fuzzer.

mod entries;

use coretide_model::config::key::Scope;
use coretide_model::config::table;
use coretide_stdx::prng::Prng;

const FILE: &[u8] =
    b"# a comment\nnode.id=1\nlisteners = PLAINTEXT://127.0.0.1:9092,EXT://h:1\nlog.retention.ms : 5\\\n  00\n\
    max.connections.per.ip.overrides=10.0.0.1:5,::1:7\n!x\nk\\u0041=\\t\r\nlog.dirs=/a,/b\n";

fn damage(prng: &mut Prng, good: &[u8]) -> Vec<u8> {
    let mut bytes = good.to_vec();
    for _ in 0..=prng.below(4) {
        let at = prng.below(bytes.len().max(1) as u64) as usize;
        match prng.below(4) {
            0 if !bytes.is_empty() => bytes[at] = prng.next_u64() as u8,
            1 if !bytes.is_empty() => bytes[at] = b"\\=:#\n,-/0 "[prng.below(10) as usize],
            2 => bytes.truncate(at),
            _ => {
                let run = bytes[at..bytes.len().min(at + 12)].to_vec();
                bytes.splice(at..at, run);
            }
        }
    }
    bytes
}

#[test]
fn damaged_files_are_refused_or_make_sense() {
    let mut prng = Prng::new(1);
    entries::properties(FILE);
    (0..3000).for_each(|_| entries::properties(&damage(&mut prng, FILE)));
}

#[test]
fn damaged_values_are_refused_or_make_sense() {
    let mut prng = Prng::new(2);
    let keys: Vec<_> = table::keys(Scope::Broker).collect();
    for _ in 0..3000 {
        let at = prng.below(keys.len() as u64) as u16;
        let good = keys[usize::from(at)].default.unwrap_or("PLAINTEXT://h:1,SSL://[::1]:0");
        let mut input = at.to_le_bytes().to_vec();
        input.extend(damage(&mut prng, good.as_bytes()).into_iter().filter(|byte| *byte != 0));
        entries::settings(&input);
    }
}
