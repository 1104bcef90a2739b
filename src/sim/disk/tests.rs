//! Tests of the virtual disk: what must survive, and that what need not survive really can be lost.

use super::*;
use coretide_log::io::FileId;

fn root(name: &'static str) -> FileId {
    FileId::Root { name }
}

fn write(file: &FileId, at: u64, bytes: &[u8], durability: Durability) -> Op {
    Op::Write { file: file.clone(), at, bytes: Bytes::copy_from_slice(bytes), direct: false, durability }
}

fn allocated(disk: &mut SimDisk, file: &FileId, len: u64) {
    disk.execute(&Op::Allocate { file: file.clone(), len, zeros: true }).expect("room");
    disk.execute(&Op::Sync { file: file.clone() }).expect("healthy");
    disk.execute(&Op::SyncDir { dir: Arc::from("") }).expect("healthy");
}

fn content(disk: &mut SimDisk, file: &FileId) -> Option<Vec<u8>> {
    match disk.execute(&Op::Read { file: file.clone(), at: 0, len: 1 << 20, direct: false }) {
        Ok(OpOk::Data(bytes)) => Some(bytes.to_vec()),
        Err(error) if error.is_not_found() => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn synced_data_survives_and_unsynced_sectors_come_and_go() {
    let (mut lost, mut kept, mut torn) = (0, 0, 0);
    for seed in 0..200 {
        let mut disk = SimDisk::new(Prng::new(seed));
        let file = root("f");
        allocated(&mut disk, &file, 4096);
        disk.execute(&write(&file, 0, &[1; 1024], Durability::Durable)).expect("healthy");
        disk.execute(&write(&file, 1024, &[2; 1024], Durability::Written)).expect("healthy");
        disk.power_cut(&[], CutMode::Torn);
        let found = content(&mut disk, &file).expect("synced");
        assert_eq!(found.len(), 4096);
        assert!(found[..1024].iter().all(|&byte| byte == 1));
        match (found[1024], found[1536]) {
            (0, 0) => lost += 1,
            (2, 2) => kept += 1,
            _ => torn += 1,
        }
    }
    assert!(lost > 20 && kept > 20 && torn > 20, "{lost} {kept} {torn}");
}

#[test]
fn an_entry_needs_its_folder_synced_and_a_length_its_file() {
    let mut disk = SimDisk::new(Prng::new(1));
    let file = FileId::Partition { dir: Arc::from("t-0"), name: "x" };
    disk.execute(&Op::Allocate { file: file.clone(), len: 10, zeros: false }).expect("room");
    disk.execute(&Op::Sync { file: file.clone() }).expect("healthy");
    disk.execute(&Op::SyncDir { dir: Arc::from("t-0") }).expect("healthy");
    disk.power_cut(&[], CutMode::LoseAll);
    assert_eq!(content(&mut disk, &file), None, "nobody synced the folder's own entry");
    disk.execute(&Op::Allocate { file: file.clone(), len: 10, zeros: false }).expect("room");
    disk.execute(&Op::SyncDir { dir: Arc::from("t-0") }).expect("healthy");
    disk.execute(&Op::SyncDir { dir: Arc::from("") }).expect("healthy");
    disk.power_cut(&[], CutMode::LoseAll);
    assert_eq!(content(&mut disk, &file), Some(vec![]), "the entry is there, its length is not");
}

#[test]
fn a_durable_write_pins_the_length_it_needs_and_a_kill_keeps_what_was_done() {
    let mut disk = SimDisk::new(Prng::new(1));
    let file = root("f");
    allocated(&mut disk, &file, 0);
    disk.execute(&write(&file, 0, &[1; 600], Durability::Written)).expect("healthy");
    disk.kill(&[]);
    assert_eq!(content(&mut disk, &file), Some(vec![1; 600]));
    disk.execute(&write(&file, 1024, &[2; 10], Durability::Durable)).expect("healthy");
    disk.power_cut(&[], CutMode::LoseAll);
    let mut expected = vec![0; 1024];
    expected.extend([2; 10]);
    assert_eq!(content(&mut disk, &file), Some(expected));
}

#[test]
fn renames_are_atomic_and_pinned_by_the_parent() {
    for (mode, name) in [(CutMode::LoseAll, "a"), (CutMode::KeepAll, "b")] {
        let mut disk = SimDisk::new(Prng::new(1));
        disk.execute(&Op::MakeDir { dir: Arc::from("a") }).expect("room");
        disk.execute(&Op::SyncDir { dir: Arc::from("") }).expect("healthy");
        disk.execute(&Op::RenameDir { from: Arc::from("a"), to: Arc::from("b") }).expect("there");
        disk.power_cut(&[], mode);
        let names = disk.execute(&Op::List { dir: Arc::from("") });
        assert_eq!(names, Ok(OpOk::Names(vec![name.to_string()])));
    }
}

#[test]
fn a_failed_sync_never_gets_its_data_to_stable_storage() {
    let mut disk = SimDisk::new(Prng::new(1));
    let file = root("f");
    allocated(&mut disk, &file, 1024);
    disk.execute(&write(&file, 0, &[1; 512], Durability::Written)).expect("healthy");
    disk.set_faults(DiskFaults { sync_error_one_in: 1, ..DiskFaults::default() });
    assert_eq!(disk.execute(&Op::Sync { file: file.clone() }).map_err(|error| error.errno), Err(5));
    disk.set_faults(DiskFaults::default());
    disk.execute(&Op::Sync { file: file.clone() }).expect("a second sync succeeds, as on Linux");
    disk.power_cut(&[], CutMode::KeepAll);
    assert_eq!(content(&mut disk, &file).expect("there")[..512], [0; 512]);
    assert_eq!((disk.sins().sync_errors, disk.sins().dropped_sectors), (1, 1));
}

#[test]
fn misaligned_direct_writes_and_a_full_disk_are_refused() {
    let mut disk = SimDisk::new(Prng::new(1));
    let file = root("f");
    allocated(&mut disk, &file, 8192);
    let op = Op::Write {
        file: file.clone(),
        at: 0,
        bytes: Bytes::from(vec![0; 100]),
        direct: true,
        durability: Durability::Written,
    };
    assert_eq!(disk.execute(&op).map_err(|error| error.errno), Err(22));
    disk.set_free_bytes(100);
    let grow = Op::Allocate { file, len: 8192 + 101, zeros: false };
    assert!(disk.execute(&grow).is_err_and(|error| error.is_no_space()));
}

#[test]
fn truncated_bytes_read_as_zeros_when_the_file_grows_again() {
    let mut disk = SimDisk::new(Prng::new(1));
    let file = root("f");
    allocated(&mut disk, &file, 0);
    disk.execute(&write(&file, 0, &[7; 2000], Durability::Durable)).expect("healthy");
    disk.execute(&Op::Truncate { file: file.clone(), len: 600 }).expect("there");
    disk.execute(&Op::Truncate { file: file.clone(), len: 1500 }).expect("there");
    disk.execute(&Op::Sync { file: file.clone() }).expect("healthy");
    disk.power_cut(&[], CutMode::Torn);
    let found = content(&mut disk, &file).expect("there");
    assert_eq!((found.len(), &found[..600], &found[600..]), (1500, &[7; 600][..], &[0; 900][..]));
}

#[test]
fn a_full_disk_has_room_again_after_a_removal_and_after_a_cut() {
    let mut disk = SimDisk::new(Prng::new(1));
    let (old, new) = (root("old"), root("new"));
    allocated(&mut disk, &old, 4096);
    disk.set_free_bytes(0);
    let grow = Op::Allocate { file: new.clone(), len: 4096, zeros: false };
    assert!(disk.execute(&grow).is_err_and(|error| error.is_no_space()));
    disk.execute(&Op::Remove { file: old }).expect("there");
    disk.execute(&grow).expect("room for as much as was removed");
    disk.power_cut(&[], CutMode::LoseAll);
    assert!(disk.execute(&grow).is_err_and(|error| error.is_no_space()), "the removal was lost");
    assert_eq!(disk.sins().refusals, 2);
    disk.free();
    disk.execute(&grow).expect("room");
}

#[test]
fn a_lie_costs_what_was_said_to_be_durable_and_is_on_the_account() {
    let mut disk = SimDisk::new(Prng::new(1));
    let file = root("f");
    allocated(&mut disk, &file, 4096);
    disk.set_faults(DiskFaults { lie_one_in: 1, ..DiskFaults::default() });
    disk.execute(&write(&file, 0, &[1; 512], Durability::Durable)).expect("or so it says");
    disk.execute(&write(&file, 512, &[1; 512], Durability::Written)).expect("healthy");
    assert!(!disk.has_faults(), "nobody can see it");
    disk.power_cut(&[], CutMode::LoseAll);
    assert_eq!(content(&mut disk, &file).expect("there"), [0; 4096]);
    assert_eq!((disk.sins().lies, disk.sins().lost_by_lies, disk.sins().lost_sectors), (1, 1, 2));
    disk.execute(&write(&file, 0, &[1; 512], Durability::Durable)).expect("or so it says");
    disk.set_faults(DiskFaults::default());
    disk.execute(&Op::Sync { file: file.clone() }).expect("honest");
    disk.power_cut(&[], CutMode::LoseAll);
    assert_eq!(disk.sins().lost_by_lies, 1, "the honest sync made up for it");
    assert_eq!(content(&mut disk, &file).expect("there")[..512], [1; 512]);
}

#[test]
fn rot_flips_one_bit_for_good() {
    let mut disk = SimDisk::new(Prng::new(1));
    let file = root("f");
    assert_eq!(disk.rot(), None, "an empty disk has nothing to rot");
    allocated(&mut disk, &file, 0);
    disk.execute(&write(&file, 0, &[7; 2048], Durability::Durable)).expect("healthy");
    assert!(disk.rot().is_some_and(|place| place.starts_with("f at ")));
    disk.power_cut(&[], CutMode::LoseAll);
    let flipped: u32 = content(&mut disk, &file).expect("there").iter().map(|byte| (byte ^ 7).count_ones()).sum();
    assert_eq!(flipped, 1);
}
