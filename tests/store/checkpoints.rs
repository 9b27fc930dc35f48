//! A checkpoint is the state at one offset, whole or not there, and is thrown away when it does not fit the log.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use tidelog::commitlog::Offset;
use tidelog::commitlog::disk::MemoryDisk;
use tidelog::mqtt::PacketId;
use tidelog::store::Change;
use tidelog::store::CheckpointUse;
use tidelog::store::GroupKey;
use tidelog::store::GroupRow;
use tidelog::store::MemoryStateStore;
use tidelog::store::NewMessage;
use tidelog::store::RebuildReason;
use tidelog::store::Row;
use tidelog::store::SledStateStore;
use tidelog::store::StateError;
use tidelog::store::StateOpened;
use tidelog::store::StateStore;
use tidelog::store::Store;

use crate::world::Durable;
use crate::world::PLAIN;
use crate::world::World;
use crate::world::assigned;
use crate::world::client;
use crate::world::session;
use crate::world::text;

fn put(world: &mut World, row: Row) {
    let now = world.now;
    world.store().put(now, row);
}

/// A world with a session, a retained message and a checkpoint.
fn world() -> World {
    let mut world = World::new();
    put(&mut world, Row::Session(client("c"), Some(session(9))));
    world.publish("t", NewMessage { retain: true, ..PLAIN });
    world.commit();
    assert!(world.checkpoint());
    world
}

fn rebuilt(world: &mut World) -> RebuildReason {
    match world.recovery().checkpoint.clone() {
        CheckpointUse::Rebuilt(reason) => reason,
        CheckpointUse::Used { offset } => panic!("the checkpoint at {offset} was used"),
    }
}

#[test]
fn only_what_is_behind_a_checkpoint_is_read_from_the_log() {
    let mut world = world();
    let end = world.store().next_offset();
    world.publish("u", NewMessage { retain: true, ..PLAIN });
    let expected = world.durable();
    world.reopen();
    assert!(matches!(world.recovery().checkpoint, CheckpointUse::Used { offset } if offset == end));
    assert_eq!((world.recovery().records_replayed, world.recovery().records_unreadable), (1, 0));
    assert_eq!((world.recovery().sessions, world.recovery().retained), (1, 2));
    assert_eq!(world.durable(), expected);
}

#[test]
fn a_checkpoint_waits_until_its_rows_are_durable() {
    let mut world = world();
    put(&mut world, Row::Session(client("d"), Some(session(9))));
    assert!(!world.checkpoint());
    world.commit();
    assert!(world.checkpoint());
}

#[test]
fn nothing_new_is_no_checkpoint_once_there_are_two_generations() {
    let mut world = world();
    assert!(world.checkpoint());
    assert!(!world.checkpoint());
    world.publish("t", PLAIN);
    world.commit();
    assert!(world.checkpoint());
}

#[test]
fn a_checkpoint_ahead_of_the_log_is_thrown_away() {
    let mut world = world();
    let checkpoint = world.store().next_offset();
    world.close();
    world.disk = MemoryDisk::new();
    world.open();
    let reason = rebuilt(&mut world);
    assert!(
        matches!(reason, RebuildReason::AheadOfLog { checkpoint: found, .. } if found == checkpoint)
    );
    assert_eq!(world.durable(), Durable::default());
    world.reopen();
    assert_eq!(world.durable(), Durable::default());
}

#[test]
fn a_checkpoint_of_another_log_is_thrown_away() {
    let mut first = world();
    let mut second = World::new();
    for _ in 0..5 {
        second.publish("t", PLAIN);
    }
    let expected = second.durable();
    first.close();
    second.states = first.states.clone();
    second.reopen();
    assert!(matches!(rebuilt(&mut second), RebuildReason::OtherLog));
    assert_eq!(second.durable(), expected);
    second.reopen();
    assert!(second.used_checkpoint());
}

#[test]
fn a_checkpoint_of_another_schema_is_thrown_away() {
    let mut world = world();
    let expected = world.durable();
    let key = vec![0, b'c'];
    let mut value = world.states.get(&key).unwrap().expect("the checkpoint's entry");
    value[0] = 99;
    world.states.apply(&[(key, Some(value))]).unwrap();
    world.reopen();
    assert!(matches!(rebuilt(&mut world), RebuildReason::OtherSchema { found: 99 }));
    assert_eq!(world.durable(), expected);
}

#[test]
fn rows_that_cannot_be_read_make_a_checkpoint_useless() {
    let mut world = world();
    let expected = world.durable();
    world.states.apply(&[(vec![1, 2, 0, b'x', 0, 0, 0, 0], Some(vec![0, 77]))]).unwrap();
    world.reopen();
    assert!(matches!(rebuilt(&mut world), RebuildReason::Unreadable { rows: 1 }));
    assert_eq!(world.durable(), expected);
    world.reopen();
    assert!(world.used_checkpoint());
}

#[test]
fn a_damaged_state_store_is_reported_and_rebuilt() {
    let mut world = world();
    let expected = world.durable();
    world.states.damage();
    world.reopen();
    assert!(matches!(rebuilt(&mut world), RebuildReason::Damaged { .. }));
    assert!(world.recovery().moved_aside.is_some());
    assert_eq!(world.durable(), expected);
}

#[test]
fn a_failed_checkpoint_is_made_up_for_by_the_next() {
    let mut world = world();
    put(&mut world, Row::Session(client("d"), Some(session(9))));
    world.commit();
    world.states.set_failing(true);
    assert!(!world.checkpoint());
    assert!(world.store().checkpoint_error().is_some());
    world.states.set_failing(false);
    put(&mut world, Row::Inbound(client("d"), PacketId::MIN, Some(Offset::new(1))));
    world.commit();
    assert!(world.checkpoint());
    assert!(world.store().checkpoint_error().is_none());
    let expected = world.durable();
    world.reopen();
    assert_eq!(world.recovery().records_replayed, 0);
    assert_eq!(world.durable(), expected);
}

#[test]
fn long_names_and_long_rows_come_back_and_shrink() {
    let mut world = World::new();
    let long = client(&"n".repeat(60_000));
    put(&mut world, Row::Session(long.clone(), Some(session(9))));
    let group = GroupKey { share: text("g"), filter: text(&"f".repeat(50_000)) };
    for count in [20_000, 3_000, 6_000, 1, 9_000, 0] {
        let returned = (0..count).map(|n| Offset::new(n * 1_000_000)).collect();
        put(
            &mut world,
            Row::Group(
                group.clone(),
                Some(GroupRow { position: Offset::MAX, returned, ..GroupRow::default() }),
            ),
        );
        world.commit();
        assert!(world.checkpoint());
        let expected = world.durable();
        world.reopen();
        assert!(world.used_checkpoint());
        assert_eq!(world.recovery().records_replayed, 0);
        assert_eq!(world.durable(), expected);
    }
    put(&mut world, Row::Group(group, None));
    put(&mut world, Row::Session(long, None));
    world.commit();
    world.checkpoint();
    assert_eq!(world.states.len(), 1);
}

/// Fails its n-th change or sync and all later ones, as a power cut does.
struct Cut {
    inner: MemoryStateStore,
    left: usize,
    /// How many entries were written or deleted.
    changed: Arc<AtomicUsize>,
}

impl Cut {
    fn spend(&mut self) -> Result<(), StateError> {
        self.left = self.left.checked_sub(1).ok_or(StateError::NotOpen)?;
        Ok(())
    }
}

impl StateStore for Cut {
    fn open(&mut self) -> Result<StateOpened, StateError> {
        self.inner.open()
    }

    fn scan(&mut self, visit: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), StateError> {
        self.inner.scan(visit)
    }

    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        self.inner.get(key)
    }

    fn apply(&mut self, changes: &[Change]) -> Result<(), StateError> {
        self.spend()?;
        self.changed.fetch_add(changes.len(), Ordering::Relaxed);
        self.inner.apply(changes)
    }

    fn sync(&mut self) -> Result<(), StateError> {
        self.spend()?;
        self.inner.sync()
    }

    fn wipe(&mut self) -> Result<(), StateError> {
        self.spend()?;
        self.inner.wipe()
    }
}

fn shared() -> GroupKey {
    GroupKey { share: text("g"), filter: text("t") }
}

/// Opens the world's files with a state store that is cut after some operations, changes hundreds of rows and lets a checkpoint run into
/// the cut. Returns whether the checkpoint came through, what has to be found afterwards, and how many entries were changed.
fn checkpoint_into_cut(world: &World, left: usize) -> (bool, Durable, usize) {
    let changed = Arc::new(AtomicUsize::new(0));
    let cut = Cut { inner: world.states.clone(), left, changed: Arc::clone(&changed) };
    let cut = Box::new(cut);
    let disk = Arc::new(world.disk.clone());
    let opened = Store::open(disk, cut, world.options.clone(), world.now, &mut |_| {}).unwrap();
    let tidelog::store::Opened { mut store, mut writer, mut checkpointer, .. } = opened;
    // What the end of a member gives back to its group is found by reading the log again only if the rows of both
    // are of one time.
    store.put(world.now, Row::Group(shared(), Some(GroupRow::default())));
    store.put(world.now, Row::Session(client("member"), None));
    for number in 0..320 {
        let name = client(&format!("c{number}"));
        let row = if number % 3 == 0 { None } else { Some(session(77)) };
        store.put(world.now, Row::Session(name, row));
    }
    while let Some(batch) = store.take_batch() {
        let committed = writer.commit(&batch, store.options().durability.commit()).unwrap();
        store.committed(&committed);
    }
    let checkpoint = store.take_checkpoint().expect("hundreds of rows changed");
    changed.store(0, Ordering::Relaxed);
    let outcome = checkpointer.run(&checkpoint);
    (outcome.is_ok(), Durable::of(store.state()), changed.load(Ordering::Relaxed))
}

#[test]
fn a_checkpoint_of_many_rows_is_whole_or_absent_wherever_it_is_cut() {
    check_every_cut();
}

/// A checkpoint that says too early that it is whole is seen.
#[cfg(feature = "mutants")]
#[test]
fn a_checkpoint_that_is_not_whole_is_seen() {
    use tidelog::mutant::Mutant;
    use tidelog::mutant::activate;
    activate(Some(Mutant::CheckpointStampFirst));
    let caught = std::panic::catch_unwind(check_every_cut).is_err();
    activate(None);
    assert!(caught, "the bug is not seen");
}

/// A checkpoint of hundreds of rows.
fn many_rows() -> World {
    let mut world = World::new();
    for number in 0..400 {
        put(&mut world, Row::Session(client(&format!("c{number}")), Some(session(5))));
    }
    put(&mut world, Row::Session(client("member"), Some(session(5))));
    put(&mut world, Row::Group(shared(), Some(GroupRow::default())));
    put(
        &mut world,
        Row::Assigned(client("member"), 0, Some(assigned(Offset::new(1), Some(shared())))),
    );
    world.commit();
    assert!(world.checkpoint());
    world
}

/// To stop would take three times as long otherwise.
#[test]
fn a_checkpoint_of_many_rows_writes_each_of_them_about_once() {
    let mut world = many_rows();
    world.close();
    let (done, _, changed) = checkpoint_into_cut(&world, usize::MAX);
    assert!(done && (400..480).contains(&changed), "{changed} entries for 430 rows");
}

fn check_every_cut() {
    let mut came_through = 0;
    for left in 0..40 {
        for kept in [0, 1, 2, 100] {
            let mut world = many_rows();
            world.close();
            let (done, expected, _) = checkpoint_into_cut(&world, left);
            came_through += u32::from(done);
            world.close();
            world.states.crash(kept);
            world.open();
            assert!(world.used_checkpoint(), "cut after {left}, {kept} kept");
            assert_eq!(world.durable(), expected, "cut after {left}, {kept} kept");
            // What the cut left behind does no harm to the next checkpoint either.
            put(&mut world, Row::Session(client("c1"), None));
            world.commit();
            world.checkpoint();
            let expected = world.durable();
            world.reopen();
            assert_eq!((world.durable(), world.recovery().records_replayed), (expected, 0));
        }
    }
    assert!((1..140).contains(&came_through), "{came_through}");
}

#[test]
fn sled_serves_as_the_state_store_and_can_be_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::new();
    let disk = MemoryDisk::new();
    let open = |path: &str| {
        let states = Box::new(SledStateStore::new(directory.path().join(path)));
        Store::open(Arc::new(disk.clone()), states, world.options.clone(), world.now, &mut |_| {})
            .unwrap()
    };
    let mut opened = open("state");
    for number in 0..500 {
        opened.store.put(world.now, Row::Session(client(&format!("c{number}")), Some(session(5))));
    }
    while let Some(batch) = opened.store.take_batch() {
        let committed =
            opened.writer.commit(&batch, tidelog::commitlog::Durability::Fsync).unwrap();
        opened.store.committed(&committed);
    }
    let checkpoint = opened.store.take_checkpoint().unwrap();
    let done = opened.checkpointer.run(&checkpoint);
    opened.store.checkpointed(done);
    let expected = Durable::of(opened.store.state());
    drop(opened);
    for (path, used) in [("state", true), ("state elsewhere", false), ("state elsewhere", true)] {
        let opened = open(path);
        assert_eq!(matches!(opened.recovery.checkpoint, CheckpointUse::Used { .. }), used);
        assert_eq!(Durable::of(opened.store.state()), expected);
    }
}
