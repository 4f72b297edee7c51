//! The known word that an unknown one most likely stands for.

/// The one of `known` that is nearest to `word`, if any is near enough to be worth suggesting.
///
/// Case, `-` and `_` do not count. At most a third of the letters may differ.
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let word = folded(word);
    let tolerated = (word.len().max(3) / 3).min(4);
    known
        .map(|candidate| (distance(&word, &folded(candidate)), candidate))
        .filter(|&(distance, _)| distance <= tolerated)
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

/// The longest word that is compared; nothing known comes near it.
const WORD_CHARS_MAX: usize = 64;

fn folded(word: &str) -> Vec<char> {
    word.chars()
        .take(WORD_CHARS_MAX)
        .map(|letter| if letter == '_' { '-' } else { letter.to_ascii_lowercase() })
        .collect()
}

/// Insertions, removals, replacements and swaps of neighbours that make `left` of `right`.
fn distance(left: &[char], right: &[char]) -> usize {
    let width = right.len() + 1;
    let mut before_last = vec![0; width];
    let mut last: Vec<usize> = (0..width).collect();
    let mut current = vec![0; width];
    for (row, &from) in left.iter().enumerate() {
        current[0] = row + 1;
        for (column, &to) in right.iter().enumerate() {
            let replaced = last[column] + usize::from(from != to);
            let mut best = replaced.min(last[column + 1] + 1).min(current[column] + 1);
            let swapped = row > 0 && column > 0 && from == right[column - 1] && left[row - 1] == to;
            if swapped {
                best = best.min(before_last[column - 1] + 1);
            }
            current[column + 1] = best;
        }
        std::mem::swap(&mut before_last, &mut last);
        std::mem::swap(&mut last, &mut current);
    }
    last[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_suggested() {
        #[track_caller]
        fn check(word: &str, expected: Option<&str>) {
            let known = ["route", "redirect", "respond", "round-robin", "listen", "to"];
            assert_eq!(nearest(word, known.into_iter()), expected, "{word}");
        }
        check("rout", Some("route"));
        check("ruote", Some("route"));
        check("Round_Robin", Some("round-robin"));
        check("redirct", Some("redirect"));
        check("ot", Some("to"));
        check("", None);
        check("proxy", None);
        check(&"x".repeat(10_000), None);
    }
}
