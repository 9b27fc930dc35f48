//! Matching, written from the specification's words and as simply as possible: the judge of the broker's trie.

/// The share name, if there is one, and the filter behind it and behind `$replay/earliest/` or `$exclusive/`.
pub(super) fn split(filter: &str) -> (Option<&str>, &str) {
    if let Some(inner) = exclusive(filter) {
        return (None, inner);
    }
    let shared = filter.strip_prefix("$share/").and_then(|rest| rest.split_once('/'));
    let (share, rest) = shared.map_or((None, filter), |(share, rest)| (Some(share), rest));
    (share, rest.strip_prefix(EARLIEST).unwrap_or(rest))
}

/// Whether everything is asked for from the earliest message on; for a group by its first member, and it lasts.
pub(super) fn is_replayed(filter: &str) -> bool {
    let shared = filter.strip_prefix("$share/").and_then(|rest| rest.split_once('/'));
    shared.map_or(filter, |(_, rest)| rest).starts_with(EARLIEST)
}

const EARLIEST: &str = "$replay/earliest/";

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
        assert_eq!(split("$share/g/$replay/earliest/a/+"), (Some("g"), "a/+"));
        assert!(is_replayed("$share/g/$replay/earliest/a") && !is_replayed("$share/g/a"));
        assert_eq!(split("$exclusive/a/+"), (None, "a/+"));
    }
}
