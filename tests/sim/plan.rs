//! What one run is like: drawn from the seed, so that some runs are calm and others are a storm, and each in another way.

use std::time::Duration;

use tidelog::broker;
use tidelog::broker::GroupOptions;
use tidelog::broker::OnWriteFailure;
use tidelog::commitlog;
use tidelog::mqtt::ProtocolVersion;
use tidelog::mqtt::ShareName;
use tidelog::mqtt::Text;
use tidelog::mqtt::TopicFilter;
use tidelog::session::Commit;
use tidelog::session::Start;
use tidelog::session::Strategy;
use tidelog::store;

use crate::chance::Chance;
use crate::engine::Settings;
use crate::persona::Persona;

/// Microseconds in a millisecond, and in a second.
pub(crate) const MILLI: u64 = 1_000;
pub(crate) const SECOND: u64 = 1_000_000;

/// How far the wall clock may be ahead at a restart before it is not believed.
pub(crate) const CLOCK_JUMP_MAX: Duration = Duration::from_secs(5);

/// The longest commits of disks that are not slow.
const COMMITS: [u64; 4] = [MILLI, 20 * MILLI, 20 * MILLI, 500 * MILLI];

/// See the module's page. Times are in microseconds; those between events are on average.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) settings: Settings,
    pub(crate) personas: Vec<Persona>,
    /// How long the storm lasts.
    pub(crate) length: u64,
    /// Between two actions of a client.
    pub(crate) action: u64,
    /// The longest that a piece of bytes is on its way.
    pub(crate) network: u64,
    /// The longest that a commit, and other slow work, takes.
    pub(crate) commit: u64,
    pub(crate) work: u64,
    /// Between two crashes; 0 for none.
    pub(crate) crash: u64,
    /// Percent of a crash right after an acknowledgement was written.
    pub(crate) crash_at_ack: u64,
    /// Percent of the crashes that cut the power; the others only end the process.
    pub(crate) power_percent: u64,
    /// Between two failures of the disk; 0 for none.
    pub(crate) disk_fault: u64,
    /// Old segments are deleted: who is too far behind loses messages.
    pub(crate) retains: bool,
    /// Percent of the ends that are orderly.
    pub(crate) stop_percent: u64,
    /// The disk is full now and then.
    pub(crate) fills: bool,
    /// Reads fail now and then.
    pub(crate) read_faults: bool,
    /// The wall clock is wrong at a restart, now and then by years.
    pub(crate) clock_jumps: bool,
    /// Of a thousand actions, so many are this.
    pub(crate) cuts: u64,
    pub(crate) vanishes: u64,
    pub(crate) take_overs: u64,
    pub(crate) stalls: u64,
    pub(crate) disconnects: u64,
    pub(crate) garbage: u64,
}

/// Groups that are there from the start.
const KEYED: &str = "$share/keyed/$replay/earliest/g/#";
const MANUAL: &str = "$share/manual/$replay/earliest/g/#";

impl Plan {
    pub(crate) fn draw(chance: &mut Chance) -> Self {
        let padding = *chance.pick(&[0, 20, 300, 2_000]);
        let count = usize::try_from(chance.between(2, 7)).unwrap();
        let mut personas: Vec<Persona> =
            (0..count).map(|number| Persona::draw(number, padding, chance)).collect();
        for persona in personas.iter_mut().filter(|persona| persona.share.is_some()) {
            if chance.percent(40) {
                persona.share = Some(*chance.pick(&[KEYED, MANUAL]));
            }
        }
        personas.push(Persona::witness("keeper", ProtocolVersion::V5, &["#"], chance));
        personas.push(Persona::witness(
            "watcher",
            ProtocolVersion::V3_1_1,
            &["w/#", "a/#"],
            chance,
        ));
        personas.push(Persona::replayer("replayer", true, chance));
        personas.push(Persona::replayer("rewinder", false, chance));
        personas[0].publishes = true;
        if chance.percent(40) {
            personas.push(Persona::rival("rival", true, chance));
            personas.push(Persona::rival("contender", chance.percent(50), chance));
        }
        let often =
            |chance: &mut Chance| if chance.percent(50) { 0 } else { chance.between(1, 40) };
        let retains = chance.percent(15);
        let mut settings = settings(retains, chance);
        let clock_jumps = chance.percent(20);
        if clock_jumps {
            settings.store.clock_jump_max = CLOCK_JUMP_MAX;
            // Nothing is that old, whatever the clock says.
            settings.store.log.retention_age = Some(Duration::from_hours(1));
        }
        let slow = chance.percent(10);
        let commit = if slow { &[10 * SECOND, 30 * SECOND][..] } else { &COMMITS };
        Self {
            settings,
            clock_jumps,
            retains,
            stop_percent: *chance.pick(&[0, 0, 20]),
            personas,
            length: chance.between(5, 25) * SECOND,
            action: *chance.pick(&[20 * MILLI, 100 * MILLI, 400 * MILLI]),
            network: *chance.pick(&[MILLI, 20 * MILLI, 200 * MILLI]),
            commit: *chance.pick(commit),
            work: *chance.pick(&[MILLI, 50 * MILLI, 500 * MILLI]),
            crash: if chance.percent(35) { 0 } else { chance.between(1, 8) * SECOND },
            crash_at_ack: *chance.pick(&[0, 0, 0, 1, 3]),
            power_percent: *chance.pick(&[0, 80, 100]),
            disk_fault: if chance.percent(80) { 0 } else { chance.between(2, 10) * SECOND },
            fills: chance.percent(12),
            read_faults: chance.percent(15),
            cuts: often(chance),
            vanishes: often(chance),
            take_overs: often(chance),
            stalls: often(chance),
            disconnects: often(chance),
            garbage: often(chance) / 8,
        }
    }
}

fn group(name: &str, strategy: Strategy, commit: Commit) -> GroupOptions {
    GroupOptions {
        share: ShareName::try_from(name).unwrap(),
        filter: TopicFilter::try_from("g/#").unwrap(),
        start: Start::Earliest,
        from: Text::from_static("earliest"),
        strategy,
        commit,
    }
}

fn settings(retains: bool, chance: &mut Chance) -> Settings {
    let mut options = broker::Options {
        output_bytes_max: *chance.pick(&[1 << 10, 8 << 10, 256 << 10]),
        pending_bytes_max: *chance.pick(&[4 << 10, 64 << 20]),
        sys_interval: Duration::ZERO,
        retention_interval: Duration::from_secs(1),
        clean_interval: Duration::from_millis(*chance.pick(&[0, 0, 200, 1_000])),
        checkpoint_interval: Duration::from_millis(*chance.pick(&[200, 1_000, 5_000])),
        on_write_failure: *chance.pick(&[OnWriteFailure::Exit, OnWriteFailure::ReadOnly]),
        // What a session gives back at once is within what may wait for the disk.
        uncommitted_max: 300,
        groups: vec![
            group("keyed", Strategy::Key, Commit::Ack),
            group("manual", Strategy::LeastInflight, Commit::Manual),
        ],
        ..broker::Options::default()
    };
    options.session.in_flight_max = *chance.pick(&[1, 4, 100, 1_024]);
    options.session.receive_maximum = *chance.pick(&[20, 1_024]);
    let log = commitlog::Options {
        segment_bytes: *chance.pick(&[4 << 10, 16 << 10, 1 << 20]),
        tail_bytes_max: *chance.pick(&[0, 2 << 10, 64 << 20]),
        batch_bytes_max: *chance.pick(&[256, 4 << 10, 4 << 20]),
        index_cache_bytes_max: *chance.pick(&[1, 64 << 20]),
        preallocate: chance.percent(50),
        reserve_bytes: *chance.pick(&[0, 4 << 10, 16 << 10]),
        retention_bytes: retains.then(|| chance.between(8, 64) << 10),
        ..commitlog::Options::default()
    };
    let store = store::Options {
        log,
        checkpoint_interval: options.checkpoint_interval,
        clean_dead_percent: *chance.pick(&[0, 10]),
        clean_growth_percent: *chance.pick(&[0, 50]),
        clean_names_max: *chance.pick(&[10, 1_000_000]),
        ..store::Options::default()
    };
    Settings { broker: options, store, passwords: None, acl: None }
}
