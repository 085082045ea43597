//! The allocator: the heap is the largest free range of RAM.

use core::ops::Range;

use talc::TalcLock;
use talc::source::Manual;

#[global_allocator]
static HEAP: TalcLock<spin::Mutex<()>, Manual> = TalcLock::new(Manual);

/// Gives a range of RAM to the allocator. The image calls it once.
pub(crate) fn claim(range: Range<u64>) {
    let bytes = (range.end - range.start) as usize;
    // SAFETY: `Boot::read` found the range to be RAM that neither image nor module occupies; it is mapped, and nothing else uses it.
    let claimed = unsafe { HEAP.lock().claim(range.start as *mut u8, bytes) };
    assert!(claimed.is_some(), "{bytes} bytes are too little for a heap");
}
