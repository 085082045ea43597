//! The heap does what a naive model does, whatever operations come.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod documents;
mod model;

use ak_heap::Heap;
use model::{Model, config, operation};
use proptest::prelude::*;

proptest! {
    #![proptest_config(documents::cases(200))]

    #[test]
    fn the_heap_does_what_the_model_does(ops in prop::collection::vec(operation(), 1..60)) {
        let (mut heap, mut model) = (Heap::new(config()), Model::default());
        for op in &ops {
            model.apply(op, &mut heap);
            model.check(&heap);
        }
    }

    #[test]
    fn the_same_operations_give_the_same_heap(ops in prop::collection::vec(operation(), 1..60)) {
        let run = |digest_each: bool| {
            let (mut heap, mut model) = (Heap::new(config()), Model::default());
            for op in &ops {
                model.apply(op, &mut heap);
                if digest_each {
                    heap.digest();
                }
            }
            (heap.digest(), heap.snapshot())
        };
        prop_assert_eq!(run(true), run(false));
    }
}
