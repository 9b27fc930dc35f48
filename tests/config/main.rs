//! The configuration: the file of defaults, the sources and their order, and what a mistake is answered with.

#![expect(clippy::unwrap_used, reason = "a test may")]
#![expect(clippy::disallowed_methods, reason = "a test writes its own files")]

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::ProptestConfig;
use proptest::proptest;
use tidelog::config::Anonymous;
use tidelog::config::ClientCertificate;
use tidelog::config::Config;
use tidelog::config::DEFAULTS;
use tidelog::config::Durability;
use tidelog::config::Endpoint;
use tidelog::config::Layers;
use tidelog::config::Source;
use tidelog::config::Sources;
use tidelog::config::TlsVersion;
use tidelog::config::UserFromCertificate;
use tidelog::session::Commit;
use tidelog::session::Start;
use tidelog::session::Strategy;
use toml::Table;
use toml::Value;

fn layers(file: &str) -> Result<Layers, String> {
    let mut layers = Layers::new().unwrap();
    layers.file(file, Path::new("t.toml")).map_err(|error| error.to_string())?;
    Ok(layers)
}

fn config(file: &str) -> Result<Config, String> {
    layers(file)?.config().map_err(|error| error.to_string())
}

/// Checks that a file is refused with this message.
#[track_caller]
fn refused(file: &str, message: &str) {
    assert_eq!(config(file).unwrap_err().trim_end(), message);
}

#[test]
fn the_file_of_defaults_is_the_default() {
    assert_eq!(Layers::new().unwrap().config().unwrap(), Config::default());
    assert_eq!(config(DEFAULTS).unwrap(), Config::default());
    assert_eq!(config("").unwrap(), Config::default());
}

#[test]
fn every_key_of_the_file_is_explained() {
    let table: Table = DEFAULTS.parse().unwrap();
    for (section, keys) in &table {
        let keys = keys.as_array().map_or(keys, |blocks| &blocks[0]);
        for key in keys.as_table().unwrap().keys() {
            let line =
                DEFAULTS.lines().position(|line| line.starts_with(&format!("{key} = "))).unwrap();
            let above = DEFAULTS.lines().nth(line - 1).unwrap();
            assert!(above.starts_with("# ") || key == "key", "{section}.{key} is not explained");
        }
    }
    let keys = Layers::new().unwrap().settings().len();
    assert_eq!(
        keys,
        DEFAULTS.lines().filter(|line| !line.starts_with('#') && line.contains(" = ")).count()
    );
}

#[test]
fn every_key_can_be_set_to_its_default() {
    for setting in Layers::new().unwrap().settings() {
        let text = setting.value.as_str().map_or_else(|| setting.value.to_string(), str::to_owned);
        let mut layers = Layers::new().unwrap();
        layers.set(&format!("{}={text}", setting.key)).unwrap();
        assert_eq!(layers.config().unwrap(), Config::default(), "{}", setting.key);
    }
}

#[test]
fn values_have_their_types() {
    let config = config(
        "[data]\ndurability = \"os\"\nsegment_size = 1_048_576\nretention_bytes = \"10 GiB\"\nretention_age = \"unlimited\"\n\
         [limits]\nconnections_per_address = 5\nkeep_alive_max = \"10m\"\n[access]\npasswords = \"/etc/p\"\n\
         [report]\nundelivered = \"alarms/#, +/x\"\n",
    )
    .unwrap();
    assert_eq!(config.data.durability, Durability::Os);
    assert_eq!(config.data.segment_size, 1 << 20);
    assert_eq!(config.data.retention_bytes, Some(10 << 30));
    assert_eq!(config.data.retention_age, None);
    assert_eq!(config.limits.connections_per_address, Some(5));
    assert_eq!(config.limits.keep_alive_max, Some(Duration::from_mins(10)));
    assert_eq!(config.access.passwords, Some(PathBuf::from("/etc/p")));
    let filters: Vec<&str> = config.report.undelivered.iter().map(|filter| &**filter).collect();
    assert_eq!(filters, ["alarms/#", "+/x"]);
}

#[test]
fn later_sources_win_and_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("t.toml");
    std::fs::write(
        &file,
        "[limits]\nconnections = 1\nsessions = 1\ntopic_levels = 1\n[data]\ndir = \"one\"\n",
    )
    .unwrap();
    let sources = Sources {
        file: Some(file.clone()),
        set: vec!["limits.topic_levels=3".to_owned(), "limits.topic_levels = 4".to_owned()],
        listen: Vec::new(),
        data: Some(PathBuf::from("two")),
    };
    let environment = [
        ("TIDELOG__LIMITS__SESSIONS".to_owned(), "2".to_owned()),
        ("TIDELOG__LIMITS__TOPIC_LEVELS".to_owned(), "2".to_owned()),
        ("TIDELOG_CONFIG".to_owned(), "not ours".to_owned()),
    ];
    let layers = sources.layers_in(environment).unwrap();
    let config = layers.config().unwrap();
    assert_eq!(
        (config.limits.connections, config.limits.sessions, config.limits.topic_levels),
        (1, 2, 4)
    );
    assert_eq!(config.data.dir, PathBuf::from("two"));
    let source = |key: &str| {
        layers.settings().into_iter().find(|setting| setting.key == key).unwrap().source
    };
    assert_eq!(source("limits.connections"), Source::File(file));
    assert_eq!(
        source("limits.sessions"),
        Source::Environment("TIDELOG__LIMITS__SESSIONS".to_owned())
    );
    assert_eq!(source("limits.topic_levels"), Source::Flag("--set"));
    assert_eq!(source("data.dir"), Source::Flag("--data"));
    assert_eq!(source("limits.packet_size"), Source::Default);
}

#[test]
fn a_listener_of_the_command_line_is_given_its_certificate_there() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("t.toml");
    std::fs::write(&file, "").unwrap();
    let sources = Sources {
        file: Some(file),
        set: vec![
            "listener.0.certificate=server.pem".to_owned(),
            "listener.0.key=server-key.pem".to_owned(),
        ],
        listen: vec!["tls://127.0.0.1:8883".to_owned()],
        data: None,
    };
    let config = sources.layers_in([]).unwrap().config().unwrap();
    let tls = config.listeners[0].tls.as_ref().unwrap();
    assert_eq!(tls.certificate, PathBuf::from("server.pem"));
    assert_eq!(tls.key, PathBuf::from("server-key.pem"));
}

#[test]
fn a_file_that_was_named_has_to_be_there() {
    let sources =
        Sources { file: Some(PathBuf::from("/nonexistent/t.toml")), ..Sources::default() };
    let error = sources.layers_in([]).unwrap_err().to_string();
    assert!(error.starts_with("/nonexistent/t.toml: "), "{error}");
}

#[test]
fn unknown_keys_are_named_with_the_nearest() {
    refused(
        "[limits]\nconections = 5\n",
        "t.toml: there is no key `limits.conections`; is it `limits.connections`?",
    );
    refused(
        "[data]\npacket_size = 5\n",
        "t.toml: there is no key `data.packet_size`; is it `limits.packet_size`?",
    );
    refused(
        "passwords = \"x\"\n",
        "t.toml: there is no key `passwords`; is it `access.passwords`?",
    );
    refused("[bridge]\nremote_host = 5\n", "t.toml: there is no key `bridge.remote_host`");
    refused("[bridge]\n", "t.toml: there is no key `bridge`");
    refused(
        "[[listener]]\nadress = \"127.0.0.1:1\"\n",
        "t.toml: there is no key `listener.0.adress`; is it `listener.0.address`?",
    );
}

#[test]
fn wrong_values_are_named_with_key_and_source() {
    refused(
        "[limits]\npacket_size = \"2 megs\"\n",
        "t.toml: `limits.packet_size` is \"2 megs\": expected a size as in \"64 MiB\"",
    );
    refused(
        "[limits]\nconnect_timeout = 10\n",
        "t.toml: `limits.connect_timeout` is 10: expected a time with its unit as in \"30s\" or \"1h 30m\"",
    );
    refused(
        "[limits]\nconnections = -1\n",
        "t.toml: `limits.connections` is -1: expected a whole number up to 4294967295",
    );
    refused(
        "[data]\ndurability = \"sometimes\"\n",
        "t.toml: `data.durability` is \"sometimes\": unknown variant `sometimes`, expected one of `fsync`, `os`, `none`",
    );
    refused(
        "[report]\nundelivered = \"a/#/b\"\n",
        "t.toml: `report.undelivered` is \"a/#/b\": expected topic filters with commas between them",
    );
    refused("limits = 5\n", "t.toml: `limits` is 5: this is a section, not a key");
    refused("[limits]\nreceive_maximum = 0\n", "t.toml: `limits.receive_maximum` is 0: 1 to 65535");
    refused(
        "[limits]\npending_bytes = \"1 MiB\"\n",
        "t.toml: `limits.pending_bytes` is \"1 MiB\": at least limits.packet_size",
    );
    let error = config("[limits\n").unwrap_err();
    assert!(error.starts_with("t.toml: TOML parse error at line 1"), "{error}");
}

#[test]
fn the_other_sources_are_named_too() {
    let mut layers = Layers::new().unwrap();
    let error = layers.set("limits.connections=many").unwrap_err().to_string();
    assert_eq!(
        error,
        "--set: `limits.connections` is \"many\": expected a whole number up to 4294967295"
    );
    assert_eq!(
        layers.set("connections").unwrap_err().to_string(),
        "--set connections: expected section.key=value"
    );
    let variable = [("TIDELOG__LIMIT__CONNECTIONS".to_owned(), "5".to_owned())];
    assert_eq!(
        layers.environment(variable).unwrap_err().to_string(),
        "TIDELOG__LIMIT__CONNECTIONS: there is no key `limit.connections`; is it `limits.connections`?"
    );
    assert_eq!(layers.config().unwrap(), Config::default(), "a refused key leaves no trace");
}

#[test]
fn listeners_of_a_file_replace_the_default() {
    let config = config(
        "[access]\nanonymous = \"never\"\n\
         [[listener]]\nkind = \"websocket\"\naddress = \"[::]:8080\"\n\
         [[listener]]\nname = \"local\"\nkind = \"unix\"\naddress = \"/run/t.sock\"\nanonymous = \"loopback\"\n",
    )
    .unwrap();
    let [websocket, unix] = &config.listeners[..] else { panic!("{:?}", config.listeners) };
    assert_eq!(
        (websocket.name.as_str(), websocket.websocket_path.as_deref()),
        ("[::]:8080", Some("/mqtt"))
    );
    assert_eq!(websocket.endpoint, Endpoint::Tcp("[::]:8080".parse().unwrap()));
    assert_eq!(websocket.anonymous, Anonymous::Never);
    assert!(!websocket.is_loopback());
    assert_eq!(unix.endpoint, Endpoint::Unix(PathBuf::from("/run/t.sock")));
    assert_eq!((unix.anonymous, unix.websocket_path.as_deref()), (Anonymous::Loopback, None));
    assert!(unix.is_loopback() && unix.lets_anonymous_in());
}

const TLS: &str = "[[listener]]\nkind = \"tls\"\naddress = \"0.0.0.0:8883\"\ncertificate = \"c.pem\"\nkey = \"k.pem\"\n";

#[test]
fn a_listener_with_tls_is_whole() {
    let file = format!(
        "{TLS}client_ca = \"ca.pem\"\nclient_certificate = \"required\"\nuser_from_certificate = \"cn\"\ntls_min = \"1.3\"\n"
    );
    let config = config(&file).unwrap();
    let tls = config.listeners[0].tls.as_ref().unwrap();
    assert_eq!(
        (tls.client_certificate, tls.user_from_certificate),
        (ClientCertificate::Required, UserFromCertificate::Cn)
    );
    assert_eq!(
        (tls.minimum, tls.client_ca.clone()),
        (TlsVersion::V1_3, Some(PathBuf::from("ca.pem")))
    );
    assert!(!config.listeners[0].lets_anonymous_in());
}

#[test]
fn listeners_that_can_not_work_are_refused() {
    refused("listener = []\n", "t.toml: `listener` is []: at least one listener is needed");
    refused("[[listener]]\n", "t.toml: `listener.0.address` is \"\": an address is needed");
    refused(
        "[[listener]]\naddress = \"somewhere:1883\"\n",
        "t.toml: `listener.0.address` is \"somewhere:1883\": an IP address and a port, as in \"0.0.0.0:1883\"",
    );
    refused(
        "[[listener]]\nkind = \"tls\"\naddress = \"0.0.0.0:8883\"\n",
        "t.toml: `listener.0.certificate` is \"\": a listener with TLS needs a certificate",
    );
    refused(
        "[[listener]]\naddress = \"127.0.0.1:1\"\ncertificate = \"c.pem\"\n",
        "t.toml: `listener.0.certificate` is \"c.pem\": only listeners of kind \"tls\" and \"wss\" have it",
    );
    refused(
        &format!("{TLS}client_certificate = \"optional\"\n"),
        "t.toml: `listener.0.client_ca` is \"\": client certificates can't be checked without their authority",
    );
    refused(
        &format!("{TLS}user_from_certificate = \"san\"\n"),
        "t.toml: `listener.0.user_from_certificate` is \"san\": clients are not asked for a certificate (client_certificate)",
    );
    refused(
        "[[listener]]\naddress = \"127.0.0.1:1\"\n[[listener]]\naddress = \"127.0.0.1:1\"\nname = \"b\"\n",
        "t.toml: `listener.1.address` is \"127.0.0.1:1\": another listener has this address",
    );
    refused(
        "[[listener]]\nname = \"a\"\naddress = \"127.0.0.1:0\"\n[[listener]]\naddress = \"127.0.0.1:0\"\nname = \"a\"\n",
        "t.toml: `listener.1.name` is \"a\": another listener has this name",
    );
    refused(
        "[[listener]]\nkind = \"websocket\"\naddress = \"127.0.0.1:1\"\npath = \"mqtt\"\n",
        "t.toml: `listener.0.path` is \"mqtt\": the path of a URL, as in \"/mqtt\"",
    );
}

fn listen(addresses: &[&str]) -> Result<Config, String> {
    let mut layers = layers(TLS)?;
    let addresses: Vec<String> = addresses.iter().map(|address| (*address).to_owned()).collect();
    layers.listen(&addresses).and_then(|()| layers.config()).map_err(|error| error.to_string())
}

#[test]
fn listen_replaces_the_listeners() {
    let config = listen(&[
        "1884",
        "localhost:0",
        "ws://0.0.0.0:8080",
        "unix:/run/t.sock",
        "tls://[::1]:8884",
    ])
    .unwrap();
    let [port, local, websocket, unix, tls] = &config.listeners[..] else {
        panic!("{:?}", config.listeners)
    };
    assert_eq!(port.endpoint, Endpoint::Tcp("127.0.0.1:1884".parse().unwrap()));
    assert_eq!(local.endpoint, Endpoint::Tcp("127.0.0.1:0".parse().unwrap()));
    assert_eq!(websocket.websocket_path.as_deref(), Some("/mqtt"));
    assert_eq!(unix.endpoint, Endpoint::Unix(PathBuf::from("/run/t.sock")));
    assert_eq!(tls.tls.as_ref().unwrap().certificate, PathBuf::from("c.pem"));
    assert_eq!(
        listen(&["wss://127.0.0.1:1"]).unwrap_err(),
        "--listen: `listener.0.certificate` is \"\": a listener with TLS needs a certificate"
    );
    for wrong in ["", "host", "unix:", "http://127.0.0.1:1"] {
        assert!(listen(&[wrong]).is_err(), "{wrong}");
    }
    assert_eq!(listen(&[]).unwrap().listeners.len(), 1);
}

#[test]
fn a_listener_can_be_changed_from_outside() {
    let mut layers = Layers::new().unwrap();
    layers
        .environment([("TIDELOG__LISTENER__0__ADDRESS".to_owned(), "0.0.0.0:1883".to_owned())])
        .unwrap();
    assert!(!layers.config().unwrap().listeners[0].is_loopback());
    let error = layers.set("listener.1.address=0.0.0.0:1884").unwrap_err().to_string();
    assert!(error.contains("no key `listener.1.address`"), "{error}");
}

#[test]
fn groups_are_declared() {
    let config = config(
        "[[group]]\nname = \"workers\"\nfilter = \"jobs/#\"\nfrom = \"earliest\"\nstrategy = \"key\"\ncommit = \"manual\"\n\
         [[group]]\n\
         [[group]]\nname = \"workers\"\nfilter = \"a\"\n",
    )
    .unwrap();
    let [jobs, plain] = &config.groups[..] else { panic!("{:?}", config.groups) };
    assert_eq!((jobs.share.as_str(), jobs.filter.as_str()), ("workers", "jobs/#"));
    assert_eq!((jobs.start, jobs.from.as_str()), (Start::Earliest, "earliest"));
    assert_eq!((jobs.strategy, jobs.commit), (Strategy::Key, Commit::Manual));
    assert_eq!((plain.filter.as_str(), plain.start), ("a", Start::Latest));
    assert_eq!((plain.strategy, plain.commit), (Strategy::LeastInflight, Commit::Ack));
    assert_eq!(config.listeners.len(), 1, "other lists stay");
}

#[test]
fn a_group_can_be_declared_from_outside() {
    let mut layers = Layers::new().unwrap();
    layers.environment([("TIDELOG__GROUP__0__NAME".to_owned(), "g".to_owned())]).unwrap();
    layers.set("group.0.filter=a/#").unwrap();
    let config = layers.config().unwrap();
    assert_eq!(config.groups[0].filter.as_str(), "a/#");
    let origin = |key: &str| {
        let settings = layers.settings();
        settings.into_iter().find(|setting| setting.key == key).unwrap().source.to_string()
    };
    assert_eq!(origin("group.0.name"), "TIDELOG__GROUP__0__NAME");
    assert_eq!(
        (origin("group.0.filter"), origin("group.0.from")),
        ("--set".to_owned(), "default".to_owned())
    );
}

#[test]
fn groups_that_can_not_be_are_refused() {
    let block = |rest: &str| format!("[[group]]\nname = \"g\"\nfilter = \"a\"\n{rest}\n");
    refused(
        "[[group]]\nname = \"g\"\n",
        "t.toml: `group.0.filter` is \"\": topic filter is empty [MQTT-4.7.3-1]",
    );
    refused(
        "[[group]]\nfilter = \"a\"\n",
        "t.toml: `group.0.name` is \"\": share name is empty [MQTT-4.8.2-1]",
    );
    refused(
        "[[group]]\nname = \"g\"\nfilter = \"$SYS/#\"\n",
        "t.toml: `group.0.filter` is \"$SYS/#\": a filter for a group does not begin with $",
    );
    refused(
        "[limits]\ntopic_levels = 2\n[[group]]\nname = \"g\"\nfilter = \"a/b/c\"\n",
        "t.toml: `group.0.filter` is \"a/b/c\": more levels than limits.topic_levels",
    );
    refused(
        &block("from = \"tomorrow\""),
        "t.toml: `group.0.from` is \"tomorrow\": bad start: earliest | latest | committed | last-N | o-OFFSET | t-UNIXMS | ago-15m | 2026-08-01T00:00:00Z",
    );
    refused(
        &block("strategy = \"fastest\""),
        "t.toml: `group.0.strategy` is \"fastest\": bad strategy: least-inflight | round-robin | random | sticky | key | exclusive",
    );
    refused(
        &block("commit = \"never\""),
        "t.toml: `group.0.commit` is \"never\": bad commit: ack | manual",
    );
    refused(
        &[block(""), block("from = \"earliest\"")].concat(),
        "t.toml: `group.1.filter` is \"a\": another group has this name and filter",
    );
    refused(
        "[[group]]\nfliter = \"a\"\n",
        "t.toml: there is no key `group.0.fliter`; is it `group.0.filter`?",
    );
    assert_eq!(config("group = []\n").unwrap().groups, []);
}

#[test]
fn numbers_keep_their_values() {
    let settings = layers("[limits]\nconnections = 7\n").unwrap().settings();
    let setting = settings.iter().find(|setting| setting.key == "limits.connections").unwrap();
    assert_eq!(
        (&setting.value, setting.source.to_string().as_str()),
        (&Value::Integer(7), "t.toml")
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    /// No file, assignment or address makes the configuration panic, and none leaves it half changed.
    #[test]
    fn any_text_is_read_or_refused(
        file in "(\\[\\[?(listener|group|limits|data|x)\\]?\\]\n|(listener|limits|name|dir|connections|kind)(\\.[a-z]{1,3})? = ([0-9]|\"[a-z0-9.:]{0,4}\"|\\[\\]|\\{\\})\n){0,4}",
        assignment in "[a-z.0-9]{0,12}(limits|listener|group|connections)?[.=0-9a-z]{0,6}=?[ -~]{0,8}",
        address in "(ws|tls|unix|tcp)?(:|://)?[ -~]{0,10}",
    ) {
        let mut layers = Layers::new().unwrap();
        if layers.set(&assignment).is_err() {
            assert_eq!(layers.config().unwrap(), Config::default());
        }
        drop(layers.file(&file, Path::new("t.toml")).and_then(|()| layers.listen(&[address])));
        drop(layers.config());
        layers.settings();
    }
}
