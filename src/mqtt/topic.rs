//! Topic names and topic filters: their grammar, and which filter matches which name.
//!
//! Levels are compared byte by byte, without any normalization. [MQTT-4.7.3-4]

use super::Text;
use super::Violation;
use super::text::checked_text;

/// What a filter of a shared subscription begins with. [MQTT-4.8.2-1]
const SHARE_PREFIX: &str = "$share/";

checked_text! {
    /// The topic of a message: at least one byte, no wildcards. [MQTT-4.7.0-1] [MQTT-4.7.3-1]
    TopicName,
    check_topic_name
}

checked_text! {
    /// What a subscription matches topics with; may have wildcards. [MQTT-4.7.1-1] [MQTT-4.7.1-2]
    TopicFilter,
    check_topic_filter
}

checked_text! {
    /// The name of a group of clients that share a subscription: at least one byte, without `/`, `+` and `#`.
    /// [MQTT-4.8.2-1] [MQTT-4.8.2-2]
    ShareName,
    check_share_name
}

impl TopicName {
    /// Takes a topic that [`check_topic_name`] has seen.
    pub(super) fn from_checked(topic: &str) -> Self {
        Self(Text::from_checked(topic))
    }
}

/// How many levels a topic name or filter has: `a/b/c` has three.
pub fn topic_levels(topic: &str) -> usize {
    1 + topic.bytes().filter(|byte| *byte == b'/').count()
}

impl TopicFilter {
    /// Whether a message of this topic goes to this filter.
    ///
    /// `topic` need not be a valid topic name: nothing panics, and wildcards in it are ordinary characters.
    /// A filter that begins with a wildcard matches no topic that begins with `$`. [MQTT-4.7.2-1]
    pub fn matches(&self, topic: &str) -> bool {
        Self::text_matches(self, topic)
    }

    /// The same for the text of a valid filter.
    pub fn text_matches(filter: &str, topic: &str) -> bool {
        if topic.starts_with('$') && filter.starts_with(['+', '#']) {
            return false;
        }
        let mut names = topic.split('/');
        for level in filter.split('/') {
            match (level, names.next()) {
                ("#", _) => return true,
                ("+", Some(_)) => {}
                (level, Some(name)) if level == name => {}
                _ => return false,
            }
        }
        names.next().is_none()
    }

    /// Whether the filter has a wildcard; one without matches its own text alone.
    pub fn has_wildcard(&self) -> bool {
        self.contains(['+', '#'])
    }
}

/// A name as one level of a topic that no wildcard is in: `%`, `/`, `+` and `#` are written as `%25`, `%2F`, `%2B` and `%23`.
pub fn escaped_level(name: &str) -> String {
    let mut level = String::with_capacity(name.len());
    for letter in name.chars() {
        match letter {
            '%' => level.push_str("%25"),
            '/' => level.push_str("%2F"),
            '+' => level.push_str("%2B"),
            '#' => level.push_str("%23"),
            other => level.push(other),
        }
    }
    level
}

/// A filter as SUBSCRIBE and UNSUBSCRIBE carry it: a topic filter, or `$share/`, a share name, `/` and a topic filter.
///
/// `$share` is understood in every version, because clients before MQTT 5 use it too.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionFilter {
    text: Text,
    share: Option<ShareName>,
    filter: TopicFilter,
}

impl SubscriptionFilter {
    /// Splits and checks a filter. [MQTT-4.8.2-1] [MQTT-4.8.2-2]
    pub fn parse(text: &str) -> Result<Self, Violation> {
        Self::from_text(Text::try_from(text)?)
    }

    pub(super) fn from_text(text: Text) -> Result<Self, Violation> {
        let Some(shared) = text.strip_prefix(SHARE_PREFIX) else {
            let filter = TopicFilter::try_from(text.clone())?;
            return Ok(Self { text, share: None, filter });
        };
        let (share, filter) = shared.split_once('/').ok_or(Violation::SharedFilterMissing)?;
        let share = Some(ShareName::try_from(share)?);
        let filter = TopicFilter::try_from(filter)?;
        Ok(Self { text, share, filter })
    }

    /// The filter as the client wrote it.
    pub fn text(&self) -> &Text {
        &self.text
    }

    /// The group, if the subscription is shared.
    pub fn share(&self) -> Option<&ShareName> {
        self.share.as_ref()
    }

    /// What topics are matched with.
    pub fn filter(&self) -> &TopicFilter {
        &self.filter
    }

    /// Whether the subscription is shared.
    pub fn is_shared(&self) -> bool {
        self.share.is_some()
    }
}

impl std::fmt::Display for SubscriptionFilter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&self.text, f)
    }
}

impl From<TopicFilter> for SubscriptionFilter {
    /// The filter as it is, not shared, whatever it begins with.
    fn from(filter: TopicFilter) -> Self {
        Self { text: filter.as_text().clone(), share: None, filter }
    }
}

impl TryFrom<&str> for SubscriptionFilter {
    type Error = Violation;

    fn try_from(text: &str) -> Result<Self, Violation> {
        Self::parse(text)
    }
}

/// Checks a topic name that is already known to be a text.
pub(super) fn check_topic_name(topic: &str) -> Result<(), Violation> {
    if topic.is_empty() {
        return Err(Violation::TopicNameEmpty);
    }
    if has_wildcard(topic) { Err(Violation::TopicNameWildcard) } else { Ok(()) }
}

/// Looks at every byte without an early end, so that the loop runs over many bytes at once.
fn has_wildcard(topic: &str) -> bool {
    let found = topic
        .bytes()
        .fold(0, |found, byte| found | u8::from(byte == b'+') | u8::from(byte == b'#'));
    found != 0
}

fn check_topic_filter(filter: &str) -> Result<(), Violation> {
    if filter.is_empty() {
        return Err(Violation::TopicFilterEmpty);
    }
    let mut levels = filter.split('/');
    while let Some(level) = levels.next() {
        match level {
            "+" => {}
            "#" if levels.next().is_none() => {}
            _ if level.contains('#') => return Err(Violation::MultiLevelWildcardMisplaced),
            _ if level.contains('+') => return Err(Violation::SingleLevelWildcardMisplaced),
            _ => {}
        }
    }
    Ok(())
}

fn check_share_name(name: &str) -> Result<(), Violation> {
    if name.is_empty() {
        return Err(Violation::ShareNameEmpty);
    }
    if name.contains(['/', '+', '#']) { Err(Violation::ShareNameInvalid) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(filter: &str, topic: &str) -> bool {
        TopicFilter::try_from(filter).unwrap().matches(topic)
    }

    #[test]
    fn filters_match_as_the_standard_says() {
        for (filter, topic) in [
            ("sport/tennis/player1/#", "sport/tennis/player1"),
            ("sport/tennis/player1/#", "sport/tennis/player1/ranking"),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon"),
            ("sport/#", "sport"),
            ("#", "a"),
            ("#", "/"),
            ("#", "a/b/c"),
            ("+", "finance"),
            ("/+", "/finance"),
            ("+/+", "/finance"),
            ("sport/+", "sport/"),
            ("+/tennis/#", "a/tennis"),
            ("a/+/c", "a//c"),
            ("$SYS/#", "$SYS"),
            ("$SYS/#", "$SYS/broker/load"),
            ("$SYS/monitor/+", "$SYS/monitor/Clients"),
            ("a/$b", "a/$b"),
            ("+/$b", "a/$b"),
            ("é/+", "é/ü"),
            ("\u{10FFFF}/#", "\u{10FFFF}"),
            ("Accounts payable", "Accounts payable"),
            ("/", "/"),
        ] {
            assert!(matches(filter, topic), "{filter} has to match {topic}");
        }
    }

    #[test]
    fn filters_do_not_match_more_than_the_standard_says() {
        for (filter, topic) in [
            ("sport/tennis/+", "sport/tennis/player1/ranking"),
            ("sport/+", "sport"),
            ("+", "/finance"),
            ("+", "a/b"),
            ("#", "$SYS"),
            ("#", "$SYS/broker/load"),
            ("+/broker/load", "$SYS/broker/load"),
            ("+/monitor/Clients", "$SYS/monitor/Clients"),
            ("a/b", "a"),
            ("a", "a/b"),
            ("a/b", "a/b/"),
            ("a/#", "ab"),
            ("a", "A"),
            ("/a", "a"),
            ("\u{e9}", "e\u{301}"),
            ("a", ""),
        ] {
            assert!(!matches(filter, topic), "{filter} must not match {topic}");
        }
    }

    #[test]
    fn bad_filters_are_refused() {
        for (filter, violation) in [
            ("", Violation::TopicFilterEmpty),
            ("sport/tennis#", Violation::MultiLevelWildcardMisplaced),
            ("sport/tennis/#/ranking", Violation::MultiLevelWildcardMisplaced),
            ("##", Violation::MultiLevelWildcardMisplaced),
            ("#/", Violation::MultiLevelWildcardMisplaced),
            ("sport+", Violation::SingleLevelWildcardMisplaced),
            ("+a/b", Violation::SingleLevelWildcardMisplaced),
            ("a/++", Violation::SingleLevelWildcardMisplaced),
            ("a\0", Violation::TextWithNul),
            ("$share//a", Violation::ShareNameEmpty),
            ("$share/g", Violation::SharedFilterMissing),
            ("$share/", Violation::SharedFilterMissing),
            ("$share/g/", Violation::TopicFilterEmpty),
            ("$share/+/a", Violation::ShareNameInvalid),
            ("$share/g#/a", Violation::ShareNameInvalid),
            ("$share/g/a+", Violation::SingleLevelWildcardMisplaced),
        ] {
            assert_eq!(SubscriptionFilter::parse(filter), Err(violation), "{filter}");
        }
    }

    #[test]
    fn a_shared_filter_splits_into_its_parts() {
        let shared = SubscriptionFilter::parse("$share/group/a/+/#").unwrap();
        assert_eq!(shared.share().unwrap(), &"group");
        assert_eq!(shared.filter(), &"a/+/#");
        assert_eq!(shared.text(), &"$share/group/a/+/#");
        let plain = SubscriptionFilter::parse("$share").unwrap();
        assert_eq!((plain.share(), plain.filter().as_str()), (None, "$share"));
        let leading = SubscriptionFilter::parse("$share/g//a").unwrap();
        assert_eq!(leading.filter(), &"/a");
    }

    #[test]
    fn levels_are_counted_as_they_are_split() {
        for topic in ["", "/", "a", "a/b", "/a//b/", "ä/€/x"] {
            assert_eq!(topic_levels(topic), topic.split('/').count(), "{topic}");
        }
    }

    #[test]
    fn topic_names_have_no_wildcards() {
        assert_eq!(TopicName::try_from(""), Err(Violation::TopicNameEmpty));
        assert_eq!(TopicName::try_from("a/+"), Err(Violation::TopicNameWildcard));
        assert_eq!(TopicName::try_from("a#"), Err(Violation::TopicNameWildcard));
        assert_eq!(TopicName::try_from("a\0"), Err(Violation::TextWithNul));
        assert!(TopicName::try_from("/").is_ok());
        assert!(TopicName::try_from("x".repeat(65_535)).is_ok());
        assert_eq!(TopicName::try_from("x".repeat(65_536)), Err(Violation::TextTooLong));
    }
}
