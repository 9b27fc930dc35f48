//! The configuration in the terms of each layer below, which know nothing of it.

use std::time::Duration;

use crate::broker;
use crate::commitlog;
use crate::config::Config;
use crate::config::Durability;
use crate::config::Enforcement;
use crate::config::Limits;
use crate::config::OnWriteFailure;
use crate::mqtt::Text;
use crate::session;
use crate::store;

/// What the core is told.
pub(super) fn broker(config: &Config) -> broker::Options {
    let Config { data, limits, mqtt, report, sys, .. } = config;
    broker::Options {
        session: session(limits),
        connect_timeout: limits.connect_timeout,
        connect_size_max: bytes(limits.connect_packet_size),
        client_id_bytes_max: usize::from(limits.client_id_bytes),
        topic_levels_max: usize::from(limits.topic_levels),
        subscriptions_max: count(limits.subscriptions_per_client),
        sessions_max: count(limits.sessions),
        retained_max: count(limits.retained_messages),
        groups_max: count(limits.groups_max),
        uncommitted_max: count(limits.uncommitted_max),
        groups: config.groups.clone(),
        delayed_max: count(limits.delayed_max),
        delay_max: limits.delay_max,
        output_bytes_max: bytes(limits.output_buffer),
        pending_bytes_max: bytes(limits.pending_bytes),
        log_qos0: data.log_qos0,
        check_payload_format: mqtt.check_payload_format,
        report_undelivered: report.undelivered.clone(),
        sys_interval: sys.interval,
        checkpoint_interval: data.checkpoint_interval,
        on_write_failure: match data.on_write_failure {
            OnWriteFailure::Exit => broker::OnWriteFailure::Exit,
            OnWriteFailure::ReadOnly => broker::OnWriteFailure::ReadOnly,
        },
        clean_interval: if data.clean_rate == 0 { Duration::ZERO } else { data.clean_interval },
        server_reference: mqtt.server_reference.clone().and_then(|text| Text::try_from(text).ok()),
        ..broker::Options::default()
    }
}

fn session(limits: &Limits) -> session::Options {
    let seconds = |time: Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
    session::Options {
        receive_maximum: limits.receive_maximum,
        receive_maximum_strict: limits.receive_maximum_enforcement == Enforcement::Strict,
        packet_size_max: bytes(limits.packet_size),
        topic_alias_maximum: limits.topic_alias_maximum,
        in_flight_max: limits.in_flight_max,
        keep_alive_max: limits
            .keep_alive_max
            .map(|time| u16::try_from(time.as_secs()).unwrap_or(u16::MAX)),
        session_expiry_max: limits.session_expiry_max.map_or(u32::MAX, seconds),
    }
}

/// What the store is told. `log_id` is a random number, for a log that is made new.
pub(super) fn store(config: &Config, log_id: u64) -> store::Options {
    let data = &config.data;
    let log = commitlog::Options {
        segment_bytes: data.segment_size,
        tail_bytes_max: bytes(data.tail_memory),
        retention_age: data.retention_age,
        retention_bytes: data.retention_bytes,
        reserve_bytes: data.reserve,
        new_log_id: log_id,
        ..commitlog::Options::default()
    };
    store::Options {
        log,
        durability: durability(config),
        log_qos0: data.log_qos0,
        checkpoint_interval: data.checkpoint_interval,
        clock_jump_max: data.clock_jump_max,
        ..store::Options::default()
    }
}

/// When a record counts as durable.
pub(super) const fn durability(config: &Config) -> store::Durability {
    match config.data.durability {
        Durability::Fsync => store::Durability::Fsync,
        Durability::Os => store::Durability::Os,
        Durability::None => store::Durability::None,
    }
}

fn bytes(size: u64) -> usize {
    usize::try_from(size).unwrap_or(usize::MAX)
}

fn count(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_core_gets_what_the_configuration_says() {
        let mut config = Config::default();
        config.limits.keep_alive_max = Some(Duration::from_secs(90));
        config.limits.session_expiry_max = None;
        config.limits.receive_maximum_enforcement = Enforcement::Strict;
        config.limits.packet_size = 1_234;
        config.data.clean_interval = Duration::from_secs(3);
        config.data.on_write_failure = OnWriteFailure::ReadOnly;
        config.mqtt.server_reference = Some("other.example.org".to_owned());
        let options = broker(&config);
        assert_eq!(options.session.keep_alive_max, Some(90));
        assert_eq!(options.session.session_expiry_max, u32::MAX);
        assert!(options.session.receive_maximum_strict);
        assert_eq!(options.on_write_failure, broker::OnWriteFailure::ReadOnly);
        assert_eq!(options.session.packet_size_max, 1_234);
        assert_eq!(options.clean_interval, Duration::from_secs(3));
        assert_eq!(options.server_reference.unwrap().as_str(), "other.example.org");
        config.limits.session_expiry_max = Some(Duration::from_mins(1));
        config.data.clean_rate = 0;
        assert_eq!(broker(&config).session.session_expiry_max, 60);
        assert_eq!(broker(&config).clean_interval, Duration::ZERO);
    }

    #[test]
    fn the_store_gets_what_the_configuration_says() {
        let mut config = Config::default();
        config.data.durability = Durability::Os;
        config.data.segment_size = 1 << 20;
        config.data.retention_bytes = Some(7);
        config.data.reserve = 5;
        config.data.clock_jump_max = Duration::from_secs(9);
        let options = store(&config, 42);
        assert_eq!(options.durability, store::Durability::Os);
        assert_eq!(options.log.segment_bytes, 1 << 20);
        assert_eq!((options.log.retention_bytes, options.log.new_log_id), (Some(7), 42));
        assert_eq!(options.log.reserve_bytes, 5);
        assert_eq!(options.clock_jump_max, Duration::from_secs(9));
    }
}
