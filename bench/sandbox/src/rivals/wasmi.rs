//! wasmi itself: a store and an instance for each call, or one instance for all calls.

use wasmi::{Caller, Config, Engine, Instance, Linker, Memory, Module, Store, TypedFunc};

use super::unpack;

const FUEL: u64 = 1_000_000_000;

pub(crate) struct Wasmi {
    engine: Engine,
    module: Module,
    linker: Linker<()>,
    metered: bool,
}

/// An instance and its functions.
pub(crate) struct Warm {
    store: Store<()>,
    memory: Memory,
    alloc: TypedFunc<i32, i32>,
    run: TypedFunc<(i32, i32), i64>,
    metered: bool,
}

impl Wasmi {
    pub(crate) fn new(module: &[u8], metered: bool) -> Wasmi {
        let mut config = Config::default();
        config.consume_fuel(metered);
        let engine = Engine::new(&config);
        let module = Module::new(&engine, module).expect("the module is right");
        let mut linker = Linker::new(&engine);
        linker
            .func_wrap("ak", "fail", |_: Caller<'_, ()>, _: i32, _: i32| -> Result<(), wasmi::Error> {
                Err(wasmi::Error::new("the tool failed"))
            })
            .expect("there is no other");
        Wasmi { engine, module, linker, metered }
    }

    pub(crate) fn instance(&self) -> Warm {
        let mut store = Store::new(&self.engine, ());
        if self.metered {
            store.set_fuel(FUEL).expect("there is a meter");
        }
        let instance: Instance =
            self.linker.instantiate_and_start(&mut store, &self.module).expect("it starts");
        let memory = instance.get_memory(&store, "memory").expect("it has one");
        let alloc = instance.get_typed_func(&store, "ak_alloc").expect("it has one");
        let run = instance.get_typed_func(&store, "ak_run").expect("it has one");
        Warm { store, memory, alloc, run, metered: self.metered }
    }

    /// Makes a call on an instance of its own.
    pub(crate) fn call(&self, input: &[u8]) -> Vec<u8> {
        self.instance().call(input)
    }
}

impl Warm {
    pub(crate) fn call(&mut self, input: &[u8]) -> Vec<u8> {
        if self.metered {
            self.store.set_fuel(FUEL).expect("there is a meter");
        }
        let at = self.alloc.call(&mut self.store, input.len() as i32).expect("it runs");
        self.memory.write(&mut self.store, at as usize, input).expect("there is room");
        let packed = self.run.call(&mut self.store, (at, input.len() as i32)).expect("it runs");
        let (at, length) = unpack(packed);
        self.memory.data(&self.store)[at..at + length].to_vec()
    }
}
