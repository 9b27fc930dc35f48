//! The key that somebody probably meant.

/// The known key nearest to an unknown one, if one is near enough to be meant: few letters differ, it has the same
/// last part in another section, or it says more of the same.
pub(super) fn nearest<'a>(unknown: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // In a short word every other word is near.
    let farthest = (last_part(unknown).len() / 2).min(3);
    known
        .map(|key| (difference(unknown, key), key))
        .min()
        .filter(|(difference, _)| *difference <= farthest)
        .map(|(_, key)| key)
}

/// How many letters differ; a different section counts as one more than a difference within the last part.
fn difference(unknown: &str, known: &str) -> usize {
    if says_more(known, unknown) {
        return 1;
    }
    let elsewhere = edit_distance(last_part(unknown), last_part(known)) + 1;
    edit_distance(unknown, known).min(elsewhere)
}

/// `limits.session_expiry_max` for `limits.session_expiry`, and `data.retention_age` for `retention.age`.
fn says_more(known: &str, unknown: &str) -> bool {
    let words = |key: &str| key.replace('.', "_");
    known.starts_with(&format!("{unknown}_"))
        || words(known).ends_with(&format!("_{}", words(unknown)))
}

fn last_part(key: &str) -> &str {
    key.rsplit_once('.').map_or(key, |(_, last)| last)
}

/// The fewest insertions, deletions and replacements of a letter that make one text the other.
fn edit_distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.chars().count()).collect();
    for (index, left) in left.chars().enumerate() {
        let mut diagonal = index;
        let mut before = index + 1;
        let mut next = vec![before];
        for (right, above) in right.chars().zip(row.iter().skip(1)) {
            let replaced = diagonal + usize::from(left != right);
            diagonal = *above;
            before = replaced.min(above + 1).min(before + 1);
            next.push(before);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (left, right, distance) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("kitten", "sitting", 3),
            ("flaw", "lawn", 2),
            ("é", "e", 1),
        ] {
            assert_eq!(edit_distance(left, right), distance, "{left} {right}");
        }
    }

    #[test]
    fn the_nearest_key_is_found_or_none() {
        let known = ["limits.connections", "limits.packet_size", "data.dir", "access.passwords"];
        for (unknown, meant) in [
            ("limits.conections", Some("limits.connections")),
            ("limit.connections", Some("limits.connections")),
            ("data.packet_size", Some("limits.packet_size")),
            ("passwords", Some("access.passwords")),
            ("packetsize", Some("limits.packet_size")),
            ("limits.something_else", None),
            ("access.dur", None),
            ("limits.packet", Some("limits.packet_size")),
            ("packet.size", Some("limits.packet_size")),
        ] {
            assert_eq!(nearest(unknown, known.into_iter()), meant, "{unknown}");
        }
    }
}
