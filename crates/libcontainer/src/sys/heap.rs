// SPDX-License-Identifier: Apache-2.0
//! The memory of a short life. A runtime allocates some hundred small pieces, most of them once, and
//! ends; musl's own allocator pays for each group of them with mmap, a page fault and munmap, which
//! was a tenth of a whole `run`.
//!
//! A piece is cut off the end of a chunk; one that is given back waits in a list of its size for the
//! next of that size, so that what runs for long does not grow. Nothing small goes back to the kernel.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::UnsafeCell;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

/// All pieces begin at a multiple of this.
const ALIGN: usize = 16;
/// Taken from the kernel at a time, with its pages: one call costs less than a fault for each.
const CHUNK: usize = 64 << 10;
/// The first is enough for those that end soon, as does who starts itself again (`protect.rs`).
const FIRST: usize = 16 << 10;
/// What is longer has pages of its own.
const LONGEST: usize = 16 << 10;
/// Two sizes to each power of two: 16, 32, 48, 64, 96, 128, ... up to [`LONGEST`].
const SIZES: usize = 20;

/// The allocator of the program: see [`GlobalAlloc`].
pub struct Heap {
    busy: AtomicBool,
    pieces: UnsafeCell<Pieces>,
}

struct Pieces {
    /// What is left of the last chunk.
    next: usize,
    end: usize,
    /// Pieces that were given back, by size; the first word of each is the next one's address.
    free: [usize; SIZES],
}

// SAFETY: `pieces` is reached through `with` alone, one thread at a time.
unsafe impl Sync for Heap {}

impl Heap {
    /// An empty heap.
    #[must_use]
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        Self {
            busy: AtomicBool::new(false),
            pieces: UnsafeCell::new(Pieces { next: 0, end: 0, free: [0; SIZES] }),
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Pieces) -> T) -> T {
        while self.busy.compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
            std::hint::spin_loop();
        }
        // SAFETY: whoever has set `busy` is alone until it clears it; `work` does not come back here.
        let done = work(unsafe { &mut *self.pieces.get() });
        self.busy.store(false, Ordering::Release);
        done
    }
}

impl Pieces {
    fn take(&mut self, class: usize) -> *mut u8 {
        let first = self.free[class];
        if first != 0 {
            // SAFETY: a piece of this list was cut by us, is at least a word long, belongs to nobody, and
            // its first word was written by `give`.
            self.free[class] = unsafe { *(first as *const usize) };
            return first as *mut u8;
        }
        let size = size_of_class(class);
        if self.end - self.next < size {
            let length = if self.end == 0 { FIRST.max(size.next_multiple_of(4096)) } else { CHUNK };
            let chunk = pages(length, libc::MAP_POPULATE);
            if chunk.is_null() {
                return chunk;
            }
            (self.next, self.end) = (chunk as usize, chunk as usize + length);
        }
        self.next += size;
        (self.next - size) as *mut u8
    }

    fn give(&mut self, piece: *mut u8, class: usize) {
        // SAFETY: the piece is one of ours, at least a word long and aligned for it, and its owner has
        // just given it up.
        unsafe { *piece.cast::<usize>() = self.free[class] };
        self.free[class] = piece as usize;
    }
}

/// Which size a piece of `size` bytes gets: the least that is enough.
fn class_of(size: usize) -> usize {
    if size <= ALIGN {
        return 0;
    }
    // The power of two at or above, and whether three quarters of it are enough.
    let power = (usize::BITS - (size - 1).leading_zeros()) as usize;
    let less = power > 5 && size <= 3 << (power - 2);
    (power - 4) * 2 - 1 - usize::from(less)
}

fn size_of_class(class: usize) -> usize {
    match class {
        0 => ALIGN,
        // 1 is 32, 2 is 48, 3 is 64, 4 is 96, ...
        odd if odd % 2 == 1 => ALIGN << odd.div_ceil(2),
        even => (3 * ALIGN) << (even / 2 - 1),
    }
}

fn is_long(layout: Layout) -> bool {
    layout.size() > LONGEST || layout.align() > ALIGN
}

fn pages(length: usize, how: i32) -> *mut u8 {
    let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping where the kernel likes; it touches no memory that anybody has.
    let at = unsafe { libc::mmap(ptr::null_mut(), length, access, flags | how, -1, 0) };
    if at == libc::MAP_FAILED { ptr::null_mut() } else { at.cast() }
}

// SAFETY: a piece is as long as asked, aligned to `ALIGN` (what wants more has pages, and nobody asks
// for more than a page's alignment), and belongs to one owner until `dealloc`. Nothing here unwinds.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() > 4096 {
            return ptr::null_mut();
        }
        match is_long(layout) {
            true => pages(layout.size(), 0),
            false => self.with(|pieces| pieces.take(class_of(layout.size()))),
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is ours.
        let piece = unsafe { self.alloc(layout) };
        // New pages are zero.
        if !piece.is_null() && !is_long(layout) {
            // SAFETY: the piece is that long, and nobody else has it.
            unsafe { ptr::write_bytes(piece, 0, layout.size()) };
        }
        piece
    }

    unsafe fn dealloc(&self, piece: *mut u8, layout: Layout) {
        match is_long(layout) {
            // SAFETY: these pages were mapped for it, whole and alone.
            true => drop(unsafe { libc::munmap(piece.cast(), layout.size()) }),
            false => self.with(|pieces| pieces.give(piece, class_of(layout.size()))),
        }
    }

    unsafe fn realloc(&self, piece: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller promises that `size`, rounded up to the alignment, is no overflow.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        match (is_long(layout), is_long(wanted)) {
            (false, false) if class_of(layout.size()) == class_of(size) => return piece,
            (true, true) if layout.align() <= ALIGN => {
                // SAFETY: these pages were mapped for it; the kernel moves them with what is in them.
                let at = unsafe { libc::mremap(piece.cast(), layout.size(), size, libc::MREMAP_MAYMOVE) };
                return if at == libc::MAP_FAILED { ptr::null_mut() } else { at.cast() };
            }
            _ => {}
        }
        // SAFETY: as for `alloc`; both pieces are at least as long as what is copied, and apart.
        unsafe {
            let new = self.alloc(wanted);
            if !new.is_null() {
                ptr::copy_nonoverlapping(piece, new, layout.size().min(size));
                self.dealloc(piece, layout);
            }
            new
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_has_the_least_class_that_holds_it() {
        for size in 1..=LONGEST {
            let class = class_of(size);
            assert!(class < SIZES && size_of_class(class) >= size, "{size}: {class}");
            assert!(class == 0 || size_of_class(class - 1) < size, "{size}: {class}");
            assert_eq!(size_of_class(class) % ALIGN, 0);
        }
        assert_eq!(class_of(LONGEST), SIZES - 1);
    }

    #[test]
    fn pieces_are_apart_keep_what_is_in_them_and_come_again() {
        let heap = Heap::new();
        let layout = |size| Layout::from_size_align(size, 8).unwrap();
        // SAFETY: each piece is used within its length and given back once with its own layout.
        unsafe {
            let sizes = [1, 16, 17, 100, 4096, LONGEST, LONGEST + 1, 1 << 20];
            let pieces: Vec<*mut u8> = sizes.iter().map(|size| heap.alloc(layout(*size))).collect();
            for (n, (piece, size)) in pieces.iter().zip(sizes).enumerate() {
                ptr::write_bytes(*piece, n as u8 + 1, size);
                assert_eq!(*piece as usize % ALIGN, 0);
            }
            for (n, (piece, size)) in pieces.iter().zip(sizes).enumerate() {
                let (first, last) = (**piece, *piece.add(size - 1));
                assert_eq!((first, last), (n as u8 + 1, n as u8 + 1), "{size}");
                heap.dealloc(*piece, layout(size));
            }
            let again = heap.alloc(layout(110));
            assert_eq!(again, pieces[3], "one of its size was free");
            // Grows through every kind of size, and keeps its text.
            let mut piece = heap.alloc_zeroed(layout(5));
            ptr::copy_nonoverlapping(b"hello".as_ptr(), piece, 5);
            for (from, to) in [(5, 7), (7, 300), (300, 40_000), (40_000, 90_000), (90_000, 20), (20, 5)] {
                piece = heap.realloc(piece, layout(from), to);
                assert_eq!(std::slice::from_raw_parts(piece, 5), b"hello");
            }
            let wide = Layout::from_size_align(64, 64).unwrap();
            let piece = heap.alloc(wide);
            assert_eq!(piece as usize % 64, 0);
            heap.dealloc(piece, wide);
        }
    }
}
