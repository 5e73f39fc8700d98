//! Numbers of one of two widths, and functions compiled once for each kind of processor.

use std::cell::RefCell;
use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub};

use faer::traits::ComplexField;

/// `f32` or `f64`.
pub trait Real:
    ComplexField
    + Copy
    + Default
    + PartialOrd
    + Send
    + Sync
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + 'static
{
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// Less than every number.
    const LOWEST: Self;

    /// The nearest number.
    fn of(value: f64) -> Self;

    /// The same number.
    fn wide(self) -> f64;

    /// `self * factor + term`, rounded once.
    #[must_use]
    fn fused(self, factor: Self, term: Self) -> Self;

    /// Buffers of this thread that wait for their next use.
    fn idle<R>(work: impl FnOnce(&mut Vec<Vec<Self>>) -> R) -> R;
}

macro_rules! real {
    ($real:ident) => {
        impl Real for $real {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const LOWEST: Self = $real::NEG_INFINITY;

            #[inline(always)]
            fn of(value: f64) -> Self {
                value as $real
            }

            #[inline(always)]
            fn wide(self) -> f64 {
                f64::from(self)
            }

            #[inline(always)]
            fn fused(self, factor: Self, term: Self) -> Self {
                self.mul_add(factor, term)
            }

            fn idle<R>(work: impl FnOnce(&mut Vec<Vec<Self>>) -> R) -> R {
                thread_local!(static IDLE: RefCell<Vec<Vec<$real>>> = const { RefCell::new(Vec::new()) });
                IDLE.with_borrow_mut(work)
            }
        }
    };
}

real!(f32);
real!(f64);

/// `a * b + c`; one instruction where the processor has it, which the caller knows, and never a call of a library.
#[inline(always)]
pub(super) fn multiply_add<T: Real, const FMA: bool>(a: T, b: T, c: T) -> T {
    if FMA { a.fused(b, c) } else { a * b + c }
}

/// Numbers that are summed side by side.
pub(super) const LANES: usize = 32;

/// The sum of lanes, a power of two, halves on halves, so that it is a few instructions.
#[inline(always)]
pub(super) fn total<T: Real, const N: usize>(mut lanes: [T; N]) -> T {
    let mut half = N / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
        half /= 2;
    }
    lanes[0]
}

/// What the processor can do, of what functions are compiled for.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    /// What every processor of the target has.
    Plain,
    /// AVX2 and FMA.
    V3,
    /// AVX-512.
    V4,
}

/// Whether the target's every processor multiplies and adds at once.
pub(super) const PLAIN_FMA: bool = cfg!(any(target_arch = "aarch64", target_feature = "fma"));

/// What this processor can do; asked once.
#[cfg(target_arch = "x86_64")]
pub(super) fn level() -> Level {
    static LEVEL: std::sync::OnceLock<Level> = std::sync::OnceLock::new();
    *LEVEL.get_or_init(|| {
        let v3 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        let v4 = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl");
        match (v3, v4) {
            (true, true) => Level::V4,
            (true, false) => Level::V3,
            _ => Level::Plain,
        }
    })
}

/// Compiles a function for each level, and calls the best that the processor has.
///
/// `compiled! { pub fn name<T>(a: A, …) -> R = body; }` where `body::<T, FMA>` is `#[inline(always)]`: inlined into
/// functions of more features, its loops are made with their vectors.
macro_rules! compiled {
    ($($(#[$doc:meta])* $visible:vis fn $name:ident<T>($($arg:ident: $type:ty),* $(,)?) $(-> $result:ty)? = $body:ident;)*) => {$(
        $(#[$doc])*
        $visible fn $name<T: $crate::kernel::real::Real>($($arg: $type),*) $(-> $result)? {
            #[cfg(target_arch = "x86_64")]
            {
                use $crate::kernel::real::{Level, level};

                #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]
                fn v4<T: $crate::kernel::real::Real>($($arg: $type),*) $(-> $result)? {
                    $body::<T, true>($($arg),*)
                }

                #[target_feature(enable = "avx2,fma")]
                fn v3<T: $crate::kernel::real::Real>($($arg: $type),*) $(-> $result)? {
                    $body::<T, true>($($arg),*)
                }

                match level() {
                    // SAFETY: the processor was asked for every feature that the function is compiled with.
                    Level::V4 => return unsafe { v4($($arg),*) },
                    // SAFETY: as above.
                    Level::V3 => return unsafe { v3($($arg),*) },
                    Level::Plain => {}
                }
            }
            $body::<T, { $crate::kernel::real::PLAIN_FMA }>($($arg),*)
        }
    )*};
}

pub(super) use compiled;
