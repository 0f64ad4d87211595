//! Databases of every kind, copied from plain to encrypted and back.

#![allow(clippy::panic, reason = "tests say what they expect by panicking")]

mod support;

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nimbus_crypto::Dek;
use nimbus_sqlite::{CopyJob, Encryption, Profile, StoreError, copy_database};
use nimbus_threads::Watch;
use rusqlite::config::DbConfig;
use rusqlite::types::Value;
use support::SALT;

const PROFILES: [Profile; 2] = [Profile::Sqlcipher4, Profile::Sqlcipher4Sha256];

const SCHEMA: &str = "
    CREATE TABLE plain (a, b TEXT);
    INSERT INTO plain (rowid, a, b) VALUES (7, 1, 'x'), (-3, 2.5, 'y'), (9000000000, x'00ff', NULL);
    CREATE TABLE keyed (id INTEGER PRIMARY KEY AUTOINCREMENT, v UNIQUE, d DEFAULT \"text in quotes\");
    INSERT INTO keyed (v) VALUES ('one'), ('two');
    DELETE FROM keyed WHERE id = 2;
    CREATE TABLE clustered (k TEXT, n INT, body BLOB, PRIMARY KEY (k, n DESC)) WITHOUT ROWID;
    INSERT INTO clustered VALUES ('k', 1, zeroblob(20000)), ('k', 2, randomblob(5000));
    CREATE TABLE computed (a INT, twice INT AS (a * 2) VIRTUAL, thrice INT AS (a * 3) STORED, CHECK (a > 0));
    INSERT INTO computed (a) VALUES (1), (2), (3);
    CREATE INDEX by_expression ON plain (lower(b)) WHERE b IS NOT NULL;
    CREATE VIEW seen AS SELECT a, b FROM plain;
    CREATE TRIGGER logged AFTER INSERT ON plain BEGIN INSERT INTO keyed (v) VALUES (new.rowid); END;
    CREATE VIRTUAL TABLE texts USING fts5(title, body);
    INSERT INTO texts VALUES ('first', 'some words'), ('second', 'other words');
    CREATE TABLE \"odd \"\" name\" (\"rowid\" TEXT, \"sel ect\" BLOB) STRICT;
    INSERT INTO \"odd \"\" name\" VALUES ('r', x'73');
    CREATE TABLE parent (id INTEGER PRIMARY KEY);
    CREATE TABLE child (parent REFERENCES parent (id) ON DELETE CASCADE, later DEFAULT 5);
    PRAGMA foreign_keys = OFF;
    INSERT INTO child VALUES (99, 1);
    ALTER TABLE child ADD COLUMN added TEXT DEFAULT 'here';
    ANALYZE;
    PRAGMA user_version = 77;
    PRAGMA application_id = 1234;
";

struct Home {
    directory: tempfile::TempDir,
    dek: Dek,
}

impl Home {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().expect("temporary directory"),
            dek: Dek::generate().expect("randomness"),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn encryption(&self, profile: Profile) -> Arc<Encryption> {
        let key = self.dek.sqlcipher_key(&SALT);
        Arc::new(Encryption { key, profile })
    }

    fn migrate(&self, source: &Path, target: &Path, profile: Profile) -> Result<(), StoreError> {
        let job = CopyJob {
            source: source.to_owned(),
            source_encryption: None,
            target: target.to_owned(),
            target_encryption: Some(self.encryption(profile)),
            validate: true,
        };
        copy_database(&job, &watch())
    }

    fn export(&self, source: &Path, target: &Path, profile: Profile) -> Result<(), StoreError> {
        let job = CopyJob {
            source: source.to_owned(),
            source_encryption: Some(self.encryption(profile)),
            target: target.to_owned(),
            target_encryption: None,
            validate: true,
        };
        copy_database(&job, &watch())
    }

    /// There and back: the plain file that comes out, for comparison with the one that went in.
    fn there_and_back(&self, source: &Path, profile: Profile) -> PathBuf {
        let (encrypted, back) = (self.path("encrypted"), self.path("back"));
        for file in [&encrypted, &back] {
            let _ = std::fs::remove_file(file);
        }
        self.migrate(source, &encrypted, profile).expect("migrate");
        self.export(&encrypted, &back, profile).expect("export");
        back
    }
}

fn watch() -> Arc<Watch> {
    Arc::new(Watch::new(|_| {}))
}

fn build(path: &Path, settings: &str) -> rusqlite::Connection {
    let source = open(path);
    source.execute_batch(settings).expect("settings");
    source.execute_batch(SCHEMA).expect("schema");
    source
}

fn open(path: &Path) -> rusqlite::Connection {
    let connection = rusqlite::Connection::open(path).expect("open");
    for setting in [DbConfig::SQLITE_DBCONFIG_DQS_DDL, DbConfig::SQLITE_DBCONFIG_DQS_DML] {
        connection.set_db_config(setting, true).expect("double quotes");
    }
    connection
}

/// Everything that SQL can see of a file, rowids included: written for the tests, apart from how copies are compared.
fn dump(path: &Path) -> String {
    let connection = open(path);
    let mut text = String::new();
    let mut rows = |sql: &str| {
        let mut statement = connection.prepare(sql).expect(sql);
        let columns = statement.column_count();
        let mut rows = statement.query([]).expect(sql);
        let mut all: Vec<Vec<Value>> = Vec::new();
        while let Some(row) = rows.next().expect(sql) {
            all.push((0..columns).map(|column| row.get(column).expect(sql)).collect());
        }
        writeln!(text, "{sql}: {all:?}").expect("a string");
        all
    };
    for pragma in ["user_version", "application_id", "encoding"] {
        rows(&format!("PRAGMA {pragma}"));
    }
    let schema = rows("SELECT rowid, name, type, tbl_name, sql FROM sqlite_schema ORDER BY rowid");
    for row in schema {
        let [_, Value::Text(name), Value::Text(kind), ..] = row.as_slice() else {
            panic!("{row:?}");
        };
        if kind != "table" {
            continue;
        }
        let name = name.replace('"', "\"\"");
        rows(&format!("SELECT * FROM \"{name}\""));
        if !["clustered", "texts_idx", "texts_config"].contains(&name.as_str()) {
            rows(&format!("SELECT _rowid_ FROM \"{name}\" ORDER BY 1"));
        }
    }
    text
}

#[test]
fn everything_survives_the_way_to_an_encrypted_file_and_back() {
    let home = Home::new();
    let kinds = [
        "PRAGMA page_size = 512; PRAGMA encoding = 'UTF-16le'",
        "PRAGMA page_size = 4096; PRAGMA auto_vacuum = FULL; PRAGMA journal_mode = WAL",
        "PRAGMA page_size = 65536; PRAGMA encoding = 'UTF-16be'; PRAGMA journal_mode = PERSIST",
    ];
    for (number, settings) in kinds.into_iter().enumerate() {
        let source = home.path(&format!("source-{number}"));
        drop(build(&source, settings));
        let before = std::fs::read(&source).expect("source");
        for profile in PROFILES {
            let back = home.there_and_back(&source, profile);
            assert_eq!(std::fs::read(&source).expect("source"), before, "{settings}");
            assert_eq!(std::fs::read(home.path("encrypted")).expect("copy")[..16], SALT.0);
            let (was, is) = (dump(&source), dump(&back));
            assert!(was.contains("some words") && was.contains("9000000000"), "{was}");
            assert_eq!(was, is, "{settings}");
        }
    }
}

#[test]
fn a_copy_is_laid_out_as_a_file_that_was_made_encrypted() {
    let home = Home::new();
    let source = home.path("source");
    drop(build(
        &source,
        "PRAGMA page_size = 1024; PRAGMA auto_vacuum = INCREMENTAL",
    ));
    for profile in PROFILES {
        let encrypted = home.path(profile.name());
        home.migrate(&source, &encrypted, profile).expect("migrate");
        let options = support::keyed(&encrypted, Some(profile), nimbus_sqlite::Mode::Open, &home.dek);
        let mut connection = nimbus_sqlite::Connection::open(&options).expect("open");
        let vacuum = support::run(&mut connection, "PRAGMA auto_vacuum", &[]).expect("pragma");
        assert_eq!(vacuum, [[nimbus_sqlite::Value::Integer(0)]]);
        support::run(&mut connection, "INSERT INTO plain VALUES (3, 'later')", &[]).expect("it can be written");
        drop(connection);
        assert_eq!(std::fs::metadata(&encrypted).expect("file").len() % 4096, 0);
    }
}

#[test]
fn an_empty_sequence_table_that_nothing_needs_is_kept() {
    let home = Home::new();
    let source = home.path("source");
    let connection = open(&source);
    connection
        .execute_batch(
            "CREATE TABLE gone (id INTEGER PRIMARY KEY AUTOINCREMENT); DROP TABLE gone; CREATE TABLE kept (a)",
        )
        .expect("schema");
    drop(connection);
    let back = home.there_and_back(&source, Profile::Sqlcipher4);
    assert_eq!(dump(&source), dump(&back));
}

#[test]
fn what_is_only_in_the_log_or_needs_a_rollback_is_settled_first() {
    let home = Home::new();
    for (name, mode, expected) in [("log", "WAL", 4), ("hot", "DELETE", 3)] {
        let (living, source) = (home.path(&format!("living-{name}")), home.path(name));
        let connection = build(&living, &format!("PRAGMA journal_mode = {mode}; PRAGMA cache_size = 1"));
        if mode == "WAL" {
            connection
                .execute_batch("INSERT INTO plain VALUES (4, 'in the log')")
                .expect("insert");
        } else {
            let spilled = "BEGIN; DELETE FROM plain; UPDATE clustered SET body = randomblob(200000)";
            connection.execute_batch(spilled).expect("half a transaction");
        }
        // As a crash leaves it: the files of a database that is open.
        for suffix in ["", "-wal", "-journal"] {
            let part = |path: &Path| PathBuf::from(format!("{}{suffix}", path.display()));
            if part(&living).exists() {
                std::fs::copy(part(&living), part(&source)).expect("copy");
            }
        }
        drop(connection);
        let encrypted = home.path(&format!("{name}-encrypted"));
        home.migrate(&source, &encrypted, Profile::Sqlcipher4Sha256)
            .expect("migrate");
        let back = home.path(&format!("{name}-back"));
        home.export(&encrypted, &back, Profile::Sqlcipher4Sha256)
            .expect("export");
        let rows: i64 = open(&back)
            .query_row("SELECT count(*) FROM plain", [], |row| row.get(0))
            .expect("count");
        assert_eq!(rows, expected, "{name}");
        for file in [&source, &encrypted, &back] {
            for suffix in ["-wal", "-journal", "-shm"] {
                let part = PathBuf::from(format!("{}{suffix}", file.display()));
                assert!(
                    !part.exists(),
                    "{} would be replayed into a file of that name",
                    part.display()
                );
            }
        }
        assert_eq!(dump(&source), dump(&back));
    }
}

#[test]
fn a_damaged_page_stops_an_export() {
    let home = Home::new();
    let (source, encrypted) = (home.path("source"), home.path("encrypted"));
    drop(build(&source, ""));
    home.migrate(&source, &encrypted, Profile::Sqlcipher4Sha256)
        .expect("migrate");
    let whole = std::fs::read(&encrypted).expect("copy");
    for page in 0..whole.len() / 4096 {
        let mut damaged = whole.clone();
        damaged[page * 4096 + 1000] ^= 1;
        let (bad, out) = (home.path(&format!("bad-{page}")), home.path(&format!("out-{page}")));
        std::fs::write(&bad, &damaged).expect("write");
        let outcome = home.export(&bad, &out, Profile::Sqlcipher4Sha256);
        assert!(
            matches!(outcome, Err(StoreError::Corrupt { .. })),
            "page {page}: {outcome:?}"
        );
    }
}

#[test]
fn work_that_is_told_to_stop_does() {
    let home = Home::new();
    let source = home.path("source");
    let connection = build(&source, "");
    connection
        .execute_batch(
            "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 50000)
             INSERT INTO keyed (v) SELECT 'n' || x FROM n",
        )
        .expect("rows");
    drop(connection);
    let job = CopyJob {
        source,
        source_encryption: None,
        target: home.path("target"),
        target_encryption: Some(home.encryption(Profile::Sqlcipher4)),
        validate: true,
    };
    let watch = watch();
    watch.cancel();
    let outcome = copy_database(&job, &watch);
    assert!(matches!(outcome, Err(StoreError::Interrupted { .. })), "{outcome:?}");
}

#[test]
fn a_schema_that_needs_its_own_program_is_refused_by_name() {
    let home = Home::new();
    let source = home.path("source");
    let connection = open(&source);
    connection
        .execute_batch(
            "CREATE TABLE t (a COLLATE NOCASE); CREATE INDEX i ON t (a); INSERT INTO t VALUES ('x');
             PRAGMA writable_schema = ON;
             UPDATE sqlite_schema SET sql = replace(sql, 'NOCASE', 'OWN')",
        )
        .expect("a schema of another program");
    drop(connection);
    match home.migrate(&source, &home.path("target"), Profile::Sqlcipher4) {
        Err(StoreError::Sql { message, .. }) => assert!(message.contains("OWN"), "{message}"),
        other => panic!("{other:?}"),
    }
}
