//! The nearest known name to a mistyped one.
//! Must never touch: the cluster.

/// Names that are compared at most; in a larger cluster the hint is not worth the time.
const COMPARED_MAX: usize = 10_000;

/// "did you mean ..." for a name that is not among the known ones.
pub fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let allowed = (name.chars().count() / 3).clamp(1, 4);
    known
        .into_iter()
        .take(COMPARED_MAX)
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= allowed || candidate.eq_ignore_ascii_case(name))
        .min()
        .map(|(_, candidate)| format!("did you mean '{candidate}'?"))
}

/// How many insertions, deletions, replacements and swaps of neighbours lie between two names.
fn distance(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    let mut rows = [Vec::new(), (0..=right.len()).collect::<Vec<usize>>(), Vec::new()];
    for i in 1..=left.len() {
        rows[2] = vec![i; right.len() + 1];
        for j in 1..=right.len() {
            let replaced = rows[1][j - 1] + usize::from(left[i - 1] != right[j - 1]);
            let mut best = replaced.min(rows[1][j] + 1).min(rows[2][j - 1] + 1);
            if i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1] {
                best = best.min(rows[0][j - 2] + 1);
            }
            rows[2][j] = best;
        }
        rows.rotate_left(1);
    }
    rows[1][right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_strangers_are_not() {
        let known = ["orders", "order-items", "payments"];
        assert_eq!(did_you_mean("odrers", known).as_deref(), Some("did you mean 'orders'?"));
        assert_eq!(did_you_mean("ORDERS", known).as_deref(), Some("did you mean 'orders'?"));
        assert_eq!(did_you_mean("payment", known).as_deref(), Some("did you mean 'payments'?"));
        assert_eq!(did_you_mean("shipping", known), None);
        assert_eq!(did_you_mean("x", []), None);
    }

    #[test]
    fn a_swap_counts_once() {
        assert_eq!(distance("ab", "ba"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
