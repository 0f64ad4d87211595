//! A whole database into a new file, plain or encrypted: what migrate and export are made of.
//!
//! Pages cannot be copied as they are, since an encrypted page has fewer usable bytes than a plain one. `VACUUM INTO`
//! builds the new file: it moves every record as stored, with its rowid (which `sqlcipher_export` does not), shadow tables of
//! virtual tables like any other, and the header's numbers. It writes the rows of `sqlite_schema` anew; those are then put
//! back as they were, so that a dump of the copy is a dump of the source. An encrypted copy has pages of 4,096 bytes and
//! no auto-vacuum, whatever its source has.
//!
//! The source is attached in exclusive mode, and stays so until the copy is validated: who would have written to it
//! meanwhile is told that it is busy.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::ScopedJoinHandle;
use std::time::Duration;

use libsqlite3_sys as ffi;
use nimbus_threads::Watch;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::defaults;
use crate::digest::Contents;
use crate::error::StoreError;
use crate::keying::{apply_key, key};
use crate::main_file;
use crate::opening::prepare_file;
use crate::options::{Encryption, Mode, OpenOptions, Profile};
use crate::tamper;
use crate::watched::{self, PagesRead, Watched};

/// Another process that holds the source will hold it for longer than this.
const BUSY_TIMEOUT: Duration = Duration::from_millis(250);
/// Of the source, in KiB; the copy is only appended to.
const CACHE_KIBIBYTES: u32 = 8 * 1024;
const FLAGS: OpenFlags = OpenFlags::SQLITE_OPEN_READ_WRITE.union(OpenFlags::SQLITE_OPEN_NO_MUTEX);
/// Of every encrypted file, and so of what is exported from one.
const PAGE_BYTES: u64 = 4096;
/// What SQLCipher reserves at the end of a page of every profile.
const RESERVED_BYTES: i32 = 80;

/// The source is read in the order of its tables, and the copy in the order of its pages.
const PAGES_AHEAD: bool = true;

/// Which file is copied where.
pub struct CopyJob {
    /// A database that nobody has open.
    pub source: PathBuf,
    /// Absent for a plain source.
    pub source_encryption: Option<Arc<Encryption>>,
    /// A path at which nothing exists.
    pub target: PathBuf,
    /// Absent for a plain copy.
    pub target_encryption: Option<Arc<Encryption>>,
    /// Whether all of both files is read again and compared.
    pub validate: bool,
}

/// Copies a database. What is in the source's write-ahead log or rollback journal is folded in before, as whoever opens the
/// source next would do; nothing else of it changes. On return the copy, of mode 0600, and its name are on the disk.
///
/// # Errors
/// [`StoreError::Missing`], [`StoreError::Exists`], [`StoreError::Busy`] if somebody has the source open,
/// [`StoreError::Corrupt`], [`StoreError::CopyDiffers`], [`StoreError::Interrupted`], [`StoreError::Sql`] for a schema that
/// needs functions or collations of its own program, or what the system refused. What is at the target then is the caller's
/// to remove.
pub fn copy_database(job: &CopyJob, watch: &Arc<Watch>) -> Result<(), StoreError> {
    crate::exit::prepare();
    crate::provider::keep_linked();
    prepare_file(&job.source, Mode::Open)?;
    let encoding = settle(job)?;
    prepare_file(&job.target, Mode::Create)?;
    let mark = tamper::mark();
    let outcome = copy_settled(job, &encoding, watch);
    if mark.page_failed_since() {
        return Err(StoreError::corrupt(&job.source));
    }
    outcome
}

/// Folds a log or a journal into the source; says its text encoding, which the connection that copies it must have.
fn settle(job: &CopyJob) -> Result<String, StoreError> {
    let of_source = |error| StoreError::from_sqlite(error, 0, &job.source);
    let log = with_suffix(&job.source, "-wal");
    let has_side_file = length_of(&log) > 0 || length_of(&with_suffix(&job.source, "-journal")) > 0;
    if let (true, Some(encryption)) = (has_side_file, &job.source_encryption) {
        // As the server opens it: an encrypted log or journal is not believed before it is checked.
        let mut connection = crate::Connection::open(&OpenOptions {
            path: job.source.clone(),
            mode: Mode::Open,
            exclusive: false,
            encryption: Some(Arc::clone(encryption)),
        })?;
        connection.control("PRAGMA wal_checkpoint(TRUNCATE)")?;
    }
    let mark = tamper::mark();
    let connection = open(&job.source, job.source_encryption.as_deref()).map_err(of_source)?;
    // Rolls a hot journal back; fails if it is no database under this key.
    let read = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0))
        .and_then(|_| connection.execute_batch("BEGIN EXCLUSIVE; COMMIT"))
        .and_then(|()| connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0)))
        .and_then(|busy| Ok((busy, connection.query_row("PRAGMA encoding", [], |row| row.get(0))?)));
    if mark.page_failed_since() {
        return Err(StoreError::corrupt(&job.source));
    }
    let (busy, encoding) = read.map_err(of_source)?;
    connection.close().map_err(|(_, error)| of_source(error))?;
    if busy != 0 || length_of(&log) > 0 {
        return Err(StoreError::Busy {
            path: job.source.clone(),
        });
    }
    Ok(encoding)
}

fn copy_settled(job: &CopyJob, encoding: &str, watch: &Arc<Watch>) -> Result<(), StoreError> {
    // The pages that are written are not authenticated once more when they are read back as they were written.
    let _known_pages = job.target_encryption.as_ref().map(|target| target.file_pages());
    let mut connection = connect(job, encoding).map_err(|error| of_copy(error, job))?;
    let source_bytes = length_of(&job.source);
    let target = job.target.clone();
    watched::follow(&mut connection, watch, move || Watched {
        phase: "copying",
        done_bytes: length_of(&target),
        total_bytes: source_bytes,
    })
    .and_then(|()| build(&connection, job))
    .map_err(|error| of_copy(error, job))?;
    sync(&job.target)?;
    if job.validate {
        watched::stop_only(&mut connection, watch).map_err(|error| of_copy(error, job))?;
        validate(&connection, job, watch)?;
    }
    Ok(())
}

/// A connection whose own database is empty and in memory; the source is attached to it.
fn connect(job: &CopyJob, encoding: &str) -> rusqlite::Result<Connection> {
    let connection = Connection::open_in_memory_with_flags(FLAGS | OpenFlags::SQLITE_OPEN_CREATE)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // A schema may hold text in double quotes, which this build of SQLite takes from old files only.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DDL, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, true)?;
    // Before the key: after it SQLCipher takes the page size for its own.
    connection.execute_batch(&format!(
        "PRAGMA page_size = {PAGE_BYTES}; PRAGMA auto_vacuum = NONE; PRAGMA encoding = '{encoding}';
         PRAGMA locking_mode = EXCLUSIVE;"
    ))?;
    if let Some(encryption) = &job.target_encryption {
        // VACUUM INTO and ATTACH give the files that they open the key of the connection's own database.
        encryption.key.expose_hex_with_salt(|text| key(&connection, text))?;
    }
    {
        let _changed = defaults::Changed::to(profile_of(job.source_encryption.as_deref()), &connection)?;
        attach_source(&connection, job)?;
    }
    if job.source_encryption.is_some() {
        main_file::know(&connection, c"source", PAGES_AHEAD);
    }
    connection.execute_batch(&format!(
        "PRAGMA source.cache_size = -{CACHE_KIBIBYTES}; PRAGMA source.synchronous = OFF; PRAGMA source.cell_size_check = ON;"
    ))?;
    Ok(connection)
}

/// The new file's content: all of it, then its schema as the source spells it.
fn build(connection: &Connection, job: &CopyJob) -> rusqlite::Result<()> {
    let target = job.target.to_string_lossy();
    reserve_in_copies(
        connection,
        if job.target_encryption.is_some() {
            RESERVED_BYTES
        } else {
            0
        },
    )?;
    let _changed = defaults::Changed::to(profile_of(job.target_encryption.as_deref()), connection)?;
    connection.execute("VACUUM source INTO ?1", [&target])?;
    // Without KEY it has the key of the connection's own database; the empty one makes it plain.
    connection.execute("ATTACH ?1 AS target", [&target])?;
    connection.execute_batch(
        "PRAGMA target.journal_mode = MEMORY; PRAGMA target.synchronous = OFF; PRAGMA writable_schema = ON",
    )?;
    // VACUUM leaves it out when no table has AUTOINCREMENT any more.
    let has_sequence = "SELECT count(*) FROM sqlite_schema WHERE name = 'sqlite_sequence'";
    let count = |schema: &str| {
        let sql = has_sequence.replace("sqlite_schema", &format!("{schema}.sqlite_schema"));
        connection.query_row(&sql, [], |row| row.get::<_, i64>(0))
    };
    if count("source")? > count("target")? {
        connection.execute_batch(
            "CREATE TABLE target.sqlite_sequence (name, seq);
             INSERT INTO target.sqlite_sequence SELECT * FROM source.sqlite_sequence;",
        )?;
    }
    connection.execute_batch(SCHEMA_AS_IT_WAS)?;
    connection.execute_batch("DETACH target")
}

/// VACUUM gives the rows of the schema other rowids and, where their text was written by hand, another spelling.
const SCHEMA_AS_IT_WAS: &str = "
    BEGIN;
    UPDATE target.sqlite_schema SET rowid = -rowid;
    UPDATE target.sqlite_schema AS copied SET (rowid, tbl_name, sql) =
        (SELECT rowid, tbl_name, sql FROM source.sqlite_schema AS original
         WHERE original.type = copied.type AND original.name = copied.name);
    COMMIT;
    PRAGMA writable_schema = OFF;
";

/// Reads everything of both files, and has SQLite check the copy from page to page, all at once.
fn validate(connection: &Connection, job: &CopyJob, watch: &Arc<Watch>) -> Result<(), StoreError> {
    let of_source = |error| StoreError::from_sqlite(error, 0, &job.source);
    let differs = |what| StoreError::CopyDiffers {
        path: job.target.clone(),
        what,
    };
    // The copy is read once to compare it, and once to check it.
    let pages_read = PagesRead::of(2 * length_of(&job.target) / PAGE_BYTES);
    let (source, target, complaint) = std::thread::scope(|scope| {
        let target = scope.spawn(|| read_copy(job, watch, &pages_read, |copy| Contents::read(copy, "main")));
        let complaint = scope.spawn(|| read_copy(job, watch, &pages_read, integrity_check));
        let source = Contents::read(connection, "source").map_err(of_source);
        (source, joined(target, job), joined(complaint, job))
    });
    match (source?.difference(&target?), complaint?.as_str()) {
        (Some(what), _) => Err(differs(what)),
        (None, "ok") => Ok(()),
        (None, complaint) => Err(differs(format!("integrity_check says: {complaint}"))),
    }
}

fn integrity_check(copy: &Connection) -> rusqlite::Result<String> {
    copy.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
}

/// On a thread of its own: a page that does not authenticate is told of there.
fn read_copy<T>(
    job: &CopyJob,
    watch: &Arc<Watch>,
    pages_read: &PagesRead,
    read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> Result<T, StoreError> {
    let mark = tamper::mark();
    let outcome = open(&job.target, job.target_encryption.as_deref()).and_then(|mut copy| {
        watched::follow_pages(&mut copy, watch, "checking", PAGE_BYTES, pages_read)?;
        read(&copy)
    });
    if mark.page_failed_since() {
        return Err(StoreError::corrupt(&job.target));
    }
    outcome.map_err(|error| StoreError::from_sqlite(error, 0, &job.target))
}

fn joined<T>(thread: ScopedJoinHandle<'_, Result<T, StoreError>>, job: &CopyJob) -> Result<T, StoreError> {
    thread.join().unwrap_or_else(|_| {
        Err(StoreError::Panicked {
            path: job.target.clone(),
        })
    })
}

/// A connection that leaves the file's journal mode as it is.
fn open(path: &Path, encryption: Option<&Encryption>) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, FLAGS)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    if let Some(encryption) = encryption {
        main_file::know(&connection, c"main", PAGES_AHEAD);
        apply_key(&connection, encryption)?;
    }
    connection.execute_batch(&format!(
        "PRAGMA cache_size = -{CACHE_KIBIBYTES}; PRAGMA cell_size_check = ON;"
    ))?;
    Ok(connection)
}

/// ATTACH with the key as a value that is bound where it lies: it is in no SQL text, and SQLite makes no copy of it.
fn attach_source(connection: &Connection, job: &CopyJob) -> rusqlite::Result<()> {
    let path = job.source.to_string_lossy();
    match &job.source_encryption {
        None => connection.execute("ATTACH ?1 AS source KEY ''", [&path]).map(drop),
        Some(encryption) => encryption
            .key
            .expose_hex_with_salt(|text| attach(connection, &path, text)),
    }
}

#[expect(
    unsafe_code,
    reason = "rusqlite copies what it binds, and would leave the key in the heap"
)]
fn attach(connection: &Connection, path: &str, key: &[u8]) -> rusqlite::Result<()> {
    let length = |bytes: &[u8]| i32::try_from(bytes.len()).map_err(|_| rusqlite::Error::InvalidQuery);
    let (path_bytes, key_bytes) = (length(path.as_bytes())?, length(key)?);
    let sql = c"ATTACH ?1 AS source KEY ?2";
    // SAFETY: the handle is open while `connection` is borrowed and used by this thread alone. The statement is finalized
    // before `path` and `key`, which are bound without a copy (a null destructor is SQLITE_STATIC), go out of scope.
    let code = unsafe {
        let handle = connection.handle();
        let mut statement = std::ptr::null_mut();
        let mut code = ffi::sqlite3_prepare_v2(handle, sql.as_ptr(), -1, &raw mut statement, std::ptr::null_mut());
        if code == ffi::SQLITE_OK {
            ffi::sqlite3_bind_text(statement, 1, path.as_ptr().cast(), path_bytes, None);
            ffi::sqlite3_bind_blob(statement, 2, key.as_ptr().cast(), key_bytes, None);
            ffi::sqlite3_step(statement);
            code = ffi::sqlite3_finalize(statement);
        }
        if code == ffi::SQLITE_OK {
            code
        } else {
            ffi::sqlite3_extended_errcode(handle)
        }
    };
    result(code)
}

/// How many bytes VACUUM leaves unused at the end of each page ("`SQLITE_FCNTL_RESERVE_BYTES`").
#[expect(unsafe_code, reason = "rusqlite has no sqlite3_file_control")]
fn reserve_in_copies(connection: &Connection, mut bytes: i32) -> rusqlite::Result<()> {
    // SAFETY: the handle is open while `connection` is borrowed; the opcode takes a pointer to an int and keeps none.
    let code = unsafe {
        ffi::sqlite3_file_control(
            connection.handle(),
            c"source".as_ptr(),
            ffi::SQLITE_FCNTL_RESERVE_BYTES,
            (&raw mut bytes).cast(),
        )
    };
    result(code)
}

fn result(code: i32) -> rusqlite::Result<()> {
    if code == ffi::SQLITE_OK {
        Ok(())
    } else {
        Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None))
    }
}

fn profile_of(encryption: Option<&Encryption>) -> Profile {
    encryption.map_or(Profile::Sqlcipher4, |encryption| encryption.profile)
}

/// The source is only read, and the target only written, while this is asked.
fn of_copy(error: rusqlite::Error, job: &CopyJob) -> StoreError {
    let path = match error.sqlite_error().map(|error| error.extended_code) {
        Some(
            ffi::SQLITE_FULL
            | ffi::SQLITE_IOERR_WRITE
            | ffi::SQLITE_IOERR_FSYNC
            | ffi::SQLITE_IOERR_TRUNCATE
            | ffi::SQLITE_IOERR_DIR_FSYNC
            | ffi::SQLITE_IOERR_DELETE,
        ) => &job.target,
        _ => &job.source,
    };
    StoreError::from_sqlite(error, 0, path)
}

fn sync(path: &Path) -> Result<(), StoreError> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(|error| StoreError::from_system(&error, path))?;
    nimbus_disk::sync_directory_of(path).map_err(|error| StoreError::from_disk(&error, path))
}

/// 0 for a file that cannot be looked at: whoever reads it next says why.
fn length_of(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}

pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
