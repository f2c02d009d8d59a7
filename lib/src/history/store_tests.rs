//! Tests of `store`: every state in which a file can be found.

use super::*;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn a_new_store_hides_its_folder_from_git() {
    let root = folder();
    let path = root.path().join("p/.rpt/history.db");
    assert!(matches!(Store::open_to_read(&path), Err(HistoryError::Missing { .. })));
    drop(Store::open(&path).unwrap());
    assert_eq!(std::fs::read_to_string(root.path().join("p/.rpt/.gitignore")).unwrap(), "*\n");
    Store::open_to_read(&path).unwrap();
    drop(Store::open(&root.path().join("elsewhere.db")).unwrap());
    assert!(!root.path().join(".gitignore").exists());
}

#[test]
fn a_newer_and_a_foreign_file_are_refused_and_left_alone() {
    let root = folder();
    let newer = root.path().join("newer.db");
    Store::open(&newer).unwrap().connection.pragma_update(None, "user_version", schema::VERSION + 1).unwrap();
    let foreign = root.path().join("foreign.db");
    Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    for (path, text) in [(&newer, "use a newer rpt"), (&foreign, "another program")] {
        for error in
            [Store::open(path).err(), Store::open_to_read(path).err(), Store::open_or_set_aside(path, None).err()]
        {
            assert!(error.unwrap().to_string().contains(text), "{text}");
        }
        assert!(path.exists());
    }
}

#[test]
fn a_damaged_file_is_set_aside() {
    let root = folder();
    let path = root.path().join("history.db");
    for _ in 0..2 {
        std::fs::write(&path, "not a database".repeat(100)).unwrap();
        assert!(matches!(Store::open_to_read(&path), Err(HistoryError::Sql { reason, .. }) if is_damage(&reason)));
        let (store, warning) = Store::open_or_set_aside(&path, None).unwrap();
        assert!(warning.unwrap().contains("set aside as"));
        assert_eq!(schema::content(&store.connection).unwrap(), Content::Store(schema::VERSION));
    }
    let aside = std::fs::read_dir(root.path())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_str().unwrap().contains("history.db.damaged-"))
        .count();
    assert_eq!(aside, 2);
}

#[test]
fn a_journal_goes_with_its_file() {
    let root = folder();
    let path = root.path().join("history.db");
    for suffix in ["", "-wal", "-shm"] {
        std::fs::write(root.path().join(format!("history.db{suffix}")), suffix).unwrap();
    }
    let aside = set_aside(&path).unwrap();
    assert!(!root.path().join("history.db-wal").exists());
    assert_eq!(std::fs::read_to_string(format!("{}-wal", aside.display())).unwrap(), "-wal");
}

#[test]
fn damage_found_later_is_set_aside_only_while_the_file_is_the_same() {
    let root = folder();
    let path = root.path().join("history.db");
    let damaged = Store::open(&path).unwrap().identity();
    assert!(damaged.is_some());
    let (store, warning) = Store::open_or_set_aside(&path, damaged).unwrap();
    assert!(warning.is_some());
    let (again, warning) = Store::open_or_set_aside(&path, damaged).unwrap();
    assert_eq!((again.identity(), warning), (store.identity(), None));
}

#[test]
fn a_folder_in_the_way_and_a_file_as_folder() {
    let root = folder();
    let path = root.path().join("history.db");
    std::fs::create_dir(&path).unwrap();
    std::fs::write(root.path().join("file"), "").unwrap();
    for path in [path, root.path().join("file/history.db")] {
        assert!(matches!(Store::open_or_set_aside(&path, None), Err(HistoryError::Io { .. })));
    }
}

#[test]
fn a_store_on_a_medium_without_its_journal_is_readable() {
    let root = folder();
    let path = root.path().join("a #?%20.db");
    drop(Store::open(&path).unwrap());
    let (store, content) = Store::read_only(&path, true).unwrap();
    assert_eq!(content, Content::Store(schema::VERSION));
    assert!(store.connection.execute("DELETE FROM run", []).is_err());
}
