//! The data file as it lies on the disk, read past SQLite's cache but through the descriptor that SQLite has open: opening and
//! closing another one would drop the locks of this process on the file.

#![expect(unsafe_code, reason = "rusqlite does not show the open file")]

use std::ffi::{CStr, c_int};
use std::ptr;

use libsqlite3_sys as ffi;

const PAGE_BYTES: usize = 4096;
/// No operation of a file, and so one that ends what a connection knows of it (`main_file`): nobody may hold a lock now. SQLite has
/// the numbers up to 100.
const FORGET: c_int = 0x6e69_6d62;

/// The open file of a connection.
pub(crate) struct RawFile<'a> {
    file: *mut ffi::sqlite3_file,
    methods: &'a ffi::sqlite3_io_methods,
}

impl<'a> RawFile<'a> {
    /// `None` if SQLite has no file open.
    pub(crate) fn of(connection: &'a rusqlite::Connection) -> Option<Self> {
        file_of(connection, c"main").map(|(file, methods)| Self { file, methods })
    }

    /// Its size; the error is SQLite's code.
    pub(crate) fn bytes(&self) -> Result<u64, c_int> {
        let size = self.methods.xFileSize.ok_or(ffi::SQLITE_IOERR)?;
        let mut bytes = 0;
        // SAFETY: the method is that of this open file, and `bytes` is one number of ours.
        match unsafe { size(self.file, &raw mut bytes) } {
            ffi::SQLITE_OK => Ok(u64::try_from(bytes).unwrap_or(0)),
            code => Err(code),
        }
    }

    /// Fills `out` with what lies at `offset`; beyond the end of the file with zeros. The error is SQLite's code.
    pub(crate) fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), c_int> {
        match self.read_at(offset, out)? {
            ffi::SQLITE_OK | ffi::SQLITE_IOERR_SHORT_READ => Ok(()),
            code => Err(code),
        }
    }

    /// `None` if the file is shorter than a page, or cannot be read.
    pub(crate) fn first_page(&self) -> Option<Vec<u8>> {
        let mut page = vec![0; PAGE_BYTES];
        (self.read_at(0, &mut page) == Ok(ffi::SQLITE_OK)).then_some(page)
    }

    /// Whether some connection, of any process, is about to write the file ("File Locking And Concurrency", section 3); no if that
    /// cannot be told.
    pub(crate) fn is_reserved(&self) -> bool {
        let mut is_reserved = 0;
        // SAFETY: the method is that of this open file, and writes one integer of ours.
        let code = self
            .methods
            .xCheckReservedLock
            .map(|check| unsafe { check(self.file, &raw mut is_reserved) });
        code == Some(ffi::SQLITE_OK) && is_reserved != 0
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<c_int, c_int> {
        let read = self.methods.xRead.ok_or(ffi::SQLITE_IOERR)?;
        let control = self.methods.xFileControl.ok_or(ffi::SQLITE_IOERR)?;
        let length = c_int::try_from(out.len()).map_err(|_| ffi::SQLITE_IOERR)?;
        let offset = i64::try_from(offset).map_err(|_| ffi::SQLITE_IOERR)?;
        // SAFETY: the method is that of this open file; it does not know the opcode, and says so without looking at what comes with
        // it ("Opcodes for xFileControl").
        unsafe { control(self.file, FORGET, ptr::null_mut()) };
        // SAFETY: the method is that of this open file; it writes `length` bytes into `out`, all of them, whatever it returns
        // but an error ("SQLITE_IOERR_SHORT_READ").
        Ok(unsafe { read(self.file, out.as_mut_ptr().cast(), length, offset) })
    }
}

/// SQLite's own descriptor of the data file of the database `schema`, and what can be done with it.
pub(crate) fn file_of<'a>(
    connection: &'a rusqlite::Connection,
    schema: &CStr,
) -> Option<(*mut ffi::sqlite3_file, &'a ffi::sqlite3_io_methods)> {
    let mut file: *mut ffi::sqlite3_file = ptr::null_mut();
    // SAFETY: SQLITE_FCNTL_FILE_POINTER writes one pointer to `file`, which stays valid while the connection is open; its method
    // table is set for as long as it is open ("sqlite3_io_methods"). A connection is used by one thread at a time, and no
    // statement of it runs while the caller looks at its file: nobody else uses the file.
    unsafe {
        let found = ffi::sqlite3_file_control(
            connection.handle(),
            schema.as_ptr(),
            ffi::SQLITE_FCNTL_FILE_POINTER,
            (&raw mut file).cast(),
        );
        if found != ffi::SQLITE_OK {
            return None;
        }
        Some((file, file.as_ref()?.pMethods.as_ref()?))
    }
}
