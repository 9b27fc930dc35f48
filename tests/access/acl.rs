//! ACL files, the answers they give, and what is said about broken ones.

use std::sync::Arc;

use proptest::prelude::ProptestConfig;
use proptest::prelude::Strategy;
use proptest::prop_assert;
use proptest::proptest;
use proptest::sample::select;

use tidelog::access::Acl;
use tidelog::access::Action;
use tidelog::access::Identity;
use tidelog::access::acl::Outcome;
use tidelog::access::covers;
use tidelog::mqtt::QoS;

use super::identity;
use super::text;

/// Checks a file against lines of `client user action topic -> answer`, where the answer is `yes` or `no` and the
/// deciding line (`-` for none), and a user of `-` is an anonymous client.
#[track_caller]
fn check(file: &str, questions: &str) {
    let acl = Acl::parse(file).unwrap();
    for question in questions.lines().map(str::trim).filter(|question| !question.is_empty()) {
        let words: Vec<&str> = question.split_whitespace().collect();
        let &[client, user, action, topic, "->", answer, line] = &words[..] else {
            panic!("{question}")
        };
        let identity = identity(client, user.trim_matches('-'));
        let decision = acl.grants(&identity).may(self::action(action, topic));
        let rule = decision.rule.map_or("-".to_owned(), |line| line.to_string());
        let given = if decision.allowed { "yes" } else { "no" };
        assert_eq!((given, rule.as_str()), (answer, line), "{question}");
        let explanation = acl.explain(self::action(action, topic), &identity);
        assert_eq!(explanation.decision, decision, "{question}");
        let applied =
            explanation.reasons.iter().filter(|reason| reason.outcome == Outcome::Applies);
        assert!(applied.map(|reason| reason.line).eq(decision.rule), "{question}: {explanation}");
    }
}

fn action<'a>(name: &str, topic: &'a str) -> Action<'a> {
    match name {
        "publish" => Action::Publish { topic, retain: false, qos: QoS::AtMostOnce },
        "publish1" => Action::Publish { topic, retain: false, qos: QoS::AtLeastOnce },
        "retain" => Action::Publish { topic, retain: true, qos: QoS::AtMostOnce },
        "subscribe" => Action::Subscribe { filter: topic },
        "receive" => Action::Receive { topic },
        _ => panic!("{name}"),
    }
}

#[test]
fn the_first_rule_that_applies_decides() {
    check(
        "# ours\n\
         deny all publish plant/+/config\n\
         allow user alice readwrite plant/#\n\
         allow all subscribe plant/public/#\n",
        "c alice publish plant/a/config -> no 2
         c alice publish plant/a/temp -> yes 3
         c alice subscribe plant/+/config -> yes 3
         c alice publish other -> no -
         c - publish plant/a/temp -> no -
         c - subscribe plant/public/+ -> yes 4
         c - subscribe plant/# -> no -
         c - receive plant/public/x -> yes 4
         c - receive plant/x -> no -",
    );
}

#[test]
fn the_default_can_be_turned() {
    check(
        "default allow\ndeny all publish a\n",
        "c - publish a -> no 2\nc - publish b -> yes -\nc - subscribe # -> yes -",
    );
    check("default deny\n", "c - publish a -> no -");
    check("", "c u publish a -> no -");
    assert!(Acl::open().grants(&identity("c", "")).may(action("publish", "$x")).allowed);
}

#[test]
fn a_subscription_is_allowed_if_covered_and_denied_if_touched() {
    check(
        "deny user bob subscribe secret/#\nallow all subscribe +/a\nallow all subscribe secret/b\n",
        "c bob subscribe +/a -> no 1
         c bob subscribe # -> no 1
         c bob subscribe x/a -> yes 2
         c bob subscribe secret -> no 1
         c eve subscribe +/a -> yes 2
         c eve subscribe secret/+ -> no -
         c eve subscribe secret/b -> yes 3
         c eve subscribe $share/g/secret/b -> yes 3
         c bob subscribe $share/g/secret/b -> no 1
         c eve subscribe $share/g -> no -",
    );
}

#[test]
fn dollar_topics_want_their_own_rule() {
    check(
        "allow user a readwrite #\nallow all subscribe $SYS/broker/#\n",
        "c a publish x -> yes 1
         c a publish $ctl/x -> no -
         c a subscribe $SYS/# -> no -
         c a subscribe $SYS/broker/+ -> yes 2
         c a receive $SYS/broker/load -> yes 2",
    );
}

#[test]
fn names_are_put_into_filters_unless_they_would_change_them() {
    let file = "allow all publish dev/%c/%u/#\nallow all subscribe x-%c\nallow all subscribe %u/#\n\
                deny all publish %c\nallow all publish 100%%/#\n";
    check(
        file,
        "c1 u1 publish dev/c1/u1/t -> yes 1
         c1 u1 publish dev/c1/u2/t -> no -
         c1 u1 publish dev/c2/u1/t -> no -
         c1 u1 subscribe x-c1 -> yes 2
         c1 u1 subscribe u1/t -> yes 3
         c1 - publish dev/c1//t -> no -
         c1 - subscribe x-c1 -> yes 2
         c1 u1 publish 100%/x -> yes 5
         c1 u1 publish c1 -> no 4
         + u1 publish dev/x/u1/t -> no -
         + u1 publish dev/+/u1/t -> no -
         # u1 subscribe x-# -> no -
         a/b u1 publish dev/a/b/u1/t -> no -
         $SYS $SYS subscribe $SYS/x -> no -
         $SYS $SYS publish dev/$SYS/$SYS/x -> yes 1
         $SYS $SYS subscribe x-$SYS -> yes 2",
    );
    let acl = Acl::parse(file).unwrap();
    let reasons = acl.explain(action("publish", "dev/x/u/t"), &identity("a/b", "u")).reasons;
    assert_eq!(reasons[0].outcome, Outcome::NotSubstituted);
    let empty = Identity { user_name: Some(text("")), ..identity("c", "") };
    assert!(
        !acl.grants(&empty).may(action("subscribe", "/x")).allowed,
        "an empty name is not put in"
    );
}

#[test]
fn a_client_id_stands_in_a_filter_of_events_as_in_their_topics() {
    check(
        "allow all subscribe $events/client/%c/#",
        "plant/p1 - subscribe $events/client/plant%2Fp1/# -> yes 1
         plant%2Fp1 - subscribe $events/client/plant%2Fp1/# -> no -
         plant%2Fp1 - subscribe $events/client/plant%252Fp1/# -> yes 1
         # - subscribe $events/client/%23/connected -> yes 1
         # - subscribe $events/client/#/connected -> no -",
    );
}

#[test]
fn rules_are_about_whom_they_say() {
    let file = "group ops bob\nallow group ops publish g\nallow client c7 publish c\nallow anonymous publish n\n\
                allow authenticated publish y\ngroup ops \"carol x\"\nallow certificate dev publish z\n\
                allow listener tcp publish l\nallow user \"a \\\"b\\\"\" publish \"two words\"\n";
    check(
        file,
        "c bob publish g -> yes 2
         c eve publish g -> no -
         c7 - publish c -> yes 3
         c8 - publish c -> no -
         c - publish n -> yes 4
         c eve publish n -> no -
         c eve publish y -> yes 5
         c - publish y -> no -
         c - publish z -> no -
         c - publish l -> yes 8",
    );
    let acl = Acl::parse(file).unwrap();
    let certified = Identity {
        certificate_name: Some(text("dev")),
        listener: Arc::from("tls"),
        ..identity("c", "")
    };
    assert!(acl.grants(&certified).may(action("publish", "z")).allowed);
    assert!(!acl.grants(&certified).may(action("publish", "l")).allowed);
    assert!(acl.grants(&identity("c", "carol x")).may(action("publish", "g")).allowed);
    assert!(acl.grants(&identity("c", "a \"b\"")).may(action("publish", "two words")).allowed);
}

#[test]
fn publishing_can_depend_on_retain_and_qos() {
    check(
        "deny all publish a retained\nallow all publish a qos 1,2\nallow user u publish b retained qos 0\n",
        "c - retain a -> no 1
         c - publish a -> no -
         c - publish1 a -> yes 2
         c u retain b -> yes 3
         c u publish b -> no -",
    );
}

#[test]
fn an_explanation_names_every_rule_up_to_the_deciding_one() {
    let acl = Acl::parse("allow user x publish a\nallow all subscribe a\nallow all publish b\n deny all publish a \n").unwrap();
    let explained = |topic| acl.explain(action("publish", topic), &identity("c", "")).to_string();
    assert_eq!(
        explained("a"),
        "line 1: `allow user x publish a` is about other clients\n\
         line 2: `allow all subscribe a` is about another action\n\
         line 3: `allow all publish b` is about other topics\n\
         line 4: `deny all publish a` decides\n\
         denied by line 4"
    );
    assert!(explained("c").ends_with("denied because no rule applies"));
    assert!(explained("b").ends_with("line 3: `allow all publish b` decides\nallowed by line 3"));
}

#[test]
fn errors_name_the_line_and_what_is_wrong() {
    for (line, message) in [
        (
            "permit all publish a",
            "a line begins with allow, deny, group or default, not \"permit\"",
        ),
        (
            "topic read a/#",
            "\"topic\" is mosquitto's; here it is `allow user NAME publish|subscribe|readwrite FILTER`",
        ),
        ("allow", "whom the rule is about is missing"),
        ("allow user", "a name is missing"),
        ("allow all", "what they may do is missing"),
        ("allow all publish", "the topic filter is missing"),
        (
            "allow alice publish a",
            "\"alice\" is nobody: all, anonymous, authenticated, or user, client, certificate, listener or group and a name",
        ),
        ("allow all write a", "\"write\" is no action: publish, subscribe or readwrite"),
        (
            "allow all publish a+",
            "\"a+\": + does not fill a level of the topic filter [MQTT-4.7.1-2]",
        ),
        (
            "allow all publish #/a",
            "\"#/a\": # is not alone in the last level of the topic filter [MQTT-4.7.1-1]",
        ),
        ("allow all publish \"\"", "\"\": topic filter is empty [MQTT-4.7.3-1]"),
        (
            "allow all publish $share/g/a",
            "\"$share/g/a\": a rule is about the filter without `$share/name/`",
        ),
        ("allow all publish 5%", "\"5%\": after `%` comes `u` (user name), `c` (client id) or `%`"),
        (
            "allow all publish a # b",
            "\"#\" after the filter: only `retained`, and `qos` and its numbers, may follow",
        ),
        (
            "allow all subscribe a retained",
            "`retained` and `qos` are about publishing, not about subscribing",
        ),
        ("allow all publish a qos 3", "\"3\" is no list of 0, 1 and 2"),
        ("allow all publish a qos", "the numbers of qos is missing"),
        ("allow group g publish a", "there is no group \"g\""),
        ("group", "the group's name is missing"),
        ("default", "`default allow` or `default deny`, once"),
        ("default maybe", "`default allow` or `default deny`, once"),
        ("allow user \"a publish b", "a quotation mark is not closed"),
    ] {
        let error = Acl::parse(&format!("# first\n\n{line}\nallow all publish a\n")).unwrap_err();
        assert_eq!(error.to_string(), format!("line 3: {message}"));
    }
    let error = Acl::parse("default allow\ndefault allow\n").unwrap_err();
    assert_eq!(error.line, 2);
}

const LEVELS: [&str; 5] = ["a", "b", "$s", "+", ""];

/// A valid filter of one to three levels.
fn filter() -> impl Strategy<Value = String> {
    let levels = proptest::collection::vec(select(&LEVELS[..]), 1..4);
    (levels, proptest::bool::weighted(0.3)).prop_map(|(mut levels, hash)| {
        if hash {
            levels.pop();
            levels.push("#");
        }
        let filter = levels.join("/");
        if filter.is_empty() { "/".to_owned() } else { filter }
    })
}

fn rules() -> impl Strategy<Value = String> {
    let rule = (
        select(&["allow", "deny"][..]),
        select(&["subscribe", "readwrite", "publish"][..]),
        filter(),
    )
        .prop_map(|(verb, what, filter)| format!("{verb} all {what} {filter}\n"));
    let default = select(&["default allow\n", "default deny\n"][..]);
    (default, proptest::collection::vec(rule, 0..6))
        .prop_map(|(default, rules)| default.to_owned() + &rules.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// If a subscription is allowed, so is each topic that it can bring.
    #[test]
    fn what_a_subscription_brings_was_allowed(file in rules(), asked in filter()) {
        let grants = Acl::parse(&file).unwrap().grants(&identity("c", "u"));
        if grants.may(Action::Subscribe { filter: &asked }).allowed {
            for topic in topics() {
                if covers(&asked, &topic) {
                    prop_assert!(grants.may(Action::Receive { topic: &topic }).allowed, "{topic}");
                }
            }
        }
    }

    /// No text makes the parser panic.
    #[test]
    fn any_text_is_read_or_refused(text in "(allow|deny|all|user|group|publish|[ \"\\\\%uc#+/$\n])*") {
        drop(Acl::parse(&text));
    }
}

/// Every topic of one to three levels of these names.
fn topics() -> Vec<String> {
    let names = ["a", "b", "z", "$s", ""];
    let deeper = |topics: &[String]| -> Vec<String> {
        topics.iter().flat_map(|topic| names.map(|name| format!("{topic}/{name}"))).collect()
    };
    let one: Vec<String> = names.map(str::to_owned).to_vec();
    let two = deeper(&one);
    let three = deeper(&two);
    [one, two, three].concat().into_iter().filter(|topic| !topic.is_empty()).collect()
}
