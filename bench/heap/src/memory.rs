//! The memory that stored documents take, as a multiple of their text.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use crate::{content, documents, heap, patches, store};

/// The system's allocator, with a count of the bytes allocated from it.
struct Counting;

static TAKEN: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on unchanged; counting touches no allocated memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        TAKEN.fetch_add(layout.size(), Relaxed);
        // SAFETY: the caller keeps the contract of `GlobalAlloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        TAKEN.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller keeps the contract of `GlobalAlloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Returns the result of `make` and how many bytes it leaves allocated.
fn taken<T>(make: impl FnOnce() -> T) -> (T, usize) {
    let before = TAKEN.load(Relaxed);
    let made = make();
    (made, TAKEN.load(Relaxed).saturating_sub(before))
}

/// Prints a table of multiples.
pub(crate) fn print() {
    println!(
        "\n**Memory, as a multiple of the text**\n\n| | parsed | with its digest | serde_json |\n|---|---:|---:|---:|"
    );
    for (case, items) in documents::SIZES {
        let text = documents::text(items);
        let (value, parsed) = taken(|| content(&text));
        let (_, digested) = taken(|| value.as_json().map(ak_json::Value::digest));
        let (_rival, rival) = taken(|| serde_json::from_str::<serde_json::Value>(&text));
        let multiple = |bytes: usize| format!("{:.2}", bytes as f64 / text.len() as f64);
        println!("| {case} | {} | {} | {} |", multiple(parsed), multiple(parsed + digested), multiple(rival));
    }
    let text = documents::text(10_000);
    let patches = patches(10_000);
    let mut objects = heap();
    let handle = store(&mut objects, &text);
    objects.write(handle, &patches[0], None).expect("the patch applies");
    let (_, version) = taken(|| objects.write(handle, &patches[1], None).expect("the patch applies"));
    println!("\nAnother version of the document of 1 MB, one field changed: {version} B.");
}
