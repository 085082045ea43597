//! The identity of this process, and values that belong to it: a forked child must not use what its parent opened.
//!
//! A child has copies of the parent's memory and descriptors, but none of its threads. If both used one kernel, two
//! kernels would write one journal, so a child must not use inherited values. A page that the system wipes in a child
//! (`MADV_WIPEONFORK`, Linux 4.14) shows whether a value was inherited. Without such a page the process id shows it,
//! which two processes of different namespaces can share.

use std::{
    mem::ManuallyDrop,
    ops::Deref,
    os::fd::{AsRawFd, BorrowedFd},
    ptr,
    sync::{
        Once,
        atomic::{AtomicI32, AtomicPtr, AtomicU64, Ordering},
    },
};

use ak_kernel::{Code, Failure};

/// Identifies the process in which a value was made, so that a forked child can detect inherited values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessIdentity(u64);

impl ProcessIdentity {
    /// Returns the identity of this process.
    pub fn current() -> ProcessIdentity {
        ProcessIdentity(process_number())
    }

    /// Whether this is the identity of the current process, and not of one from which it was forked.
    pub fn is_current(self) -> bool {
        self.0 == process_number()
    }

    /// # Errors
    /// NOT_CONFIGURED in any other process.
    pub fn check(self) -> Result<(), Failure> {
        if self.is_current() { Ok(()) } else { Err(used_after_fork()) }
    }
}

/// A value that is dropped only in the process that made it. In a child it is leaked: dropping it there could wait for
/// threads that the child does not have, or end what the parent still uses.
#[derive(Debug)]
pub(crate) struct ProcessOwned<T> {
    value: ManuallyDrop<T>,
    process: ProcessIdentity,
}

impl<T> ProcessOwned<T> {
    pub(crate) fn new(value: T) -> ProcessOwned<T> {
        ProcessOwned { value: ManuallyDrop::new(value), process: ProcessIdentity::current() }
    }

    pub(crate) fn process(&self) -> ProcessIdentity {
        self.process
    }
}

impl<T> Deref for ProcessOwned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: Clone> Clone for ProcessOwned<T> {
    fn clone(&self) -> ProcessOwned<T> {
        ProcessOwned { value: self.value.clone(), process: self.process }
    }
}

impl<T> Drop for ProcessOwned<T> {
    fn drop(&mut self) {
        if self.process.is_current() {
            #[expect(unsafe_code, reason = "whether a value is dropped is decided at its end")]
            // SAFETY: the value is dropped only here, and not used afterwards.
            unsafe {
                ManuallyDrop::drop(&mut self.value);
            }
        }
    }
}

/// A value that each process makes for itself at first use, and keeps until it ends. Access takes no lock, because
/// another thread could hold it at the moment of a fork.
#[derive(Debug)]
pub struct PerProcess<T> {
    made: AtomicPtr<(ProcessIdentity, T)>,
}

impl<T: Send + Sync + 'static> PerProcess<T> {
    /// Creates an empty cell; the value is made at first use.
    #[must_use]
    pub const fn new() -> PerProcess<T> {
        PerProcess { made: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Returns the value of this process, made by `make` at first use. When two threads make one at once, both get the
    /// one that was stored first, and the other is dropped.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn get<E>(&'static self, make: impl FnOnce() -> Result<T, E>) -> Result<&'static T, E> {
        let known = self.made.load(Ordering::Acquire);
        if let Some(value) = value_of_this_process(known) {
            return Ok(value);
        }
        let made = Box::into_raw(Box::new((ProcessIdentity::current(), make()?)));
        let faster = self.made.compare_exchange(known, made, Ordering::AcqRel, Ordering::Acquire).err();
        if let Some(value) = faster.and_then(value_of_this_process) {
            #[expect(unsafe_code, reason = "the box was taken apart above")]
            // SAFETY: the pointer comes from `Box::into_raw`, and no other code has it.
            drop(unsafe { Box::from_raw(made) });
            return Ok(value);
        }
        #[expect(unsafe_code, reason = "a reference to what is leaked")]
        // SAFETY: the pointer comes from a box, which is never freed from here on.
        Ok(unsafe { &(*made).1 })
    }
}

/// Returns the value behind the pointer of a [`PerProcess`], if this process made it.
fn value_of_this_process<T>(made: *mut (ProcessIdentity, T)) -> Option<&'static T> {
    #[expect(unsafe_code, reason = "a reference to what was leaked")]
    // SAFETY: a pointer other than null comes from a box that was leaked after its value was complete.
    let found: Option<&'static (ProcessIdentity, T)> = unsafe { made.as_ref() };
    found.filter(|(process, _)| process.is_current()).map(|(_, value)| value)
}

impl<T: Send + Sync + 'static> Default for PerProcess<T> {
    fn default() -> PerProcess<T> {
        PerProcess::new()
    }
}

fn used_after_fork() -> Failure {
    let message = "this session was opened before the process forked and belongs to the parent process; open one in the child, \
                   after the fork (with multiprocessing in the worker or its initializer, in a server in its post-fork hook)";
    Failure::new(Code::NotConfigured, message)
}

/// Returns a number that distinguishes this process from its parents and children.
fn process_number() -> u64 {
    let page = page();
    if page.is_null() {
        return u64::from(std::process::id());
    }
    #[expect(unsafe_code, reason = "the page is not the allocator's")]
    // SAFETY: `page` returns null or the start of a page that stays mapped, is aligned, and is used for nothing else.
    let number = unsafe { &*page };
    match number.load(Ordering::Relaxed) {
        // The page was wiped, so this is a child: it takes the number after its parent's.
        0 => {
            let next = NEWEST.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
            let set = number.compare_exchange(0, next, Ordering::Relaxed, Ordering::Relaxed);
            set.map_or_else(|other| other, |_| next)
        }
        number => number,
    }
}

/// The newest number in use. A child inherits it and continues from it.
static NEWEST: AtomicU64 = AtomicU64::new(0);

/// Returns the page that the system wipes in a child; null when the system does not support that.
#[expect(unsafe_code, reason = "mapping memory has no safe wrapper")]
fn page() -> *const AtomicU64 {
    const PAGE_BYTES: usize = 4096;
    static PAGE: AtomicPtr<AtomicU64> = AtomicPtr::new(ptr::null_mut());
    // Takes no lock, because another thread could hold it at the moment of a fork.
    let missing: *mut AtomicU64 = ptr::without_provenance_mut(align_of::<AtomicU64>());
    let known = PAGE.load(Ordering::Acquire);
    if !known.is_null() {
        return if known == missing { ptr::null() } else { known };
    }
    // SAFETY: a new anonymous mapping at an address of the system's choice overlaps no other memory.
    let mapped = unsafe {
        libc::mmap(
            ptr::null_mut(),
            PAGE_BYTES,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    // SAFETY: the advice concerns only the page that was just mapped, which no other code uses.
    let wiped = mapped != libc::MAP_FAILED
        && unsafe { libc::madvise(mapped, PAGE_BYTES, libc::MADV_WIPEONFORK) } == 0;
    let found = if wiped { mapped.cast() } else { missing };
    match PAGE.compare_exchange(ptr::null_mut(), found, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => page(),
        Err(_) => {
            if mapped != libc::MAP_FAILED {
                // SAFETY: another thread stored its page first; no other code uses this one.
                unsafe { libc::munmap(mapped, PAGE_BYTES) };
            }
            page()
        }
    }
}

/// Maximum number of descriptors that are closed in a child.
const CLOSED_MAX: usize = 1_024;

/// The descriptors to close in a child; a negative number marks a free slot.
static CLOSED: [AtomicI32; CLOSED_MAX] = [const { AtomicI32::new(-1) }; CLOSED_MAX];

/// Marks a descriptor that a forked child must not keep: in the child it is redirected to `/dev/null`. So a lock ends
/// with its holder, and a connection with its client, even if a child lives on. Declare the mark before the owner of
/// the descriptor, so that it is dropped before the descriptor is closed.
#[derive(Debug)]
pub(crate) struct ClosedInChild(Option<usize>);

impl ClosedInChild {
    /// Marks a descriptor. A child keeps those beyond [`CLOSED_MAX`] open.
    pub(crate) fn new(file: BorrowedFd<'_>) -> ClosedInChild {
        static AT_FORK: Once = Once::new();
        AT_FORK.call_once(register_fork_handler);
        let fd = file.as_raw_fd();
        let taken =
            |slot: &AtomicI32| slot.compare_exchange(-1, fd, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        ClosedInChild(CLOSED.iter().position(taken))
    }
}

impl Drop for ClosedInChild {
    fn drop(&mut self) {
        if let Some(slot) = self.0.and_then(|slot| CLOSED.get(slot)) {
            slot.store(-1, Ordering::Relaxed);
        }
    }
}

#[expect(unsafe_code, reason = "registering for forks has no safe wrapper")]
fn register_fork_handler() {
    // SAFETY: the handler only makes system calls and reads atomics, which is allowed in a child of a process with
    // threads.
    unsafe { libc::pthread_atfork(None, None, Some(close_in_child)) };
}

/// Runs in a forked child before any other code.
#[expect(unsafe_code, reason = "system calls that the standard library makes only with allocations")]
extern "C" fn close_in_child() {
    // SAFETY: the path is a constant C string.
    let null = unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) };
    if null < 0 {
        return;
    }
    for fd in CLOSED.iter().map(|slot| slot.load(Ordering::Relaxed)).filter(|fd| *fd >= 0) {
        // SAFETY: `fd` is open and stays open; its owner in the child then owns a descriptor of /dev/null.
        unsafe { libc::dup3(null, fd, libc::O_CLOEXEC) };
    }
    // SAFETY: the descriptor was opened here, and no other code uses it.
    unsafe { libc::close(null) };
}

#[cfg(test)]
mod tests {
    use std::{
        os::fd::AsFd,
        sync::{Arc, Barrier, Mutex},
        thread,
    };

    use super::*;

    /// Runs `work` in a child, and returns the child's exit code: 0 when `work` returned true.
    #[expect(unsafe_code, reason = "a test forks")]
    fn in_a_child(work: impl FnOnce() -> bool) -> i32 {
        // SAFETY: the child runs `work` and ends; before that it allocates nothing and takes no lock that another
        // thread may hold.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let code = i32::from(!work());
            // SAFETY: the child ends here, without running the exit handlers of its parent.
            unsafe { libc::_exit(code) };
        }
        let mut status = 0;
        // SAFETY: it waits for the child that was just forked.
        unsafe { libc::waitpid(child, &mut status, 0) };
        libc::WEXITSTATUS(status)
    }

    #[test]
    fn a_child_and_a_grandchild_have_identities_of_their_own() {
        let process = ProcessIdentity::current();
        assert!(process.is_current());
        let exit_code = in_a_child(|| {
            let own = ProcessIdentity::current();
            let grandchild = in_a_child(|| {
                !own.is_current() && !process.is_current() && ProcessIdentity::current().is_current()
            });
            !process.is_current() && own.is_current() && grandchild == 0
        });
        assert_eq!(exit_code, 0);
        assert!(process.is_current(), "the parent stays what it was");
    }

    #[test]
    fn threads_that_make_the_value_of_a_process_at_once_share_one() {
        static MADE: PerProcess<Arc<()>> = PerProcess::new();
        let (both_make, given) = (Barrier::new(2), Mutex::new(Vec::new()));
        let ask = || {
            let make = || {
                let value = Arc::new(());
                given.lock().unwrap().push(Arc::downgrade(&value));
                both_make.wait();
                Ok::<_, ()>(value)
            };
            MADE.get(make).unwrap()
        };
        let (one, other) = thread::scope(|scope| {
            let other = scope.spawn(ask);
            (ask(), other.join().unwrap())
        });
        assert!(std::ptr::eq(one, other));
        let alive = given.lock().unwrap().iter().filter(|made| made.upgrade().is_some()).count();
        assert_eq!(alive, 1, "of two that were made, one is dropped");
    }

    #[test]
    fn a_marked_descriptor_is_redirected_in_a_child() {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let kept = ClosedInChild::new(ours.as_fd());
        let exit_code = in_a_child(|| {
            let stat = rustix::fs::fstat(&ours).unwrap();
            rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::CharacterDevice
        });
        assert_eq!(exit_code, 0);
        drop(kept);
        let exit_code = in_a_child(|| {
            let stat = rustix::fs::fstat(&theirs).unwrap();
            rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Socket
        });
        assert_eq!(exit_code, 0);
    }
}
