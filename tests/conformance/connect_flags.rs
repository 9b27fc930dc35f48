//! Section 3.1.2.3 and following: the flags of CONNECT against the fields that they announce.

use crate::prelude::*;

/// The packet with other flags than its fields ask for.
fn refused_with_flags(broker: &Broker, connect: &Connect, flags: u8) {
    let version = connect.version;
    let bytes = connect.bytes_with(version.protocol_name(), version.level(), flags);
    refused_connect(broker, version, &bytes);
}

/// [MQTT-3.1.2-12] [3.1.1 MQTT-3.1.2-14]
#[test]
fn will_qos_3_is_malformed() {
    each_version(|broker, version| {
        let connect = Connect::new(version, "will").will(Will::new("w", "x").qos(3));
        refused_with_flags(broker, &connect, connect.flags());
    });
}

/// [MQTT-3.1.2-11] [MQTT-3.1.2-13] [3.1.1 MQTT-3.1.2-11] [3.1.1 MQTT-3.1.2-13] [3.1.1 MQTT-3.1.2-15]
#[test]
fn without_a_will_its_qos_and_retain_are_zero() {
    // 3.1 leaves these bits undefined.
    each_numbered_version(|broker, version| {
        let connect = Connect::new(version, "no will");
        for flags in [0x08, 0x10, 0x18, 0x20, 0x28] {
            refused_with_flags(broker, &connect, connect.flags() | flags);
        }
    });
}

/// [MQTT-3.1.2-9] [3.1.1 MQTT-3.1.2-9] [3.1.1 MQTT-3.1.2-11]
#[test]
fn will_flag_and_will_fields_go_together() {
    if mosquitto_differs("ignores bytes behind the end of CONNECT") {
        return;
    }
    each_version(|broker, version| {
        let without = Connect::new(version, "no will");
        refused_with_flags(broker, &without, without.flags() | 0x04);
        let with = without.will(Will::new("w", "x"));
        refused_with_flags(broker, &with, 0x02);
    });
}

/// [MQTT-3.1.2-16] [MQTT-3.1.2-17] [3.1.1 MQTT-3.1.2-18] [3.1.1 MQTT-3.1.2-19]
#[test]
fn user_name_flag_and_user_name_go_together() {
    if mosquitto_differs("ignores bytes behind the end of CONNECT") {
        return;
    }
    // In 3.1 the length decides, and a field that was announced may be missing.
    each_numbered_version(|broker, version| {
        let without = Connect::new(version, "user");
        refused_with_flags(broker, &without, without.flags() | 0x80);
        let with = Connect { user_name: Some("u".into()), ..without };
        refused_with_flags(broker, &with, 0x02);
    });
}

/// [MQTT-3.1.2-18] [MQTT-3.1.2-19] [3.1.1 MQTT-3.1.2-20] [3.1.1 MQTT-3.1.2-21]
#[test]
fn password_flag_and_password_go_together() {
    if mosquitto_differs("ignores bytes behind the end of CONNECT") {
        return;
    }
    // In 3.1 the length decides, and a field that was announced may be missing.
    each_numbered_version(|broker, version| {
        let without = Connect { user_name: Some("u".into()), ..Connect::new(version, "password") };
        refused_with_flags(broker, &without, without.flags() | 0x40);
        let with = without.login("u", "p");
        refused_with_flags(broker, &with, 0x82);
    });
}

/// [3.1.1 MQTT-3.1.2-22]
#[test]
fn password_without_user_name_is_for_version_5_only() {
    let broker = Broker::start();
    for version in [Version::V3, Version::V4] {
        let connect =
            Connect { password: Some(vec![0xFF, 0]), ..Connect::new(version, "password") };
        refused_with_flags(&broker, &connect, connect.flags());
    }
    let connect =
        Connect { password: Some(vec![0xFF, 0]), ..Connect::new(Version::V5, "password") };
    Client::connect(broker.address(), &connect).0.disconnect();
}
