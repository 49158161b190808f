//! The allocator of the process. It is here for no other reason than that calling it is unsafe code, which lives in this crate.

/// Gives free memory back to the system, which glibc by itself does only from the end of its heap. Takes as long as the heap
/// has pages, some milliseconds for a hundred megabytes; other threads may wait for it.
pub fn give_back() {
    // SAFETY: it takes no pointer, and locks the allocator itself
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}
