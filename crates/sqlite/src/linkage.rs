//! Functions of ours that SQLCipher's C code calls by name.

/// Gives `$function`, an `extern "C" fn`, a second name for C, hidden: `#[no_mangle]` would export it from the addon, where a
/// library of the host could be bound in its place. The linker drops the name unless a `#[used]` static holds it.
macro_rules! called_from_c {
    ($name:literal, $function:ident) => {
        #[cfg(target_arch = "x86_64")]
        core::arch::global_asm!(
            concat!(".globl ", $name),
            concat!(".hidden ", $name),
            concat!($name, ": jmp {function}"),
            function = sym $function,
        );
        #[cfg(target_arch = "aarch64")]
        core::arch::global_asm!(
            concat!(".globl ", $name),
            concat!(".hidden ", $name),
            concat!($name, ": b {function}"),
            function = sym $function,
        );
    };
}

pub(crate) use called_from_c;
