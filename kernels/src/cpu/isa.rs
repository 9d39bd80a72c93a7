//! One text, three machine codes: how operations are compiled for each instruction set.
//!
//! A function made by [`versions!`] is written once, in plain Rust over slices and arrays, and
//! compiled three times; the right one is taken at run time. Since each version does the same IEEE
//! operations in the same order, with `mul_add` where a product is fused, all give the same bits.

/// Makes `fn name(isa, …)` out of a body that is compiled for each instruction set.
///
/// What the body calls must be `#[inline(always)]`, or it is compiled for the plainest machine.
macro_rules! versions {
    ($(#[$meta:meta])* $vis:vis fn $name:ident $(<$($generic:ident : $bound:path),+>)? (
        $($arg:ident : $type:ty),* $(,)?
    ) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments, reason = "one more than the author wrote: the set")]
        $vis fn $name $(<$($generic: $bound),+>)? (
            isa: $crate::machine::Isa, $($arg: $type),*
        ) $(-> $ret)? {
            #[inline(always)]
            fn plain $(<$($generic: $bound),+>)? ($($arg: $type),*) $(-> $ret)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma")]
            fn avx512 $(<$($generic: $bound),+>)? ($($arg: $type),*) $(-> $ret)? {
                plain($($arg),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2 $(<$($generic: $bound),+>)? ($($arg: $type),*) $(-> $ret)? {
                plain($($arg),*)
            }

            match isa {
                // SAFETY: an `Isa` above the plainest is only made where the processor has it:
                // `Isa::here` asks, and `Cpu::with_isa` refuses more than that.
                #[cfg(target_arch = "x86_64")]
                $crate::machine::Isa::Avx512 => unsafe { avx512($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                $crate::machine::Isa::Avx2 => unsafe { avx2($($arg),*) },
                _ => plain($($arg),*),
            }
        }
    };
}

pub(crate) use versions;
