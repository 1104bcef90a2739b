//! The records of a run: keys, values and their sizes, all from one seed, prepared before the clock starts.
//! Must never touch: sockets, clocks.

use crate::lab::scenario::{KeyKind, Keys, Payload, PayloadKind, RecordSize, Records};
use coretide_stdx::prng::Prng;

/// Bytes of prepared contents that values are cut from: far more than a codec's window of a batch.
const POOL_BYTES: usize = 4 << 20;
/// What JSON events are made of.
const WORDS: [&str; 16] = [
    "order",
    "checkout",
    "created",
    "customer",
    "berlin",
    "web",
    "mobile",
    "eur",
    "shipped",
    "status",
    "warehouse",
    "invoice",
    "pending",
    "standard",
    "express",
    "paid",
];
/// The front of a value holds the time at which it should have been sent, if a consumer is to measure it.
pub const STAMP_BYTES: usize = 8;

/// Draws records. One per producer.
#[derive(Debug)]
pub struct Generator {
    rng: Prng,
    pool: Vec<u8>,
    at: usize,
    size: RecordSize,
    keys: Keys,
    zipf: Vec<f64>,
    stamped: bool,
    key: Vec<u8>,
    keyed: bool,
    value: Vec<u8>,
    value_bytes: usize,
}

impl Generator {
    /// For the records of a scenario. `stamped`: the front of each value says when it should have been sent.
    pub fn new(records: &Records, stamped: bool, seed: u64) -> Result<Generator, String> {
        let mut rng = Prng::new(seed);
        let largest = records.bytes.bounds().1 as usize;
        let pool = pool(&records.payload, largest.max(1), &mut rng)?;
        let zipf = if records.keys.kind == KeyKind::Zipf { zipf_sums(&records.keys) } else { Vec::new() };
        Ok(Generator {
            at: rng.below(pool.len() as u64) as usize,
            rng,
            pool,
            size: records.bytes.clone(),
            keys: records.keys.clone(),
            zipf,
            stamped,
            key: Vec::new(),
            keyed: false,
            value: vec![0; largest],
            value_bytes: 0,
        })
    }

    /// Makes the next record, which should be sent at that time.
    pub fn draw(&mut self, intended_ns: u64) {
        let bytes = self.draw_size();
        let end = self.at + bytes;
        if end <= self.pool.len() {
            self.value[..bytes].copy_from_slice(&self.pool[self.at..end]);
            self.at = end;
        } else {
            self.at = self.rng.below((self.pool.len() - bytes + 1) as u64) as usize;
            self.value[..bytes].copy_from_slice(&self.pool[self.at..self.at + bytes]);
            self.at += bytes;
        }
        if self.stamped && bytes >= STAMP_BYTES {
            self.value[..STAMP_BYTES].copy_from_slice(&intended_ns.to_be_bytes());
        }
        self.value_bytes = bytes;
        self.keyed = self.draw_key();
    }

    /// Key and value of the record that was drawn last.
    pub fn current(&self) -> (Option<&[u8]>, &[u8]) {
        (self.keyed.then_some(&self.key[..]), &self.value[..self.value_bytes])
    }

    fn draw_size(&mut self) -> usize {
        let bytes = match &self.size {
            RecordSize::Fixed(bytes) => *bytes,
            RecordSize::Uniform { min, max } => min + self.rng.below(u64::from(max - min) + 1) as u32,
            RecordSize::Mixture(sizes) => {
                let weights: u64 = sizes.iter().map(|size| u64::from(size.weight)).sum();
                let mut drawn = self.rng.below(weights.max(1));
                let mut chosen = 0;
                for size in sizes {
                    chosen = size.bytes;
                    match drawn.checked_sub(u64::from(size.weight)) {
                        Some(rest) => drawn = rest,
                        None => break,
                    }
                }
                chosen
            }
        };
        bytes as usize
    }

    fn draw_key(&mut self) -> bool {
        let place = match self.keys.kind {
            KeyKind::None => return false,
            KeyKind::Uniform => self.rng.below(u64::from(self.keys.count)),
            KeyKind::Zipf => {
                let drawn = self.rng.next_u64() as f64 / u64::MAX as f64 * self.zipf.last().copied().unwrap_or(1.0);
                self.zipf.partition_point(|&sum| sum < drawn) as u64
            }
        };
        self.key.clear();
        self.key.extend_from_slice(format!("{place:08x}").as_bytes());
        self.key.resize(self.keys.bytes as usize, b'k');
        true
    }
}

/// When a value should have been sent, if it says so.
pub fn stamp_of(value: &[u8]) -> Option<u64> {
    let stamp = u64::from_be_bytes(*value.first_chunk::<STAMP_BYTES>()?);
    (stamp > 0).then_some(stamp)
}

fn zipf_sums(keys: &Keys) -> Vec<f64> {
    let mut sum = 0.0;
    (1..=keys.count)
        .map(|rank| {
            sum += f64::from(rank).powf(-keys.exponent);
            sum
        })
        .collect()
}

fn pool(payload: &Payload, largest: usize, rng: &mut Prng) -> Result<Vec<u8>, String> {
    let bytes = POOL_BYTES.max(2 * largest);
    match payload.kind {
        PayloadKind::Noise => Ok(noise(payload.compressibility, bytes, rng)),
        PayloadKind::Json => Ok(json(payload.compressibility, bytes, rng)),
        PayloadKind::Lines => {
            let file = payload.file.as_deref().ok_or("a payload of lines needs a file")?;
            let text = std::fs::read(file).map_err(|e| format!("the payload's file {file}: {e}"))?;
            if text.is_empty() {
                return Err(format!("the payload's file {file} is empty"));
            }
            Ok(text.iter().copied().cycle().take(bytes.max(text.len())).collect())
        }
    }
}

/// Pieces of 64 bytes, each random or zeros.
fn noise(compressibility: f64, bytes: usize, rng: &mut Prng) -> Vec<u8> {
    const PIECE_BYTES: usize = 64;
    let zeros = (compressibility * 1_000.0) as u64;
    let mut pool = Vec::with_capacity(bytes + PIECE_BYTES);
    while pool.len() < bytes {
        if rng.chance(zeros, 1_000) {
            pool.resize(pool.len() + PIECE_BYTES, 0);
        } else {
            for _ in 0..PIECE_BYTES / 8 {
                pool.extend_from_slice(&rng.next_u64().to_le_bytes());
            }
        }
    }
    pool
}

/// Events of a few fields; the values of `compressibility` of them come from a short list of words.
fn json(compressibility: f64, bytes: usize, rng: &mut Prng) -> Vec<u8> {
    let repeated = (compressibility * 1_000.0) as u64;
    let mut pool = Vec::with_capacity(bytes + 512);
    let word = |rng: &mut Prng| WORDS[rng.below(WORDS.len() as u64) as usize];
    while pool.len() < bytes {
        let mut event = format!("{{\"id\":\"{:016x}\"", rng.next_u64());
        for _ in 0..6 {
            let name = word(rng);
            let value = if rng.chance(repeated, 1_000) {
                format!("{}-{}", word(rng), word(rng))
            } else {
                format!("{:016x}{:08x}", rng.next_u64(), rng.next_u64() as u32)
            };
            event.push_str(&format!(",\"{name}\":\"{value}\""));
        }
        event.push_str("}\n");
        pool.extend_from_slice(event.as_bytes());
    }
    pool
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::scenario::WeightedSize;
    use coretide_log::codec::{Codec, Compression, compress};

    fn generator(records: &Records) -> Generator {
        Generator::new(records, true, 3).unwrap()
    }

    #[test]
    fn values_have_their_sizes_and_stamps() {
        let bytes =
            RecordSize::Mixture(vec![WeightedSize { bytes: 10, weight: 3 }, WeightedSize { bytes: 1000, weight: 1 }]);
        let mut generator = generator(&Records { bytes, ..Records::default() });
        let mut small = 0;
        for n in 1..=4000u64 {
            generator.draw(n);
            let (key, value) = generator.current();
            assert!(key.is_none());
            assert!(value.len() == 10 || value.len() == 1000);
            assert_eq!(stamp_of(value), Some(n));
            small += u32::from(value.len() == 10);
        }
        assert!((2_800..3_200).contains(&small), "{small}");
    }

    #[test]
    fn zipf_prefers_the_first_keys() {
        let keys = Keys { kind: KeyKind::Zipf, count: 100, bytes: 12, exponent: 1.0 };
        let mut generator = generator(&Records { keys, ..Records::default() });
        let mut first = 0;
        for _ in 0..10_000 {
            generator.draw(1);
            let (key, _) = generator.current();
            assert_eq!(key.unwrap().len(), 12);
            first += u32::from(key.unwrap().starts_with(b"00000000"));
        }
        // 1 / H(100) = 0.193.
        assert!((1_700..2_200).contains(&first), "{first}");
    }

    #[test]
    fn compressibility_does_what_it_says() {
        let size_of = |kind, compressibility| {
            let payload = Payload { kind, compressibility, file: None };
            let pool = pool(&payload, 1024, &mut Prng::new(1)).unwrap();
            let mut out = Vec::new();
            compress(Compression::of(Codec::Zstd), &pool[..1 << 20], &mut out);
            out.len() as f64 / f64::from(1 << 20)
        };
        assert!(size_of(PayloadKind::Noise, 0.0) > 0.99);
        assert!((0.4..0.6).contains(&size_of(PayloadKind::Noise, 0.5)));
        assert!(size_of(PayloadKind::Json, 0.9) < 0.7 * size_of(PayloadKind::Json, 0.1));
    }

    #[test]
    fn lines_come_from_a_file() {
        let payload = Payload { kind: PayloadKind::Lines, compressibility: 0.0, file: Some("/no/such".into()) };
        assert!(pool(&payload, 10, &mut Prng::new(1)).unwrap_err().contains("/no/such"));
    }
}
