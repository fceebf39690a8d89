//! Threads that may be lost: each serves one job at a time, and a job that never ends takes its
//! thread along.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Most threads.
const MOST: usize = 8;
const STACK: usize = 128 * 1024;

struct State<J> {
    queue: VecDeque<J>,
    idle: usize,
    threads: usize,
}

struct Inner<J> {
    state: Mutex<State<J>>,
    ready: Condvar,
    serve: Box<dyn Fn(J) + Send + Sync>,
}

/// A handful of threads, made when they are wanted.
pub struct Workers<J>(Arc<Inner<J>>);

impl<J: Send + 'static> Workers<J> {
    /// They do `serve` with each job.
    pub fn new(serve: impl Fn(J) + Send + Sync + 'static) -> Self {
        let state = Mutex::new(State { queue: VecDeque::new(), idle: 0, threads: 0 });
        Self(Arc::new(Inner { state, ready: Condvar::new(), serve: Box::new(serve) }))
    }

    /// Has a job done; gives it back when all are busy.
    pub fn take(&self, job: J) -> Option<J> {
        let mut state = self.0.lock();
        if state.idle <= state.queue.len() {
            if state.threads >= MOST || !self.hire() {
                return Some(job);
            }
            state.threads += 1;
            // It is on its way to the queue.
            state.idle += 1;
        }
        state.queue.push_back(job);
        self.0.ready.notify_one();
        None
    }

    fn hire(&self) -> bool {
        let inner = Arc::clone(&self.0);
        let work = move || {
            loop {
                let job = inner.next();
                (inner.serve)(job);
                inner.lock().idle += 1;
            }
        };
        std::thread::Builder::new().stack_size(STACK).spawn(work).is_ok()
    }
}

impl<J> Inner<J> {
    fn lock(&self) -> MutexGuard<'_, State<J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> J {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.queue.pop_front() {
                state.idle -= 1;
                return job;
            }
            state = self.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn jobs_that_hang_cost_their_threads_and_what_is_too_much_comes_back() {
        let (done, served) = mpsc::channel();
        let done = Mutex::new(done);
        let gate = Arc::new(Mutex::new(()));
        let (held, inside) = (gate.lock().unwrap(), Arc::clone(&gate));
        let workers = Workers::new(move |hangs: bool| {
            if hangs {
                drop(inside.lock());
            }
            done.lock().unwrap().send(hangs).unwrap();
        });
        for _ in 1..MOST {
            assert_eq!(workers.take(true), None);
        }
        // One is left, and it is enough for one after the other.
        for _ in 0..20 {
            while workers.take(false).is_some() {
                std::thread::yield_now();
            }
            assert!(!served.recv().unwrap());
        }
        while workers.take(true).is_some() {
            std::thread::yield_now();
        }
        assert_eq!(workers.take(false), Some(false));
        drop(held);
        assert_eq!(served.iter().take(MOST).filter(|hung| *hung).count(), MOST);
        while workers.take(false).is_some() {
            std::thread::yield_now();
        }
        assert!(!served.recv().unwrap());
    }
}
