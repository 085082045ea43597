//! The entropy of the kernel's inputs: drawn from a generator that the system's random source seeds, so that not every input
//! costs a system call.
//!
//! The generator is ChaCha20 (RFC 8439) with fast key erasure (Bernstein, 2017): a key yields one block of output, whose first 32
//! bytes replace the key and whose rest is handed out once, and overwritten. So nobody who reads the memory later learns what was
//! handed out before. It is seeded anew after [`SEED_DRAWS`] draws, and in a forked child, which has a copy of its parent's state.
//! What a replay needs is in the journal: an input that uses entropy is recorded with it. Keys that outlive a process (of the
//! vault, of tokens, of checkpoints) come from the system itself.

use std::cell::RefCell;

use chacha20::{
    ChaCha20,
    cipher::{KeyIvInit, StreamCipher},
};
use zeroize::Zeroize;

use crate::fork::ProcessIdentity;

/// How many draws one seed serves.
const SEED_DRAWS: u32 = 4_096;
/// How many draws one key serves.
const BLOCK_DRAWS: usize = 31;
/// Bytes of one draw, and of a key.
const DRAW_BYTES: usize = 32;

/// Returns 32 bytes, which nobody else gets.
///
/// # Errors
/// When the system has no random source.
pub(crate) fn draw() -> Result<[u8; DRAW_BYTES], getrandom::Error> {
    thread_local! {
        static GENERATOR: RefCell<Option<Generator>> = const { RefCell::new(None) };
    }
    GENERATOR.with_borrow_mut(|generator| {
        let process = ProcessIdentity::current();
        if !generator.as_ref().is_some_and(|generator| generator.serves(process)) {
            let mut seed = [0; DRAW_BYTES];
            getrandom::fill(&mut seed)?;
            *generator = Some(Generator::new(seed, process));
            seed.zeroize();
        }
        // It was just put there.
        Ok(generator.as_mut().map(Generator::draw).unwrap_or_default())
    })
}

struct Generator {
    process: ProcessIdentity,
    draws_left: u32,
    key: [u8; DRAW_BYTES],
    block: [[u8; DRAW_BYTES]; BLOCK_DRAWS],
    /// How many draws of the block were handed out.
    used: usize,
}

impl Generator {
    fn new(seed: [u8; DRAW_BYTES], process: ProcessIdentity) -> Generator {
        let block = [[0; DRAW_BYTES]; BLOCK_DRAWS];
        Generator { process, draws_left: SEED_DRAWS, key: seed, block, used: BLOCK_DRAWS }
    }

    fn serves(&self, process: ProcessIdentity) -> bool {
        self.draws_left > 0 && self.process == process
    }

    fn draw(&mut self) -> [u8; DRAW_BYTES] {
        if self.used == BLOCK_DRAWS {
            self.refill();
        }
        self.draws_left -= 1;
        let drawn = self.block.get_mut(self.used).map(core::mem::take).unwrap_or_default();
        self.used += 1;
        drawn
    }

    /// Replaces key and block. A key makes one block, so the nonce is always zero.
    fn refill(&mut self) {
        let mut cipher = ChaCha20::new(&self.key.into(), &[0; 12].into());
        self.key = [0; DRAW_BYTES];
        self.block = [[0; DRAW_BYTES]; BLOCK_DRAWS];
        cipher.apply_keystream(&mut self.key);
        cipher.apply_keystream(self.block.as_flattened_mut());
        self.used = 0;
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        self.key.zeroize();
        self.block.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_draw_comes_twice_and_none_is_kept() {
        let mut generator = Generator::new([7; DRAW_BYTES], ProcessIdentity::current());
        let mut seen = BTreeSet::new();
        while generator.serves(ProcessIdentity::current()) {
            let drawn = generator.draw();
            assert!(seen.insert(drawn), "it was drawn before");
            assert!(!generator.block.contains(&drawn) && generator.key != drawn, "it is still there");
        }
        assert_eq!(seen.len(), SEED_DRAWS as usize);
    }

    /// The first block is the keystream of RFC 8439 under the seed, from its 33rd byte on.
    #[test]
    fn draws_are_the_keystream_of_the_seed() {
        let mut stream = [0; 96];
        ChaCha20::new(&[7; DRAW_BYTES].into(), &[0; 12].into()).apply_keystream(&mut stream);
        let mut generator = Generator::new([7; DRAW_BYTES], ProcessIdentity::current());
        assert_eq!([generator.draw(), generator.draw()].as_flattened(), &stream[32..]);
        assert_eq!(generator.key, stream[..32]);
    }

    #[test]
    fn threads_draw_from_seeds_of_their_own() {
        let draws = || (0..100).map(|_| draw().unwrap()).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(draws)).collect();
        let drawn: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        assert_eq!(drawn.iter().collect::<BTreeSet<_>>().len(), 400);
    }
}
