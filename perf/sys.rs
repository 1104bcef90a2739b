//! The few calls that the standard library has no words for.

#![allow(unsafe_code)]

/// Lets the thread's sleeps end when they should: without it the kernel may add 50 µs.
pub fn precise_sleep() {
    // SAFETY: PR_SET_TIMERSLACK takes one number and touches no memory of ours.
    let done = unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1) };
    assert_eq!(done, 0, "every thread may set its own timer slack");
}
