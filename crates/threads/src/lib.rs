//! The native threads of a process, shared by the stores of every engine.
//!
//! | module  | what lives there                                                       |
//! |---------|------------------------------------------------------------------------|
//! | `pool`  | the threads: made on demand, bounded, gone when idle                    |
//! | `queue` | what waits for one store's writer, and how much makes one transaction   |
//! | `exit`  | where threads stop when the process exits                               |
//! | `watch` | how far long work is, and whether it is to stop                         |
//! | `pace`  | long work that leaves room for others                                   |

#![deny(unsafe_code)]

pub mod exit;
mod pace;
pub mod pool;
mod queue;
mod watch;

pub use pace::Pace;
pub use queue::{Job, Place, Queue};
pub use watch::{Progress, Watch};
