//! wasmtime: modules compiled to machine code, instances from a pool, metered by fuel.

use wasmtime::{
    Caller, Config, Engine, InstanceAllocationStrategy, InstancePre, Linker, Module, PoolingAllocationConfig,
    Store,
};

use super::unpack;

const FUEL: u64 = 1_000_000_000;

pub(crate) struct Wasmtime {
    engine: Engine,
    instance: InstancePre<()>,
}

fn engine() -> Engine {
    let mut config = Config::new();
    config.consume_fuel(true);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(PoolingAllocationConfig::default()));
    Engine::new(&config).expect("the machine can do it")
}

/// Compiles a module to machine code.
pub(crate) fn compile(module: &[u8]) -> Module {
    Module::new(&engine(), module).expect("the module is right")
}

impl Wasmtime {
    pub(crate) fn new(module: &[u8]) -> Wasmtime {
        let engine = engine();
        let module = Module::new(&engine, module).expect("the module is right");
        let mut linker = Linker::new(&engine);
        linker
            .func_wrap("ak", "fail", |_: Caller<'_, ()>, _: i32, _: i32| -> Result<(), wasmtime::Error> {
                Err(wasmtime::Error::msg("the tool failed"))
            })
            .expect("there is no other");
        let instance = linker.instantiate_pre(&module).expect("it can be linked");
        Wasmtime { engine, instance }
    }

    /// Makes a call on an instance of its own.
    pub(crate) fn call(&self, input: &[u8]) -> Vec<u8> {
        let mut store = Store::new(&self.engine, ());
        store.set_fuel(FUEL).expect("there is a meter");
        let instance = self.instance.instantiate(&mut store).expect("there is room");
        let memory = instance.get_memory(&mut store, "memory").expect("it has one");
        let alloc = instance.get_typed_func::<i32, i32>(&mut store, "ak_alloc").expect("it has one");
        let run = instance.get_typed_func::<(i32, i32), i64>(&mut store, "ak_run").expect("it has one");
        let at = alloc.call(&mut store, input.len() as i32).expect("it runs");
        memory.write(&mut store, at as usize, input).expect("there is room");
        let packed = run.call(&mut store, (at, input.len() as i32)).expect("it runs");
        let (at, length) = unpack(packed);
        memory.data(&store)[at..at + length].to_vec()
    }
}
