//! Tests of a store in a file: every state in which a file can be found.

use super::*;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn a_new_store_hides_its_folder_from_git() {
    let root = folder();
    let path = root.path().join("p/.rpt/history.db");
    assert!(matches!(Sqlite::open_to_read(&path), Err(HistoryError::Missing { .. })));
    drop(Sqlite::open(&path).unwrap());
    assert_eq!(std::fs::read_to_string(root.path().join("p/.rpt/.gitignore")).unwrap(), "*\n");
    Sqlite::open_to_read(&path).unwrap();
    drop(Sqlite::open(&root.path().join("elsewhere.db")).unwrap());
    assert!(!root.path().join(".gitignore").exists());
}

#[test]
fn a_newer_and_a_foreign_file_are_refused_and_left_alone() {
    let root = folder();
    let newer = root.path().join("newer.db");
    Sqlite::open(&newer).unwrap().connection.pragma_update(None, "user_version", schema::VERSION + 1).unwrap();
    let foreign = root.path().join("foreign.db");
    Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    for (path, text) in [(&newer, "use a newer rpt"), (&foreign, "another program")] {
        for error in
            [Sqlite::open(path).err(), Sqlite::open_to_read(path).err(), Sqlite::open_or_set_aside(path, None).err()]
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
        assert!(matches!(Sqlite::open_to_read(&path), Err(HistoryError::Sql { reason, .. }) if is_damage(&reason)));
        let (store, warning) = Sqlite::open_or_set_aside(&path, None).unwrap();
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
    drop(Sqlite::open(&path).unwrap());
    let damaged = Identity::of(&path);
    assert!(damaged.is_some());
    let (_store, warning) = Sqlite::open_or_set_aside(&path, damaged).unwrap();
    assert!(warning.is_some());
    let new = Identity::of(&path);
    let (_again, warning) = Sqlite::open_or_set_aside(&path, damaged).unwrap();
    assert_eq!((Identity::of(&path), warning), (new, None));
}

#[test]
fn a_folder_in_the_way_and_a_file_as_folder() {
    let root = folder();
    let path = root.path().join("history.db");
    std::fs::create_dir(&path).unwrap();
    std::fs::write(root.path().join("file"), "").unwrap();
    for path in [path, root.path().join("file/history.db")] {
        assert!(matches!(Sqlite::open_or_set_aside(&path, None), Err(HistoryError::Io { .. })));
    }
}

#[test]
fn a_store_on_a_medium_without_its_journal_is_readable() {
    let root = folder();
    let path = root.path().join("a #?%20.db");
    drop(Sqlite::open(&path).unwrap());
    let (store, content) = Sqlite::read_only(&path, true).unwrap();
    assert_eq!(content, Content::Store(schema::VERSION));
    assert!(store.connection.execute("DELETE FROM run", []).is_err());
}

/// A late result looks up what is around it: no statement of the kind may read a whole table of results.
#[test]
fn late_results_are_looked_up_and_not_searched_for() {
    let store = Sqlite::temporary().unwrap();
    for sql in [reads::NEWER, reads::BEFORE, reads::AFTER, reads::TWINS] {
        let mut plan = store.connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let mut rows = plan.raw_query();
        while let Some(row) = rows.next().unwrap() {
            let step: String = row.get(3).unwrap();
            assert!(!["result", "theirs", "own"].iter().any(|table| step == format!("SCAN {table}")), "{sql}: {step}");
        }
    }
}

#[test]
fn a_store_of_an_older_version_gets_its_statistics_and_a_step_that_fails_leaves_nothing() {
    let root = folder();
    let path = root.path().join("older.db");
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch(schema::VERSION_1).unwrap();
    connection
        .execute_batch(
            "PRAGMA application_id = 0x72707468; PRAGMA user_version = 1;
             INSERT INTO test (node_id) VALUES ('kept');
             INSERT INTO run (run, state, started_at_us, host, python_version, pytest_version, args, rootdir)
             VALUES (1, 1, 7, '', '', '', '[]', '');
             INSERT INTO result (run, test, nth, outcome, duration_us, position) VALUES (1, 1, 0, 0, 5, 0);
             CREATE TABLE kept AS SELECT * FROM run;",
        )
        .unwrap();
    // A column that a later step adds is there already.
    connection.execute_batch("ALTER TABLE run ADD COLUMN circumstances TEXT").unwrap();
    assert!(Sqlite::open(&path).is_err());
    assert_eq!(schema::content(&connection).unwrap(), Content::Store(1));
    connection.execute_batch("DROP TABLE run; ALTER TABLE kept RENAME TO run").unwrap();
    let store = Sqlite::open(&path).unwrap();
    let counted = store.connection.query_row("SELECT count(*) FROM statistics", [], |row| row.get::<_, i64>(0));
    assert_eq!(counted.unwrap(), 1);
}

/// The journal of a store that is held open stays when its writer goes, and goes with its holder.
#[test]
fn whoever_holds_a_store_open_closes_it() {
    let root = folder();
    let path = root.path().join("history.db");
    let journal = || std::fs::metadata(beside(&path, "-wal")).map_or(0, |journal| journal.len());
    assert!(Sqlite::hold_open(&path).is_none());
    assert!(!path.exists());
    drop(Sqlite::open(&path).unwrap());
    let write = || {
        let store = Sqlite::open(&path).unwrap();
        store.connection.execute("INSERT INTO test (node_id) VALUES ('t.py::f')", []).unwrap();
    };
    let held = Sqlite::hold_open(&path).unwrap();
    write();
    assert!(journal() > 0);
    drop(held);
    assert_eq!(journal(), 0);
    let (store, _) = Sqlite::read_only(&path, true).unwrap();
    let ids = store.connection.query_row("SELECT node_id FROM test", [], |row| row.get::<_, String>(0));
    assert_eq!(ids.unwrap(), "t.py::f");
    let foreign = root.path().join("foreign.db");
    Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    assert!(Sqlite::hold_open(&foreign).is_none());
}
