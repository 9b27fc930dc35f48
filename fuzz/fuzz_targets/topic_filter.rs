//! Any two strings, a filter and a topic, against a matcher that is slow and plain.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidelog::mqtt::SubscriptionFilter;
use tidelog::mqtt::TopicName;

fuzz_target!(|input: (&str, &str)| {
    let (filter, topic) = input;
    let Ok(filter) = SubscriptionFilter::parse(filter) else { return };
    let levels: Vec<&str> = filter.filter().split('/').collect();
    let names: Vec<&str> = topic.split('/').collect();
    let hidden = topic.starts_with('$') && matches!(levels[0].as_bytes().first(), Some(b'+' | b'#'));
    assert_eq!(filter.filter().matches(topic), !hidden && matches_plainly(&levels, &names));
    if let Ok(topic) = TopicName::try_from(topic) {
        let own = SubscriptionFilter::parse(&topic);
        assert!(own.is_err() || own.is_ok_and(|own| own.is_shared() || own.filter().matches(&topic)));
    }
});

fn matches_plainly(levels: &[&str], names: &[&str]) -> bool {
    match (levels, names) {
        (["#"], _) | ([], []) => true,
        (["+", levels @ ..], [_, names @ ..]) => matches_plainly(levels, names),
        ([level, levels @ ..], [name, names @ ..]) => level == name && matches_plainly(levels, names),
        _ => false,
    }
}
