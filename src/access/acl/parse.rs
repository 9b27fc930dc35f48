//! The text of an ACL file to its rules; the grammar is in the parent's documentation.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::mqtt::QoS;
use crate::mqtt::TopicFilter;
use crate::mqtt::Violation;

use super::rule::Part;
use super::rule::Pattern;
use super::rule::Rule;
use super::rule::What;
use super::rule::Who;

/// What is wrong with an ACL file, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {kind}")]
pub struct AclError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong there.
    pub kind: AclErrorKind,
}

/// What is wrong with a line of an ACL file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AclErrorKind {
    /// The line begins with no word that begins a line.
    #[error("a line begins with allow, deny, group or default, not {0:?}")]
    FirstWord(String),
    /// A line as mosquitto has it.
    #[error(
        "{0:?} is mosquitto's; here it is `allow user NAME publish|subscribe|readwrite FILTER`"
    )]
    Mosquitto(String),
    /// The rule ends too early.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// Nobody is called like this.
    #[error(
        "{0:?} is nobody: all, anonymous, authenticated, or user, client, certificate, listener or group and a name"
    )]
    Who(String),
    /// Nothing can be done like this.
    #[error("{0:?} is no action: publish, subscribe or readwrite")]
    What(String),
    /// The filter is none.
    #[error("{filter:?}: {why}")]
    Filter {
        /// The filter as it stands there.
        filter: String,
        /// What is wrong with it.
        why: Violation,
    },
    /// The filter names a share.
    #[error("{0:?}: a rule is about the filter without `$share/name/`")]
    Share(String),
    /// A percent sign that stands for nothing.
    #[error("{0:?}: after `%` comes `u` (user name), `c` (client id) or `%`")]
    Percent(String),
    /// A word after the rule's end.
    #[error("{0:?} after the filter: only `retained`, and `qos` and its numbers, may follow")]
    Condition(String),
    /// A condition that only a PUBLISH can fulfil.
    #[error("`retained` and `qos` are about publishing, not about subscribing")]
    NotPublish,
    /// The numbers after `qos`.
    #[error("{0:?} is no list of 0, 1 and 2")]
    QoS(String),
    /// A group that no line fills.
    #[error("there is no group {0:?}")]
    Group(String),
    /// A default that is none, or a second one.
    #[error("`default allow` or `default deny`, once")]
    Default,
    /// A quotation mark without its other one.
    #[error("a quotation mark is not closed")]
    Quote,
}

type Groups = BTreeMap<Box<str>, Arc<BTreeSet<Box<str>>>>;

/// Reads the rules, and whether what no rule is about is allowed.
pub(super) fn parse(text: &str) -> Result<(Vec<Rule>, bool), AclError> {
    let mut lines = Vec::new();
    for (line, text) in (1..).zip(text.lines()).map(|(line, text)| (line, text.trim())) {
        if !text.is_empty() && !text.starts_with('#') {
            lines.push((line, text, words(text).map_err(|kind| AclError { line, kind })?));
        }
    }
    let groups = groups(&lines)?;
    let mut rules = Vec::new();
    let mut default_allowed = None;
    for (line, text, words) in lines {
        let at = |kind| AclError { line, kind };
        let mut words = words.into_iter();
        match words.next().as_deref().unwrap_or_default() {
            "group" => {}
            "default" if default_allowed.is_none() => {
                default_allowed = Some(default_of(words).map_err(at)?);
            }
            "default" => return Err(at(AclErrorKind::Default)),
            first @ ("allow" | "deny") => {
                rules.push(rule(line, text, first == "allow", words, &groups).map_err(at)?);
            }
            first @ ("user" | "topic" | "pattern") => {
                return Err(at(AclErrorKind::Mosquitto(first.to_owned())));
            }
            first => return Err(at(AclErrorKind::FirstWord(first.to_owned()))),
        }
    }
    Ok((rules, default_allowed.unwrap_or(false)))
}

fn groups(lines: &[(usize, &str, Vec<String>)]) -> Result<Groups, AclError> {
    let mut groups: BTreeMap<Box<str>, BTreeSet<Box<str>>> = BTreeMap::new();
    for (line, _, words) in lines {
        let mut words = words.iter().map(|word| Box::<str>::from(word.as_str()));
        if words.next().as_deref() == Some("group") {
            let missing = AclError { line: *line, kind: AclErrorKind::Missing("the group's name") };
            groups.entry(words.next().ok_or(missing)?).or_default().extend(words);
        }
    }
    Ok(groups.into_iter().map(|(name, users)| (name, Arc::new(users))).collect())
}

fn default_of(mut words: impl Iterator<Item = String>) -> Result<bool, AclErrorKind> {
    match (words.next().as_deref(), words.next()) {
        (Some("allow"), None) => Ok(true),
        (Some("deny"), None) => Ok(false),
        _ => Err(AclErrorKind::Default),
    }
}

fn rule(
    line: usize,
    text: &str,
    allow: bool,
    mut words: impl Iterator<Item = String>,
    groups: &Groups,
) -> Result<Rule, AclErrorKind> {
    let who = who(&mut words, groups)?;
    let what = match words.next().ok_or(AclErrorKind::Missing("what they may do"))?.as_str() {
        "publish" => What::Publish,
        "subscribe" => What::Subscribe,
        "readwrite" => What::Both,
        other => return Err(AclErrorKind::What(other.to_owned())),
    };
    let filter = pattern(&words.next().ok_or(AclErrorKind::Missing("the topic filter"))?)?;
    let (retained, qos) = conditions(&mut words)?;
    if what != What::Publish && (retained || !qos.is_empty()) {
        return Err(AclErrorKind::NotPublish);
    }
    Ok(Rule { line, text: text.into(), allow, who, what, filter, retained, qos })
}

fn who(words: &mut impl Iterator<Item = String>, groups: &Groups) -> Result<Who, AclErrorKind> {
    let kind = words.next().ok_or(AclErrorKind::Missing("whom the rule is about"))?;
    let mut name = || words.next().map(Box::<str>::from).ok_or(AclErrorKind::Missing("a name"));
    Ok(match kind.as_str() {
        "all" => Who::All,
        "anonymous" => Who::Anonymous,
        "authenticated" => Who::Authenticated,
        "user" => Who::User(name()?),
        "client" => Who::Client(name()?),
        "certificate" => Who::Certificate(name()?),
        "listener" => Who::Listener(name()?),
        "group" => {
            let name = name()?;
            Who::Group(groups.get(&name).cloned().ok_or_else(|| AclErrorKind::Group(name.into()))?)
        }
        _ => return Err(AclErrorKind::Who(kind)),
    })
}

fn conditions(words: &mut impl Iterator<Item = String>) -> Result<(bool, Vec<QoS>), AclErrorKind> {
    let mut retained = false;
    let mut qos = Vec::new();
    while let Some(word) = words.next() {
        match word.as_str() {
            "retained" => retained = true,
            "qos" => {
                let numbers = words.next().ok_or(AclErrorKind::Missing("the numbers of qos"))?;
                for number in numbers.split(',') {
                    let level =
                        number.parse::<u8>().ok().and_then(|number| QoS::try_from(number).ok());
                    qos.push(level.ok_or_else(|| AclErrorKind::QoS(numbers.clone()))?);
                }
            }
            _ => return Err(AclErrorKind::Condition(word)),
        }
    }
    Ok((retained, qos))
}

/// Splits a line into words: at white space, except within quotation marks, where `\"` and `\\` stand for themselves.
fn words(line: &str) -> Result<Vec<String>, AclErrorKind> {
    let mut words = Vec::new();
    let mut characters = line.chars();
    let mut word: Option<String> = None;
    while let Some(character) = characters.next() {
        if character == '"' {
            quoted(&mut characters, word.get_or_insert_default())?;
        } else if character.is_whitespace() {
            words.extend(word.take());
        } else {
            word.get_or_insert_default().push(character);
        }
    }
    words.extend(word);
    Ok(words)
}

fn quoted(
    characters: &mut impl Iterator<Item = char>,
    word: &mut String,
) -> Result<(), AclErrorKind> {
    loop {
        match characters.next().ok_or(AclErrorKind::Quote)? {
            '"' => return Ok(()),
            '\\' => word.push(characters.next().ok_or(AclErrorKind::Quote)?),
            character => word.push(character),
        }
    }
}

fn pattern(text: &str) -> Result<Pattern, AclErrorKind> {
    if text.starts_with("$share/") {
        return Err(AclErrorKind::Share(text.to_owned()));
    }
    TopicFilter::try_from(text)
        .map_err(|why| AclErrorKind::Filter { filter: text.to_owned(), why })?;
    let mut parts = Vec::new();
    let mut plain = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            plain.push(character);
            continue;
        }
        let part = match characters.next() {
            Some('%') => {
                plain.push('%');
                continue;
            }
            Some('u') => Part::User,
            Some('c') => Part::Client,
            Some(_) | None => return Err(AclErrorKind::Percent(text.to_owned())),
        };
        push_text(&mut parts, &mut plain);
        parts.push(part);
    }
    if parts.is_empty() {
        return Ok(Pattern { text: plain.into(), parts });
    }
    push_text(&mut parts, &mut plain);
    Ok(Pattern { text: text.into(), parts })
}

fn push_text(parts: &mut Vec<Part>, plain: &mut String) {
    if !plain.is_empty() {
        parts.push(Part::Text(std::mem::take(plain).into()));
    }
}
