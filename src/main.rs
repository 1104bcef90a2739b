//! The one binary: everything is in `coretide-cli`; only the allocator is chosen here.

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;

/// Buffers of 4–64 KiB live for very different times, and some are freed by other threads than made them. glibc's heaps
/// keep the holes that this leaves; this one gives them back.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    coretide_cli::main()
}
