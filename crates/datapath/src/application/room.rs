//! The bound on applications' tasks in flight, and how those that find none wait.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use esprit_crypto::Wake;

#[derive(Default)]
struct State {
    taken: usize,
    /// Whom to wake at the next place that becomes free; they do not block.
    hungry: Vec<Arc<dyn Wake>>,
    /// How often somebody had to wait.
    waits: u64,
}

/// So many tasks may be in flight at a time, their results that nobody has taken included.
pub struct Room {
    limit: usize,
    state: Mutex<State>,
    free: Condvar,
}

impl Room {
    /// A room of `limit` places, one at least.
    #[must_use]
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit: limit.max(1),
            state: Mutex::default(),
            free: Condvar::new(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place, if there is one.
    #[must_use]
    pub fn try_take(self: &Arc<Self>) -> Option<Permit> {
        let mut state = self.state();
        (state.taken < self.limit).then(|| {
            state.taken += 1;
            Permit(Arc::clone(self))
        })
    }

    /// A place, if there is one; else `wake` is woken when one becomes free.
    #[must_use]
    pub fn try_take_or_wake(self: &Arc<Self>, wake: &Arc<dyn Wake>) -> Option<Permit> {
        let mut state = self.state();
        if state.taken < self.limit {
            state.taken += 1;
            return Some(Permit(Arc::clone(self)));
        }
        state.waits += 1;
        if !state.hungry.iter().any(|known| Arc::ptr_eq(known, wake)) {
            state.hungry.push(Arc::clone(wake));
        }
        None
    }

    /// A place, when there is one. Whoever has tasks in flight takes their results first,
    /// for they are what frees places.
    #[must_use]
    pub fn take(self: &Arc<Self>) -> Permit {
        let mut state = self.state();
        if state.taken >= self.limit {
            state.waits += 1;
        }
        while state.taken >= self.limit {
            state = self
                .free
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.taken += 1;
        Permit(Arc::clone(self))
    }

    /// Places taken.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.state().taken
    }

    /// Places there are.
    #[must_use]
    pub const fn limit(&self) -> usize {
        self.limit
    }

    /// How often somebody had to wait for a place.
    #[must_use]
    pub fn waits(&self) -> u64 {
        self.state().waits
    }
}

/// A place in the room, until it is dropped.
pub struct Permit(Arc<Room>);

impl core::fmt::Debug for Permit {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Permit")
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.taken -= 1;
        let hungry = core::mem::take(&mut state.hungry);
        drop(state);
        self.0.free.notify_one();
        for wake in hungry {
            wake.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_full_room_says_so_and_wakes_whoever_asked_once() {
        let room = Room::new(2);
        let (a, b) = (room.take(), room.take());
        assert!(room.try_take().is_none());
        let count = Arc::new(Count::default());
        let wake: Arc<dyn Wake> = count.clone();
        assert!(room.try_take_or_wake(&wake).is_none());
        assert!(room.try_take_or_wake(&wake).is_none());
        drop(a);
        drop(b);
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert_eq!((room.taken(), room.waits()), (0, 2));
    }

    #[test]
    fn who_waits_gets_the_place_that_becomes_free() {
        let room = Room::new(1);
        let first = room.take();
        let other = Arc::clone(&room);
        let waiting = std::thread::spawn(move || drop(other.take()));
        drop(first);
        waiting.join().unwrap();
        assert_eq!(room.taken(), 0);
    }
}
