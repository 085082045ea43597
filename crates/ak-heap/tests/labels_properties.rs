//! Labels follow values through patches exactly.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod documents;

use ak_heap::{Content, Heap, HeapConfig, LabelMap, Patch, PatchOp};
use ak_json::{Labels, Pointer, Value, Work, array, object};
use documents::{document, labels, op, replace};
use proptest::prelude::*;

/// A document in which every value carries labels of its own.
#[derive(Clone, Debug)]
struct Tree {
    labels: Labels,
    node: Node,
}

#[derive(Clone, Debug)]
enum Node {
    Scalar,
    Array(Vec<Tree>),
    Object(Vec<(String, Tree)>),
}

impl Tree {
    fn new(value: &Value, labels: Labels) -> Tree {
        let bottom = |value| Tree::new(value, Labels::default());
        let node = match value {
            Value::Array(items) => Node::Array(items.iter().map(bottom).collect()),
            Value::Object(members) => {
                Node::Object(members.iter().map(|(name, value)| (name.to_string(), bottom(value))).collect())
            }
            _ => Node::Scalar,
        };
        Tree { labels, node }
    }

    fn child(&mut self, token: &str) -> &mut Tree {
        match &mut self.node {
            Node::Array(items) => &mut items[token.parse::<usize>().unwrap()],
            Node::Object(members) => &mut members.iter_mut().find(|(name, _)| name == token).unwrap().1,
            Node::Scalar => panic!("no child {token}"),
        }
    }

    fn at(&mut self, pointer: &Pointer) -> &mut Tree {
        pointer.tokens().iter().fold(self, |tree, token| tree.child(token))
    }

    /// The labels of everything below and of this.
    fn below(&self) -> Labels {
        let children: Vec<&Tree> = match &self.node {
            Node::Scalar => vec![],
            Node::Array(items) => items.iter().collect(),
            Node::Object(members) => members.iter().map(|(_, child)| child).collect(),
        };
        children.iter().fold(self.labels.clone(), |labels, child| labels.join(&child.below()))
    }

    /// The labels of everything on the way to a value, and its own.
    fn above(&mut self, pointer: &Pointer) -> Labels {
        let mut joined = self.labels.clone();
        let mut tree = self;
        for token in pointer.tokens() {
            tree = tree.child(token);
            joined.absorb(&tree.labels);
        }
        joined
    }

    fn put(&mut self, path: &Pointer, child: Tree) {
        let Some(parent) = path.parent() else { return *self = child };
        let token = path.last().unwrap();
        match &mut self.at(&parent).node {
            Node::Array(items) if *token == "-" => items.push(child),
            Node::Array(items) => items.insert(token.parse().unwrap(), child),
            Node::Object(members) => match members.iter_mut().find(|(name, _)| *name == **token) {
                Some((_, place)) => *place = child,
                None => members.push((token.to_string(), child)),
            },
            Node::Scalar => panic!("no container at {parent}"),
        }
    }

    fn take(&mut self, path: &Pointer, written: &Labels) -> Tree {
        let token = path.last().unwrap();
        let parent = self.at(&path.parent().unwrap());
        parent.labels.absorb(written);
        match &mut parent.node {
            Node::Array(items) => items.remove(token.parse().unwrap()),
            Node::Object(members) => {
                let position = members.iter().position(|(name, _)| *name == **token).unwrap();
                members.remove(position).1
            }
            Node::Scalar => panic!("nothing at {path}"),
        }
    }

    /// An operation that is known to apply.
    fn apply(&mut self, op: &PatchOp, written: &Labels) {
        match op {
            PatchOp::Add { path, value } => self.put(path, Tree::new(value, written.clone())),
            PatchOp::Replace { path, value } => *self.at(path) = Tree::new(value, written.clone()),
            PatchOp::Remove { path } => drop(self.take(path, written)),
            PatchOp::Move { from, path } if from == path => {}
            PatchOp::Move { from, path } => {
                let carried = self.above(from);
                let mut child = self.take(from, written);
                child.labels.absorb(&carried.join(written));
                self.put(path, child);
            }
            PatchOp::Copy { from, path } => {
                let mut child = self.at(from).clone();
                child.labels.absorb(&self.above(from).join(written));
                self.put(path, child);
            }
            PatchOp::Test { .. } => {}
        }
    }

    fn pointers(&self, here: &Pointer, out: &mut Vec<Pointer>) {
        out.push(here.clone());
        let below = |token: String| {
            let mut pointer = here.clone();
            pointer.push(token);
            pointer
        };
        match &self.node {
            Node::Scalar => {}
            Node::Array(items) => {
                (0..)
                    .zip(items)
                    .for_each(|(index, item): (usize, _)| item.pointers(&below(index.to_string()), out));
            }
            Node::Object(members) => {
                members.iter().for_each(|(name, member)| member.pointers(&below(name.clone()), out));
            }
        }
    }
}

/// Demands that the object's labels are those of the tree, everywhere.
fn agree(heap: &Heap, handle: ak_heap::Handle, tree: &mut Tree) -> Result<(), TestCaseError> {
    let object = heap.read(handle).unwrap();
    prop_assert_eq!(object.labels(), &tree.below());
    let mut pointers = Vec::new();
    tree.pointers(&Pointer::root(), &mut pointers);
    for pointer in pointers {
        let expected = tree.above(&pointer).join(&tree.at(&pointer).below());
        prop_assert_eq!(object.label_map().at(&pointer), expected.clone(), "at \"{}\"", &pointer);
        prop_assert_eq!(object.label_map().subtree(&pointer).joined(), expected, "within \"{}\"", &pointer);
    }
    Ok(())
}

proptest! {
    #![proptest_config(documents::cases(500))]

    #[test]
    fn labels_go_where_their_values_go(document in document(), base in labels(),
                                       patches in prop::collection::vec((op(), labels()), 1..80)) {
        let mut heap = Heap::new(HeapConfig::default());
        let handle = heap.alloc("main", "t", Content::Json(document.clone()), base.clone()).unwrap();
        let mut tree = Tree::new(&document, base);
        for (op, written) in patches {
            let patch = Patch::new(vec![op.clone()]).with_labels(written.clone());
            if heap.write(handle, &patch, None).is_ok() {
                tree.apply(&op, &written);
            }
            agree(&heap, handle, &mut tree)?;
        }
    }

    #[test]
    fn labels_beyond_the_limit_are_joined_and_never_lost(document in document(),
                                       patches in prop::collection::vec((op(), labels()), 1..80)) {
        let mut heap = Heap::new(HeapConfig { labelled_max: 2, ..HeapConfig::default() });
        let mut exact = Heap::new(HeapConfig::default());
        let handle = heap.alloc("main", "t", Content::Json(document.clone()), Labels::default()).unwrap();
        exact.alloc("main", "t", Content::Json(document.clone()), Labels::default()).unwrap();
        for (op, written) in patches {
            let patch = Patch::new(vec![op]).with_labels(written);
            let result = heap.write(handle, &patch, None);
            prop_assert_eq!(&result, &exact.write(handle, &patch, None));
            let (coarse, exact) = (heap.read(handle).unwrap(), exact.read(handle).unwrap());
            prop_assert!(coarse.label_map().subtrees().len() <= 2);
            prop_assert!(exact.labels().flows_to(coarse.labels()));
            for (pointer, labels) in exact.label_map().subtrees() {
                prop_assert!(labels.flows_to(&coarse.label_map().at(pointer)));
            }
        }
    }
}

#[test]
fn history_keeps_the_labels_of_its_time() {
    let mut heap = Heap::new(HeapConfig::default());
    let handle = heap.alloc("main", "t", Content::Json(object! { "a": 1 }), Labels::untrusted()).unwrap();
    heap.write(handle, &replace("", 2), None).unwrap();
    assert!(heap.read(handle).unwrap().labels().is_bottom());
    assert_eq!(heap.read_at(handle, 0).unwrap().labels(), &Labels::untrusted());
}

#[test]
fn only_relabelling_lowers_what_stays() {
    let mut heap = Heap::new(HeapConfig::default());
    let body = Pointer::parse("/body").unwrap();
    let map = LabelMap::default().with(body.clone(), &Labels::untrusted());
    let content = Content::Json(object! { "status": 200, "body": array!["<html>"] });
    let handle = heap.alloc("main", "t", content, map).unwrap();
    assert_eq!(heap.write(handle, &replace("/status", 404), None), Ok(1));
    assert_eq!(heap.read(handle).unwrap().labels(), &Labels::untrusted());
    assert!(heap.read(handle).unwrap().label_map().at(&Pointer::parse("/status").unwrap()).is_bottom());
    let change = heap
        .plan_relabel(handle, &body, &Labels::default(), Some(1), &mut Work::unlimited())
        .unwrap()
        .commit();
    assert_eq!(change.version, 2);
    assert!(heap.read(handle).unwrap().labels().is_bottom());
}
