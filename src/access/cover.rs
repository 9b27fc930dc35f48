//! How the topics of two filters relate: one covers the other, or they overlap.
//!
//! A filter stands for the set of topic names that it matches. A topic name is a filter that matches only itself, so
//! the same two questions answer whether a rule is about a published topic.
//!
//! - `#` and `+` at the first level match no topic that begins with `$` [MQTT-4.7.2-1].
//! - `a/#` matches `a` [MQTT-4.7.1-2].

/// Whether every topic that `requested` matches is matched by `filter` too.
pub fn covers(filter: &str, requested: &str) -> bool {
    if hides_from(filter, requested) {
        return false;
    }
    let mut requested = spelled_out(requested).split('/');
    for level in filter.split('/') {
        match (level, requested.next()) {
            ("#", _) => return true,
            (_, Some("#")) => return false,
            ("+", Some(_)) => {}
            (level, Some(wanted)) if level == wanted => {}
            (_, Some(_) | None) => return false,
        }
    }
    requested.next().is_none()
}

/// Whether some topic is matched by both filters.
pub fn overlaps(left: &str, right: &str) -> bool {
    if hides_from(left, right) || hides_from(right, left) {
        return false;
    }
    let (mut left, mut right) = (spelled_out(left).split('/'), spelled_out(right).split('/'));
    loop {
        match (left.next(), right.next()) {
            (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
            (Some(one), Some(other)) if one == other || one == "+" || other == "+" => {}
            (Some(_), Some(_) | None) | (None, Some(_)) => return false,
        }
    }
}

/// Whether the first filter begins with a wildcard, and all topics of the second with `$`.
fn hides_from(filter: &str, other: &str) -> bool {
    filter.starts_with(['+', '#']) && other.starts_with('$')
}

/// The same filter, saying that a topic is not empty [MQTT-4.7.3-1], which `#` alone and `/#` leave open.
fn spelled_out(filter: &str) -> &str {
    match filter {
        "#" => "+/#",
        "/#" => "/+/#",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a filter matches a topic, level by level: the specification read aloud, for comparison.
    fn matches(filter: &[&str], topic: &[&str]) -> bool {
        match (filter.split_first(), topic.split_first()) {
            (Some((&"#", _)), _) | (None, None) => true,
            (Some((level, filter)), Some((name, topic))) => {
                (*level == "+" || level == name) && matches(filter, topic)
            }
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    fn matches_text(filter: &str, topic: &str) -> bool {
        let levels = |text: &'static str| text.split('/').collect::<Vec<_>>();
        let (filter, topic): (&'static str, &'static str) =
            (String::from(filter).leak(), String::from(topic).leak());
        let hidden = topic.starts_with('$') && filter.starts_with(['+', '#']);
        !hidden && matches(&levels(filter), &levels(topic))
    }

    /// All texts of one to `depth` of these levels.
    fn all(levels: &[&str], depth: usize) -> Vec<String> {
        let mut texts: Vec<String> = levels.iter().map(|level| (*level).to_owned()).collect();
        let mut longest = texts.clone();
        for _ in 1..depth {
            longest = levels
                .iter()
                .flat_map(|level| longest.iter().map(move |text| format!("{text}/{level}")))
                .collect();
            texts.extend(longest.iter().cloned());
        }
        texts.retain(|text| !text.is_empty());
        texts
    }

    /// Every pair of filters of up to three levels, against every topic of up to four, with a level that no filter
    /// names (`z`), one that begins with `$`, and an empty one.
    #[test]
    fn covers_and_overlaps_are_what_matching_says() {
        let mut filters = all(&["a", "$s", "", "+", "#"], 3);
        filters.retain(|filter| filter.find('#').is_none_or(|at| at == filter.len() - 1));
        let topics = all(&["a", "z", "$s", ""], 4);
        let sets: Vec<Vec<bool>> = filters
            .iter()
            .map(|filter| topics.iter().map(|topic| matches_text(filter, topic)).collect())
            .collect();
        for (left, left_set) in filters.iter().zip(&sets) {
            for (right, right_set) in filters.iter().zip(&sets) {
                let mut both = left_set.iter().zip(right_set);
                let covered = both.clone().all(|(left, right)| *left || !*right);
                assert_eq!(covers(left, right), covered, "covers({left:?}, {right:?})");
                let overlapping = both.any(|(left, right)| *left && *right);
                assert_eq!(overlaps(left, right), overlapping, "overlaps({left:?}, {right:?})");
            }
        }
    }

    #[test]
    fn a_topic_is_a_filter_that_matches_itself() {
        let mut filters = all(&["a", "$s", "", "+", "#"], 3);
        filters.retain(|filter| filter.find('#').is_none_or(|at| at == filter.len() - 1));
        for topic in all(&["a", "z", "$s", ""], 4) {
            for filter in &filters {
                assert_eq!(
                    covers(filter, &topic),
                    matches_text(filter, &topic),
                    "{filter} {topic}"
                );
                assert_eq!(
                    overlaps(filter, &topic),
                    matches_text(filter, &topic),
                    "{filter} {topic}"
                );
            }
        }
    }

    #[test]
    fn a_few_by_hand() {
        for (filter, requested, covered, overlapping) in [
            ("#", "#", true, true),
            ("+/#", "#", true, true),
            ("#", "$SYS/#", false, false),
            ("$SYS/#", "#", false, false),
            ("$SYS/#", "$SYS/broker/+", true, true),
            ("a/#", "a", true, true),
            ("a/+", "a/#", false, true),
            ("a/+/#", "a/#", false, true),
            ("+/b", "a/+", false, true),
            ("a/b", "a/c", false, false),
            ("ä/+", "ä/ö", true, true),
        ] {
            assert_eq!(covers(filter, requested), covered, "covers({filter:?}, {requested:?})");
            assert_eq!(
                overlaps(filter, requested),
                overlapping,
                "overlaps({filter:?}, {requested:?})"
            );
        }
    }
}
