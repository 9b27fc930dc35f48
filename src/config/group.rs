//! `[[group]]`: durable groups that there are from the start of the broker.

use std::borrow::Cow;

use serde::Deserialize;

use super::Broken;
use crate::broker::GroupOptions;
use crate::mqtt::ShareName;
use crate::mqtt::Text;
use crate::mqtt::TopicFilter;
use crate::mqtt::topic_levels;
use crate::session::AddressError;
use crate::session::Commit;
use crate::session::Start;
use crate::session::Strategy;

/// The keys of one `[[group]]` block.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GroupKeys {
    name: String,
    filter: String,
    from: String,
    strategy: String,
    commit: String,
}

/// A key of the group, and what is wrong with it.
type Wrong = (&'static str, Cow<'static, str>);

/// The groups, if each is whole and no two are the same. A block without a name and a filter, as the defaults have one, declares nothing.
pub(super) fn check(keys: Vec<GroupKeys>, levels_max: u16) -> Result<Vec<GroupOptions>, Broken> {
    let mut groups: Vec<GroupOptions> = Vec::new();
    for (index, keys) in keys.into_iter().enumerate() {
        if keys.name.is_empty() && keys.filter.is_empty() {
            continue;
        }
        let broken = |(key, why): Wrong| Broken::new(format!("group.{index}.{key}"), why);
        let group = group(&keys, levels_max).map_err(broken)?;
        let same =
            |other: &GroupOptions| (&other.share, &other.filter) == (&group.share, &group.filter);
        if groups.iter().any(same) {
            return Err(broken(("filter", "another group has this name and filter".into())));
        }
        groups.push(group);
    }
    Ok(groups)
}

fn group(keys: &GroupKeys, levels_max: u16) -> Result<GroupOptions, Wrong> {
    let wrong = |key, why: &dyn ToString| (key, Cow::from(why.to_string()));
    let share = ShareName::try_from(&*keys.name).map_err(|error| wrong("name", &error))?;
    let filter = TopicFilter::try_from(&*keys.filter).map_err(|error| wrong("filter", &error))?;
    if filter.starts_with('$') {
        return Err(("filter", "a filter for a group does not begin with $".into()));
    }
    if topic_levels(&filter) > usize::from(levels_max) {
        return Err(("filter", "more levels than limits.topic_levels".into()));
    }
    let strategy = Strategy::from_name(&keys.strategy).ok_or(AddressError::BadStrategy);
    let commit = Commit::from_name(&keys.commit).ok_or(AddressError::BadCommit);
    Ok(GroupOptions {
        share,
        filter,
        start: Start::parse(&keys.from).map_err(|error| wrong("from", &error))?,
        from: Text::try_from(&*keys.from).map_err(|error| wrong("from", &error))?,
        strategy: strategy.map_err(|error| wrong("strategy", &error))?,
        commit: commit.map_err(|error| wrong("commit", &error))?,
    })
}
