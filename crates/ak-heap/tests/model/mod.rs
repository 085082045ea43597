//! The heap as naively as can be: every object with everything it ever held, counted anew for each question.
#![allow(dead_code, reason = "each test takes what it needs")]

use ak_heap::{
    Absence, BatchError, BatchOp, Change, Content, Created, Handle, Heap, HeapConfig, HeapError, LabelMap,
    Patch, PatchError, PatchOp, PatchReason, Quota, Target, Usage,
};
use ak_json::{Labels, Pointer, Value, Work, object};
use proptest::prelude::*;

use crate::documents::{document, labels, op, pointer};

/// A heap so small that every limit is met soon.
pub(crate) fn config() -> HeapConfig {
    HeapConfig {
        objects_max: 5,
        bytes_max: 300,
        history_max: 2,
        tombstones_max: 2,
        tombstone_bytes_max: 60,
        patch_ops_max: 3,
        batch_ops_max: 4,
        ..HeapConfig::default()
    }
}

/// Operations on objects named by the order of their creation.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Alloc {
        owner: &'static str,
        type_name: &'static str,
        content: Content,
        labels: Labels,
    },
    Write {
        object: usize,
        patch: Patch,
        expected: Option<u64>,
    },
    Delete {
        object: usize,
        expected: Option<u64>,
    },
    Relabel {
        object: usize,
        subtree: Pointer,
        labels: Labels,
    },
    Erase {
        object: usize,
    },
    Batch(Vec<Step>),
    /// Registers type `t` in a scope: for all but strings, or for everything.
    Register {
        scope: &'static str,
        strict: bool,
    },
    /// Takes type `t` out of a scope.
    Unregister {
        scope: &'static str,
    },
    /// Goes on with a heap restored from this one's bytes.
    Restore,
    /// Goes on with a clone, while the original is dropped.
    Clone,
}

/// An operation of a batch.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Alloc { content: Value, link: Option<(Pointer, usize)> },
    Write { target: StepTarget, patch: Patch, link: Option<(Pointer, usize)> },
    Delete { target: StepTarget, expected: Option<u64> },
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum StepTarget {
    Object(usize),
    Created(usize),
}

fn content() -> impl Strategy<Value = Content> {
    prop_oneof![
        5 => document().prop_map(Content::Json),
        1 => prop::collection::vec(any::<u8>(), 0..20).prop_map(|raw| Content::Raw(raw.into())),
    ]
}

fn patch() -> impl Strategy<Value = Patch> {
    let whole = document().prop_map(|value| PatchOp::Replace { path: Pointer::root(), value });
    prop::collection::vec(prop_oneof![1 => whole, 3 => op()], 0..5).prop_map(Patch::new)
}

fn expected() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![3 => Just(None), 1 => (0u64..4).prop_map(Some)]
}

fn link() -> impl Strategy<Value = Option<(Pointer, usize)>> {
    prop::option::weighted(0.3, (pointer(), 0usize..3))
}

pub(crate) fn operation() -> impl Strategy<Value = Op> {
    let target =
        || prop_oneof![(0usize..8).prop_map(StepTarget::Object), (0usize..3).prop_map(StepTarget::Created)];
    let step = prop_oneof![
        (document(), link()).prop_map(|(content, link)| Step::Alloc { content, link }),
        (target(), patch(), link()).prop_map(|(target, patch, link)| Step::Write { target, patch, link }),
        (target(), expected()).prop_map(|(target, expected)| Step::Delete { target, expected }),
    ];
    let owner = prop::sample::select(vec!["main", "main/worker", "mainly"]);
    let scope = || prop::sample::select(vec!["", "", "main", "main/worker", "main/worker/x", "mai"]);
    let type_name = prop::sample::select(vec!["t", "u", ""]);
    prop_oneof![
        6 => (owner, type_name, content(), labels())
            .prop_map(|(owner, type_name, content, labels)| Op::Alloc { owner, type_name, content, labels }),
        8 => (0usize..8, patch(), labels(), expected()).prop_map(|(object, patch, labels, expected)| {
            Op::Write { object, patch: patch.with_labels(labels), expected }
        }),
        3 => (0usize..8, expected()).prop_map(|(object, expected)| Op::Delete { object, expected }),
        1 => (0usize..8, pointer(), labels())
            .prop_map(|(object, subtree, labels)| Op::Relabel { object, subtree, labels }),
        1 => (0usize..8).prop_map(|object| Op::Erase { object }),
        3 => prop::collection::vec(step, 0..5).prop_map(Op::Batch),
        1 => (scope(), any::<bool>()).prop_map(|(scope, strict)| Op::Register { scope, strict }),
        1 => scope().prop_map(|scope| Op::Unregister { scope }),
        1 => Just(Op::Restore),
        1 => Just(Op::Clone),
    ]
}

#[derive(Clone, Debug)]
pub(crate) struct Object {
    pub(crate) handle: Handle,
    owner: String,
    type_name: String,
    /// Every content it ever had; the version is the position.
    contents: Vec<Content>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Live,
    /// Deleted, so many deletions after the first.
    Dead(usize),
    Forgotten,
}

/// All objects there ever were, in the order of creation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) objects: Vec<Object>,
    deaths: usize,
    /// Where type `t` is registered, and whether it is JSON but no strings there, or anything that is JSON.
    types: Vec<(&'static str, bool)>,
}

fn size(content: &Content) -> u64 {
    match content {
        Content::Json(value) => value.to_json().len() as u64,
        Content::Raw(raw) => raw.len() as u64,
    }
}

impl Object {
    fn version(&self) -> u64 {
        self.contents.len() as u64 - 1
    }

    /// The contents that can be read.
    fn kept(&self) -> &[Content] {
        &self.contents[self.contents.len().saturating_sub(config().history_max + 1)..]
    }

    fn bytes(&self) -> u64 {
        self.kept().iter().map(size).sum()
    }
}

/// A handle that never was.
fn no_handle(object: usize) -> Handle {
    Handle::from_raw(u64::MAX - object as u64)
}

impl Model {
    fn usage(&self, of: impl Fn(&Object) -> bool) -> Usage {
        let counted = self.objects.iter().filter(|object| of(object));
        counted.fold(Usage::default(), |usage, object| Usage {
            objects: usage.objects + 1,
            bytes: usage.bytes + object.bytes(),
        })
    }

    fn live(&self, handle: Handle) -> Result<usize, HeapError> {
        let absence = match self.objects.iter().position(|object| object.handle == handle) {
            None => Absence::Unknown,
            Some(position) => match self.objects[position].state {
                State::Live => return Ok(position),
                State::Dead(_) => Absence::Deleted { version: Some(self.objects[position].version() + 1) },
                State::Forgotten => Absence::Deleted { version: None },
            },
        };
        Err(HeapError::NotFound { handle, absence })
    }

    pub(crate) fn handle(&self, object: usize) -> Handle {
        self.objects.get(object).map_or(no_handle(object), |object| object.handle)
    }

    fn check_bytes(&self) -> Result<(), HeapError> {
        let max = config().bytes_max;
        let bytes = self.usage(|object| object.state == State::Live).bytes;
        if bytes > max { Err(HeapError::Quota { quota: Quota::Bytes, max }) } else { Ok(()) }
    }

    /// The handle of the next object: the first place whose objects are all forgotten, and how many they were.
    fn next_handle(&self) -> Handle {
        let at =
            |index: u64| self.objects.iter().filter(move |object| object.handle.raw() % (1 << 32) == index);
        let vacant = |index: &u64| at(*index).all(|object| object.state == State::Forgotten);
        let index = (0..).find(vacant).unwrap();
        Handle::from_raw((at(index).count() as u64 + 1) << 32 | index)
    }

    fn alloc(&mut self, owner: &str, type_name: &str, content: Content) -> Result<(), HeapError> {
        if type_name.is_empty() {
            return Err(HeapError::Name("type name"));
        }
        self.check_type(owner, type_name, &content)?;
        let max = config().objects_max;
        if self.usage(|object| object.state == State::Live).objects == max {
            return Err(HeapError::Quota { quota: Quota::Objects, max });
        }
        self.objects.push(Object {
            handle: self.next_handle(),
            owner: owner.into(),
            type_name: type_name.into(),
            contents: vec![content],
            state: State::Live,
        });
        self.check_bytes()
    }

    fn check_type(&self, owner: &str, type_name: &str, content: &Content) -> Result<(), HeapError> {
        let binds =
            |scope: &str| scope.is_empty() || owner == scope || owner.starts_with(&format!("{scope}/"));
        let mut schemas = self.types.iter().filter(|(scope, _)| type_name == "t" && binds(scope)).peekable();
        let keyword = match content {
            Content::Raw(_) if schemas.peek().is_some() => "type",
            Content::Json(Value::String(_)) if schemas.any(|(_, strict)| *strict) => "not",
            Content::Raw(_) | Content::Json(_) => return Ok(()),
        };
        Err(HeapError::Schema {
            type_name: "t".into(),
            instance_path: String::new(),
            keyword: keyword.into(),
        })
    }

    fn expect(&self, handle: Handle, expected: Option<u64>) -> Result<usize, HeapError> {
        let position = self.live(handle)?;
        let actual = self.objects[position].version();
        match expected {
            Some(expected) if expected != actual => Err(HeapError::Conflict { handle, expected, actual }),
            _ => Ok(position),
        }
    }

    fn push(&mut self, position: usize, content: Content) -> Result<(), HeapError> {
        self.objects[position].contents.push(content);
        self.check_bytes()
    }

    fn write(&mut self, handle: Handle, patch: &Patch, expected: Option<u64>) -> Result<(), HeapError> {
        let position = self.expect(handle, expected)?;
        let Some(Content::Json(document)) = self.objects[position].contents.last() else {
            return Err(HeapError::NotJson { handle });
        };
        if patch.ops().len() > config().patch_ops_max {
            let reason = PatchReason::Operations { max: config().patch_ops_max };
            return Err(HeapError::Patch(PatchError { index: None, path: String::new(), reason }));
        }
        let patched = Content::Json(patch.apply(document, &config().content, &mut Work::unlimited())?);
        self.check_type(&self.objects[position].owner, &self.objects[position].type_name, &patched)?;
        self.push(position, patched)
    }

    fn delete(&mut self, handle: Handle, expected: Option<u64>) -> Result<(), HeapError> {
        let position = self.expect(handle, expected)?;
        self.objects[position].state = State::Dead(self.deaths);
        self.deaths += 1;
        Ok(())
    }

    /// Forgets the oldest tombstones that are too many or too large.
    fn forget(&mut self) {
        loop {
            let dead = self.usage(|object| matches!(object.state, State::Dead(_)));
            if dead.objects <= config().tombstones_max as u64 && dead.bytes <= config().tombstone_bytes_max {
                return;
            }
            let order = |object: &Object| match object.state {
                State::Dead(order) => order,
                State::Live | State::Forgotten => usize::MAX,
            };
            let oldest = self.objects.iter_mut().min_by_key(|object| order(object)).unwrap();
            oldest.state = State::Forgotten;
        }
    }

    /// Applies an operation to both and demands that they agree on its result.
    pub(crate) fn apply(&mut self, op: &Op, heap: &mut Heap) {
        let mut next = self.clone();
        let digest = heap.digest();
        let usage = heap.usage();
        let (image, before) = (heap.image(), heap.snapshot());
        // The heap's result with the changes it names, and the model's.
        let (result, expected): (Result<Vec<Change>, BatchError>, Result<(), BatchError>) = match op.clone() {
            Op::Alloc { owner, type_name, content, labels } => {
                let done = one(heap
                    .plan_alloc(owner, type_name, content.clone(), labels, &mut Work::unlimited())
                    .map(ak_heap::Plan::commit));
                (done, at(0, next.alloc(owner, type_name, content)))
            }
            Op::Write { object, patch, expected } => {
                let handle = self.handle(object);
                let done = one(heap
                    .plan_write(handle, &patch, expected, &mut Work::unlimited())
                    .map(ak_heap::Plan::commit));
                (done, at(0, next.write(handle, &patch, expected)))
            }
            Op::Delete { object, expected } => {
                let handle = self.handle(object);
                let done = one(heap
                    .plan_delete(handle, expected, &mut Work::unlimited())
                    .map(ak_heap::Plan::commit));
                (done, at(0, next.delete(handle, expected)))
            }
            Op::Relabel { object, subtree, labels } => {
                let handle = self.handle(object);
                let done = one(heap
                    .plan_relabel(handle, &subtree, &labels, None, &mut Work::unlimited())
                    .map(ak_heap::Plan::commit));
                let expected = next.live(handle).and_then(|position| {
                    let content = next.objects[position].contents.last().unwrap().clone();
                    next.push(position, content)
                });
                (done, at(0, expected))
            }
            Op::Erase { object } => {
                let handle = self.handle(object);
                let done = one(heap.erase(handle));
                let expected = match next.objects.get_mut(object) {
                    Some(object) if object.state != State::Forgotten => {
                        object.state = State::Forgotten;
                        Ok(())
                    }
                    _ => next.live(handle).map(|_| ()),
                };
                (done, at(0, expected))
            }
            Op::Batch(steps) => {
                let ops: Vec<BatchOp> = steps.iter().map(|step| self.batch_op(step)).collect();
                let done = heap.plan_batch(&ops, &mut Work::unlimited()).map(ak_heap::Plan::commit);
                let expected = next.batch(&steps, self);
                (done, expected)
            }
            Op::Register { scope, strict } => {
                let schema = if strict {
                    object! { "not": object! { "type": "string" } }
                } else {
                    true.into()
                };
                let result = heap.register_type(scope, "t", &schema, &mut Work::unlimited());
                next.types.retain(|(other, _)| *other != scope);
                next.types.push((scope, strict));
                let faulty = self.objects.iter().find(|object| {
                    object.state == State::Live
                        && next
                            .check_type(&object.owner, &object.type_name, object.contents.last().unwrap())
                            .is_err()
                });
                assert_eq!(result.is_ok(), faulty.is_none(), "{result:?}");
                if result.is_ok() {
                    *self = next;
                }
                return;
            }
            Op::Unregister { scope } => {
                let count = next.types.len();
                next.types.retain(|(other, _)| *other != scope);
                assert_eq!(heap.unregister_type(scope, "t"), next.types.len() < count);
                assert_eq!(heap.types().count(), next.types.len());
                *self = next;
                return;
            }
            Op::Restore => {
                let bytes = heap.snapshot();
                *heap = Heap::restore(&bytes, config()).unwrap();
                assert_eq!(heap.snapshot(), bytes);
                (Ok(vec![]), Ok(()))
            }
            Op::Clone => {
                *heap = heap.clone();
                (Ok(vec![]), Ok(()))
            }
        };
        next.forget();
        // Whatever the operation did, an image from before shows the heap as it was.
        let mut bytes = Vec::new();
        image.write(image.digest(), &mut bytes);
        assert_eq!((image.digest(), bytes), (digest, before), "{op:?}");
        match (result, expected) {
            (Ok(changes), Ok(())) => {
                let delta: i64 = changes.iter().map(|change| change.bytes_delta).sum();
                assert_eq!(heap.usage().bytes as i64 - usage.bytes as i64, delta, "{op:?}");
                assert_eq!(heap.digest() == digest, changes.is_empty(), "{op:?}");
                *self = next;
            }
            (Err(error), Err(expected)) => {
                assert_eq!(error, expected, "{op:?}");
                assert_eq!(heap.digest(), digest, "a refused operation changed the heap: {op:?}");
            }
            (result, expected) => panic!("{op:?}: {result:?}, expected {expected:?}"),
        }
    }

    fn batch_op(&self, step: &Step) -> BatchOp {
        let target = |target: &StepTarget| match target {
            StepTarget::Object(object) => Target::Handle(self.handle(*object)),
            StepTarget::Created(step) => Target::Created(Created(*step)),
        };
        let links = |link: &Option<(Pointer, usize)>| {
            link.iter().map(|(pointer, step)| (pointer.clone(), Created(*step))).collect()
        };
        match step {
            Step::Alloc { content, link } => BatchOp::Alloc {
                owner: "main".into(),
                type_name: "t".into(),
                content: Content::Json(content.clone()),
                labels: LabelMap::default(),
                links: links(link),
            },
            Step::Write { target: which, patch, link } => BatchOp::Write {
                target: target(which),
                patch: patch.clone(),
                expected_version: None,
                links: links(link),
            },
            Step::Delete { target: which, expected } => {
                BatchOp::Delete { target: target(which), expected_version: *expected }
            }
        }
    }

    /// `before` is the model as it was before the batch.
    fn batch(&mut self, steps: &[Step], before: &Model) -> Result<(), BatchError> {
        let max = config().batch_ops_max;
        if steps.len() > max {
            return at(max, Err(HeapError::Limit { limit: "operations in a batch", max: max as u64 }));
        }
        let mut created: Vec<Option<Handle>> = Vec::new();
        for (index, step) in steps.iter().enumerate() {
            let find = |step: usize| match created.get(step) {
                Some(Some(handle)) => Ok(*handle),
                _ => Err(HeapError::NotCreated { operation: step }),
            };
            let target = |target: &StepTarget| match target {
                StepTarget::Object(object) => Ok(before.handle(*object)),
                StepTarget::Created(step) => find(*step),
            };
            let linked = |patch: &Patch, link: &Option<(Pointer, usize)>| {
                let mut ops = patch.ops().to_vec();
                if let Some((path, step)) = link {
                    ops.push(PatchOp::Add { path: path.clone(), value: find(*step)?.to_string().into() });
                }
                Ok::<_, HeapError>(Patch::new(ops))
            };
            let mut new = None;
            let result = match step {
                Step::Alloc { content, link } => linked(&Patch::new(vec![]), link).and_then(|patch| {
                    let content =
                        Content::Json(patch.apply(content, &config().content, &mut Work::unlimited())?);
                    new = Some(self.next_handle());
                    self.alloc("main", "t", content)
                }),
                Step::Write { target: which, patch, link } => target(which).and_then(|handle| {
                    let patch = linked(patch, link)?;
                    self.write(handle, &patch, None)
                }),
                Step::Delete { target: which, expected } => {
                    target(which).and_then(|handle| self.delete(handle, *expected))
                }
            };
            at(index, result)?;
            created.push(new);
        }
        Ok(())
    }

    /// Demands that all that can be read is as it must be.
    pub(crate) fn check(&self, heap: &Heap) {
        assert_eq!(heap.usage(), self.usage(|object| object.state == State::Live));
        assert_eq!(heap.tombstones(), self.usage(|object| matches!(object.state, State::Dead(_))));
        for owner in ["main", "main/worker", "mainly"] {
            let of = |object: &Object| object.state == State::Live && object.owner == owner;
            assert_eq!(heap.usage_of(owner), self.usage(of));
            let kept = |object: &&Object| object.state != State::Forgotten && object.owner == owner;
            let mut owned: Vec<Handle> =
                self.objects.iter().filter(kept).map(|object| object.handle).collect();
            owned.sort_by_key(|handle| handle.index());
            assert_eq!(heap.owned_by(owner), owned);
        }
        for object in &self.objects {
            let newest = object.version();
            match (self.live(object.handle), heap.read(object.handle)) {
                (Ok(_), Ok(read)) => {
                    assert_eq!((&**read.owner(), &**read.type_name()), (&*object.owner, &*object.type_name));
                    assert_eq!(read.version(), newest);
                    assert_eq!(Some(read.content()), object.contents.last());
                }
                (Err(expected), Err(error)) => assert_eq!(error, expected),
                (expected, read) => panic!("{expected:?}, not {read:?}"),
            }
            let kept = if object.state == State::Forgotten { 0 } else { object.kept().len() as u64 };
            for (version, content) in (0..).zip(&object.contents) {
                let read = heap.read_at(object.handle, version);
                if version + kept > newest {
                    assert_eq!(read.unwrap().content(), content);
                } else {
                    assert!(matches!(read, Err(HeapError::NotFound { .. })), "{read:?}");
                }
            }
        }
        assert_eq!(heap.iter().count() as u64, heap.usage().objects);
        for type_name in ["t", "u"] {
            let of_type = |object: &&ak_heap::Object| &**object.type_name() == type_name;
            let expected = heap.iter().filter(|(_, object)| of_type(object)).map(|(handle, _)| handle);
            assert!(heap.of_type(type_name).map(|(handle, _)| handle).eq(expected));
        }
    }
}

fn at(index: usize, result: Result<(), HeapError>) -> Result<(), BatchError> {
    result.map_err(|error| BatchError { index, error })
}

fn one(result: Result<Change, HeapError>) -> Result<Vec<Change>, BatchError> {
    result.map(|change| vec![change]).map_err(|error| BatchError { index: 0, error })
}
