//! The entry of the fuzz target, run on random bytes: a short fuzz without a fuzzer.

mod entries;

use coretide_stdx::prng::Prng;

#[test]
fn whatever_commands_come_each_is_answered_once() {
    let mut prng = Prng::new(3);
    for _ in 0..1500 {
        let len = prng.below(1200) as usize;
        let mut input: Vec<u8> = (0..len).map(|_| prng.next_u64() as u8).collect();
        // Small numbers choose more sensibly than large ones.
        input.iter_mut().filter(|_| prng.below(2) == 0).for_each(|byte| *byte %= 9);
        entries::groups(&input);
    }
}
