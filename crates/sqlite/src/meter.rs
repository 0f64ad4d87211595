//! Counts, per thread, the pages whose MAC was computed, for work inside SQLCipher that says nothing until it ends; and
//! stops it on request, by letting a page fail.

use std::cell::RefCell;
use std::ops::ControlFlow;

type OnPage = Box<dyn FnMut() -> ControlFlow<()>>;

thread_local! {
    static ON_PAGE: RefCell<Option<OnPage>> = const { RefCell::new(None) };
}

/// Calls `on_page` for each page that `work` reads or writes on this thread. After a `Break` each page fails, so that the
/// work ends with an error and undoes itself.
pub(crate) fn measured<T>(on_page: impl FnMut() -> ControlFlow<()> + 'static, work: impl FnOnce() -> T) -> T {
    ON_PAGE.set(Some(Box::new(on_page)));
    let _guard = Guard;
    work()
}

/// One page; on `Break` its MAC is to fail.
pub(crate) fn page() -> ControlFlow<()> {
    ON_PAGE.with_borrow_mut(|on_page| on_page.as_mut().map_or(ControlFlow::Continue(()), |call| call()))
}

struct Guard;

impl Drop for Guard {
    fn drop(&mut self) {
        ON_PAGE.set(None);
    }
}
