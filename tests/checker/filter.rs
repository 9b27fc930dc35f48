//! Matching, written from the specification's words and as simply as possible: the judge of the broker's trie.

/// The share name and the filter behind it, or behind `$replay/earliest/` or `$exclusive/`.
pub(super) fn split(filter: &str) -> (Option<&str>, &str) {
    if let Some(inner) = replayed(filter).or_else(|| exclusive(filter)) {
        return (None, inner);
    }
    filter
        .strip_prefix("$share/")
        .and_then(|rest| rest.split_once('/'))
        .map_or((None, filter), |(share, filter)| (Some(share), filter))
}

/// The filter of a replay from the earliest message on.
pub(super) fn replayed(filter: &str) -> Option<&str> {
    filter.strip_prefix("$replay/earliest/")
}

/// The filter of an exclusive subscription.
pub(super) fn exclusive(filter: &str) -> Option<&str> {
    filter.strip_prefix("$exclusive/")
}

/// Whether a topic matches a filter [MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.7.2-1].
pub(super) fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && (filter.starts_with('#') || filter.starts_with('+')) {
        return false;
    }
    let mut levels = topic.split('/');
    for wanted in filter.split('/') {
        match levels.next() {
            // Also the parent, which has no level here.
            _ if wanted == "#" => return true,
            Some(level) if wanted == "+" || wanted == level => {}
            Some(_) | None => return false,
        }
    }
    levels.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_of_the_specification() {
        for (filter, topic, expected) in [
            ("sport/tennis/player1/#", "sport/tennis/player1", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true),
            ("sport/#", "sport", true),
            ("sport/#", "sports", false),
            ("#", "a/b", true),
            ("#", "$SYS/a", false),
            ("+/a", "$SYS/a", false),
            ("$SYS/#", "$SYS/a", true),
            ("sport/tennis/+", "sport/tennis/player1", true),
            ("sport/tennis/+", "sport/tennis/player1/ranking", false),
            ("sport/+", "sport", false),
            ("sport/+", "sport/", true),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
        ] {
            assert_eq!(matches(filter, topic), expected, "{filter} {topic}");
        }
        assert_eq!(split("$share/g/a/+"), (Some("g"), "a/+"));
        assert_eq!(split("a/+"), (None, "a/+"));
        assert_eq!(split("$replay/earliest/a/+"), (None, "a/+"));
        assert_eq!(split("$exclusive/a/+"), (None, "a/+"));
    }
}
