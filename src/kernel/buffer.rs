//! Memory for what is needed only within a call: kept by its thread for the next one, so that no page is touched anew.

use std::ops::{Deref, DerefMut};

use super::real::Real;

/// Buffers that a thread keeps.
const MAX_IDLE: usize = 16;

/// Numbers, at first whatever was there.
pub(super) struct Buffer<T: Real> {
    numbers: Vec<T>,
}

impl<T: Real> Buffer<T> {
    /// Of so many numbers.
    pub(super) fn new(len: usize) -> Self {
        // The smallest that is large enough, else the largest, which grows.
        let mut numbers = T::idle(|idle| {
            let fits = |v: &Vec<T>| (v.capacity() < len, v.capacity().abs_diff(len));
            let best = (0..idle.len()).min_by_key(|&i| fits(&idle[i]));
            best.map(|i| idle.swap_remove(i)).unwrap_or_default()
        });
        if numbers.capacity() < len {
            numbers = Vec::with_capacity(len); // what was there need not be copied
        }
        numbers.resize(len, T::ZERO);
        Buffer { numbers }
    }

    /// Of so many times a number.
    pub(super) fn filled(len: usize, value: T) -> Self {
        let mut buffer = Buffer::new(len);
        buffer.fill(value);
        buffer
    }
}

impl<T: Real> Deref for Buffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.numbers
    }
}

impl<T: Real> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.numbers
    }
}

impl<T: Real> Drop for Buffer<T> {
    fn drop(&mut self) {
        let numbers = std::mem::take(&mut self.numbers);
        T::idle(|idle| {
            if idle.len() < MAX_IDLE {
                idle.push(numbers);
            }
        });
    }
}
