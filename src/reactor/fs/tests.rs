//! The operations on a real folder.

use std::time::Duration;

use super::*;

fn disk() -> (tempfile::TempDir, Disk) {
    let dir = crate::folder_on_a_real_disk();
    let direct = crate::probe::takes_direct_io(dir.path()).is_ok();
    let disk = Disk::new(dir.path(), direct);
    (dir, disk)
}

fn path(name: &str) -> String {
    name.to_string()
}

fn aligned(byte: u8, blocks: usize) -> Bytes {
    let mut buffer = AlignedBuf::with_capacity(blocks * BLOCK_BYTES);
    buffer.extend_from_slice(&vec![byte; blocks * BLOCK_BYTES]);
    buffer.freeze()
}

#[test]
fn direct_writes_read_back_at_any_offset_and_stop_at_the_end() {
    let (_dir, disk) = disk();
    let write = FileOp::Write { path: path("a/b/x"), at: 4096, bytes: aligned(7, 3), direct: true, durable: true };
    assert_eq!(disk.execute(&write), Ok(FileOk::Done));
    for direct in [true, false] {
        let read = |at, len| disk.execute(&FileOp::Read { path: path("a/b/x"), at, len, direct });
        let mut expected = vec![0; 100];
        expected.extend_from_slice(&[7; 50]);
        assert_eq!(read(3996, 150), Ok(FileOk::Data(Bytes::from(expected))));
        assert_eq!(read(16380, 1 << 30), Ok(FileOk::Data(Bytes::from(vec![7; 4]))));
        assert_eq!(read(1 << 40, 10), Ok(FileOk::Data(Bytes::new())));
    }
}

/// Reads of 1 MiB from anywhere in a file, as consumers want them, each got fresh memory, which the kernel had to clear.
#[test]
fn bug_ours_reads_of_a_consumers_default_size_use_memory_again() {
    let (_dir, disk) = disk();
    let write = FileOp::Write { path: path("x"), at: 0, bytes: aligned(7, 600), direct: true, durable: false };
    assert_eq!(disk.execute(&write), Ok(FileOk::Done));
    let mut places = std::collections::BTreeSet::new();
    for at in 0..10 {
        let read = FileOp::Read { path: path("x"), at: 5000 * at, len: 1 << 20, direct: true };
        let Ok(FileOk::Data(bytes)) = disk.execute(&read) else { panic!("it was written") };
        assert_eq!(bytes.len(), 1 << 20);
        places.insert(bytes.as_ptr() as usize / (4 * BLOCK_BYTES));
    }
    assert!(!disk.is_direct() || places.len() <= 2, "{places:?}");
}

#[test]
fn reads_beside_commits_go_in_pieces_that_make_a_whole_and_end_with_the_file() {
    let (_dir, disk) = disk();
    let since = Instant::now();
    let commits = Arc::new(Commits::new(since));
    let disk = disk.giving_way_to(Arc::clone(&commits));
    let go_on = |ms: u64| commits.go_on(since + Duration::from_millis(ms));
    assert!(!go_on(0));
    commits.note(0);
    assert!(go_on(0) && go_on(COMMITS_GO_ON_MS) && !go_on(COMMITS_GO_ON_MS + 2));
    commits.note(COMMITS_GO_ON_MS * 1000);
    assert!(go_on(2 * COMMITS_GO_ON_MS) && !go_on(2 * COMMITS_GO_ON_MS + 2));
    for block in 0..200 {
        let at = block * BLOCK_BYTES as u64;
        let write = FileOp::Write { path: path("x"), at, bytes: aligned(block as u8, 1), direct: true, durable: false };
        assert_eq!(disk.execute(&write), Ok(FileOk::Done));
    }
    let end = 200 * BLOCK_BYTES - 77;
    assert_eq!(disk.execute(&FileOp::Truncate { path: path("x"), len: end as u64 }), Ok(FileOk::Done));
    let expected: Vec<u8> = (0..end).map(|at| (at / BLOCK_BYTES) as u8).collect();
    for (at, len) in [(0, 1 << 20), (5, READ_PIECE_BYTES), (1, 3 * READ_PIECE_BYTES), (READ_PIECE_BYTES - 1, 2)] {
        let read = FileOp::Read { path: path("x"), at: at as u64, len: len as u32, direct: true };
        commits.note(since.elapsed().as_micros() as u64);
        let Ok(FileOk::Data(bytes)) = disk.execute(&read) else { panic!("it was written") };
        assert!(bytes == expected[at..(at + len).min(end)], "{len} bytes from {at}");
    }
}

#[test]
fn allocation_with_zeros_only_ever_grows_and_truncation_cuts() {
    let (_dir, disk) = disk();
    let len = |disk: &Disk| disk.execute(&FileOp::Len { path: path("j") });
    let allocate = |len, zeros| disk.execute(&FileOp::Allocate { path: path("j"), len, zeros });
    assert_eq!(allocate(3 << 20, true), Ok(FileOk::Done));
    assert_eq!(len(&disk), Ok(FileOk::Len(3 << 20)));
    let write = FileOp::Write { path: path("j"), at: 0, bytes: aligned(1, 1), direct: true, durable: false };
    assert_eq!(disk.execute(&write), Ok(FileOk::Done));
    assert_eq!(allocate(1 << 20, true), Ok(FileOk::Done));
    assert_eq!(allocate(4 << 20, false), Ok(FileOk::Done));
    assert_eq!(len(&disk), Ok(FileOk::Len(4 << 20)));
    let read = disk.execute(&FileOp::Read { path: path("j"), at: 4095, len: 2, direct: false });
    assert_eq!(read, Ok(FileOk::Data(Bytes::from_static(&[1, 0]))));
    assert_eq!(disk.execute(&FileOp::Truncate { path: path("j"), len: 5 }), Ok(FileOk::Done));
    assert_eq!(len(&disk), Ok(FileOk::Len(5)));
}

#[test]
fn a_recreated_folder_is_not_served_from_old_descriptors() {
    let (_dir, disk) = disk();
    let write = |byte| FileOp::Write {
        path: path("t-0/log"),
        at: 0,
        bytes: Bytes::from(vec![byte; 4]),
        direct: false,
        durable: false,
    };
    let read = FileOp::Read { path: path("t-0/log"), at: 0, len: 4, direct: false };
    assert!(disk.execute(&write(1)).is_ok());
    assert!(disk.execute(&FileOp::RenameDir { from: path("t-0"), to: path("t-0.gone") }).is_ok());
    assert!(disk.execute(&write(2)).is_ok());
    assert_eq!(disk.execute(&read), Ok(FileOk::Data(Bytes::from_static(&[2; 4]))));
    assert!(disk.execute(&FileOp::RemoveDir { path: path("t-0.gone") }).is_ok());
    assert!(disk.execute(&FileOp::RemoveDir { path: path("t-0.gone") }).is_ok());
    assert_eq!(disk.execute(&FileOp::List { path: path("") }), Ok(FileOk::Names(vec![path("t-0")])));
    assert!(is_under("t-0/log", "t-0") && is_under("t-0", "t-0") && !is_under("t-01/log", "t-0"));
}

#[test]
fn a_folder_that_another_disk_recreated_is_not_served_from_old_descriptors() {
    let (dir, mine) = disk();
    let other = Disk::new(dir.path(), false);
    let write = |byte| FileOp::Write {
        path: path("t-0/owner"),
        at: 0,
        bytes: Bytes::from(vec![byte; 8]),
        direct: false,
        durable: false,
    };
    let read = FileOp::Read { path: path("t-0/owner"), at: 0, len: 8, direct: false };
    for byte in [1, 2, 3] {
        assert_eq!(other.execute(&write(byte)), Ok(FileOk::Done));
        assert_eq!(mine.execute(&read), Ok(FileOk::Data(Bytes::from(vec![byte; 8]))));
        let away = FileOp::RenameDir { from: path("t-0"), to: path("t-0-delete") };
        assert_eq!(other.execute(&away), Ok(FileOk::Done));
        assert_eq!(other.execute(&FileOp::RemoveDir { path: path("t-0-delete") }), Ok(FileOk::Done));
        assert!(mine.execute(&read).is_err_and(|error| error.errno == libc::ENOENT));
    }
}

#[test]
fn execution_stops_at_the_first_failure_and_names_it() {
    let (_dir, disk) = disk();
    let ops = [
        FileOp::MakeDir { path: path("d") },
        FileOp::Sync { path: path("absent") },
        FileOp::MakeDir { path: path("never") },
    ];
    let results = disk.execute_all(&ops);
    assert_eq!(results.len(), 2);
    let error = results[1].clone().expect_err("the file is absent");
    assert_eq!((error.op, error.errno), ("fdatasync", libc::ENOENT));
    assert!(disk.execute(&FileOp::SyncDir { path: path("") }).is_ok());
    assert_eq!(disk.execute(&FileOp::List { path: path("") }), Ok(FileOk::Names(vec![path("d")])));
}

#[test]
fn a_failure_of_the_folder_itself_names_it() {
    let (dir, disk) = disk();
    dir.close().expect("it is empty");
    let error = disk.execute(&FileOp::SyncDir { path: path("") }).expect_err("it is gone").to_string();
    assert!(error.starts_with("fsync of the data directory failed: No such file"), "{error}");
}

#[test]
fn open_descriptors_stay_below_their_limit() {
    let (_dir, disk) = disk();
    for n in 0..OPEN_FILES_MAX + 10 {
        let bytes = Bytes::from_static(b"x");
        let write = FileOp::Write { path: format!("f{n}"), at: 0, bytes, direct: false, durable: false };
        assert!(disk.execute(&write).is_ok());
    }
    assert_eq!(disk.open.lock().expect("not poisoned").by_path.len(), OPEN_FILES_MAX);
}

#[test]
fn the_volume_says_its_size_and_room() {
    let dir = tempfile::tempdir().expect("a folder");
    let disk = Disk::new(dir.path(), false);
    let Ok(FileOk::Volume { total_bytes, free_bytes }) = disk.execute(&FileOp::Volume) else { panic!("no answer") };
    assert!(total_bytes > 0 && free_bytes <= total_bytes, "{free_bytes} of {total_bytes}");
    let gone = Disk::new(&dir.path().join("gone"), false);
    assert_eq!(gone.execute(&FileOp::Volume).expect_err("no such folder").errno, libc::ENOENT);
}
