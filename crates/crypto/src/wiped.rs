//! A secret of a library that does not wipe its own.
#![expect(
    unsafe_code,
    reason = "overwriting a value that forbids it is the point"
)]

use core::mem::{MaybeUninit, needs_drop};

/// A value that is overwritten when it is dropped. It lives on the heap and never moves, so
/// that there is one place to overwrite.
pub struct Wiped<T>(Box<MaybeUninit<T>>);

/// Bytes of stack that are overwritten once a value was made: an expanded AES key with its table
/// of hashes takes some 500, and a constructor passes it on a few times.
const SCRUBBED: usize = 8 * 1024;

impl<T> Wiped<T> {
    /// Keeps what `make` makes, and overwrites the stack that `make` used.
    ///
    /// # Panics
    /// Never at run time: a type whose values own something else does not compile.
    pub fn make(make: impl FnOnce() -> Option<T>) -> Option<Self> {
        const {
            assert!(!needs_drop::<T>(), "what it owns would be left unwiped");
        }
        let mut place = Box::new(MaybeUninit::uninit());
        let made = write(make, &mut place);
        scrub();
        made.then_some(Self(place))
    }

    /// The value.
    pub fn get(&self) -> &T {
        // SAFETY: `make` gives a `Self` out only once the place was written, and nothing else
        // writes it before `drop`.
        unsafe { self.0.assume_init_ref() }
    }
}

#[inline(never)]
fn write<T>(make: impl FnOnce() -> Option<T>, place: &mut MaybeUninit<T>) -> bool {
    make().is_some_and(|value| {
        place.write(value);
        true
    })
}

/// Overwrites the stack below the caller's frame.
#[inline(never)]
fn scrub() {
    let mut stack = [0xff_u8; SCRUBBED];
    zeroize::Zeroize::zeroize(&mut stack[..]);
}

impl<T> Drop for Wiped<T> {
    fn drop(&mut self) {
        // SAFETY: the pointer is to `T`'s own place, which no reference reaches any more; `T` has no
        // drop glue (asserted in `make`), so nobody reads the value after this.
        unsafe { zeroize::zeroize_flat_type(self.0.as_mut_ptr()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_could_not_be_made_is_none() {
        assert!(Wiped::<[u8; 4]>::make(|| None).is_none());
        assert_eq!(
            Wiped::make(|| Some([1_u8, 2, 3])).unwrap().get(),
            &[1, 2, 3]
        );
    }

    #[test]
    fn nothing_of_it_is_left() {
        let mut place = core::mem::ManuallyDrop::new(Wiped::make(|| Some([0xab_u8; 64])).unwrap());
        let bytes = place.0.as_ptr().cast::<u8>();
        // SAFETY: as in `drop`; the box itself is not freed, so its bytes can be looked at.
        unsafe { zeroize::zeroize_flat_type(place.0.as_mut_ptr()) };
        // SAFETY: the place holds 64 bytes and is still allocated.
        assert!((0..64).all(|at| unsafe { *bytes.add(at) } == 0));
        core::mem::drop(core::mem::ManuallyDrop::into_inner(place));
    }
}
