//! Work on several threads, as many as the caller says; one thread is a plain loop.

use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

/// Calls `work` with each item; items share nothing that is written.
///
/// The result does not depend on the number of threads if `work` on an item does not depend on the others.
pub(super) fn each<I: Send>(threads: usize, items: Vec<I>, work: impl Fn(I) + Sync + Send) {
    if threads > 1
        && items.len() > 1
        && let Some(pool) = pool(threads)
    {
        pool.install(|| items.into_par_iter().for_each(work));
    } else {
        items.into_iter().for_each(work);
    }
}

/// The pool of this process: the threads of its parent are not those of a forked process, which would wait for ever.
fn pool(threads: usize) -> Option<Arc<ThreadPool>> {
    static POOL: Mutex<Option<(u32, usize, Arc<ThreadPool>)>> = Mutex::new(None);
    let mut kept = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    let process = std::process::id();
    if let Some((owner, size, pool)) = kept.as_ref()
        && (*owner, *size) == (process, threads)
    {
        return Some(Arc::clone(pool));
    }
    let made = Arc::new(ThreadPoolBuilder::new().num_threads(threads).build().ok()?);
    if let Some((owner, _, old)) = kept.replace((process, threads, Arc::clone(&made)))
        && owner != process
    {
        std::mem::forget(old); // to end it is to wait for threads that are not there
    }
    Some(made)
}
