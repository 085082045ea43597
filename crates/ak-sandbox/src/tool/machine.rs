//! An instance of a tool's module, and its reset to the first state.

use alloc::boxed::Box;
use alloc::vec::Vec;

use wasmi::{Extern, Func, Global, Instance, Memory, Ref, Store, Table, TableType, Val};

use super::Tool;
use crate::failure::Failure;
use crate::guest::Guest;
use crate::guest::limiter::Limiter;
use crate::imports::import;
use crate::manifest::Abi;
use crate::module::{ChangeableState, START_EXPORT, global_export, table_export};

/// The store, the instance in it, and those exports of the instance that every call uses.
pub(crate) struct Machine {
    pub(crate) store: Store<Guest>,
    pub(crate) start: Option<Func>,
    pub(crate) alloc: Option<Func>,
    pub(crate) main: Func,
    memory: Memory,
    /// Elements of all tables together.
    table_elements: u64,
    /// `None` for a machine that serves one call only.
    origin: Option<Origin>,
}

/// The state that a guest can change, as it was before any of its code ran.
struct Origin {
    memory_bytes: usize,
    /// The pages that are not all zero, in order.
    pages: Vec<Page>,
    globals: Vec<(Global, Val)>,
    /// Each table and a copy of it.
    tables: Vec<(Table, Table)>,
}

struct Page {
    index: usize,
    bytes: Box<[u8]>,
}

/// Bytes of the pieces in which memory is compared and reset; also the page size of most processors.
const PAGE_BYTES: usize = 4096;

/// Memory of up to this many bytes is zeroed without reading it first: in a cache, writing is as fast as reading.
const WRITTEN_BYTES_MAX: usize = 256 << 10;

impl Machine {
    /// Makes an instance of the module. Runs none of its code.
    pub(crate) fn new(tool: &Tool, guest: Guest) -> Result<Self, Failure> {
        let mut store = Store::new(tool.engine(), guest);
        store.limiter(|guest| &mut guest.limiter);
        let instance = instantiate(&mut store, tool)?;
        let missing = |name: &str| Failure::Unrunnable(alloc::format!("export {name:?} is missing"));
        let memory = instance.get_memory(&store, "memory").ok_or_else(|| missing("memory"))?;
        let main = match tool.manifest().abi {
            Abi::Native => "ak_run",
            Abi::Wasi => "_start",
        };
        let main = instance.get_func(&store, main).ok_or_else(|| missing(main))?;
        let start = if tool.starts() { instance.get_func(&store, START_EXPORT) } else { None };
        let alloc = instance.get_func(&store, "ak_alloc");
        let origin = match tool.state() {
            Some(state) if memory.data_size(&store) <= tool.recycled_bytes_max() => {
                Origin::of(&mut store, &instance, memory, state)
            }
            Some(_) | None => None,
        };
        let table_elements = store.data().limiter.table_elements();
        let mut machine = Self { store, start, alloc, main, memory, table_elements, origin };
        machine.begin();
        Ok(machine)
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.memory.data_size(&self.store)
    }

    /// Whether the machine's memory and tables are within the limits of a call.
    pub(crate) fn fits(&self, guest: &Guest) -> bool {
        guest.limiter.admits(self.memory.data_size(&self.store) as u64, self.table_elements)
    }

    /// Prepares the machine for another call, whose limits it fits.
    pub(crate) fn serve(&mut self, guest: Guest) {
        *self.store.data_mut() = guest;
        self.begin();
    }

    fn begin(&mut self) {
        let guest = self.store.data_mut();
        guest.memory = Some(self.memory);
        guest.limiter.running = true;
    }

    /// Resets the machine to its first state; false if that is impossible, and the machine must not be used again.
    pub(crate) fn reset(&mut self) -> bool {
        let Some(origin) = &self.origin else { return false };
        // A memory cannot shrink.
        if self.memory.data_size(&self.store) != origin.memory_bytes {
            return false;
        }
        origin.restore_memory(self.memory.data_mut(&mut self.store));
        for (global, value) in &origin.globals {
            if global.set(&mut self.store, value.clone()).is_err() {
                return false;
            }
        }
        for (table, copy) in &origin.tables {
            let size = copy.size(&self.store);
            if table.size(&self.store) != size
                || Table::copy(&mut self.store, table, 0, copy, 0, size).is_err()
            {
                return false;
            }
        }
        // Discard everything of the call, its input and output included.
        self.store.data_mut().clear();
        true
    }

    /// The guest's memory together with its state.
    pub(crate) fn memory(&mut self) -> (&mut [u8], &mut Guest) {
        self.memory.data_and_store_mut(&mut self.store)
    }
}

impl Origin {
    /// Saves the present state of an instance; `None` if it cannot be reset.
    fn of(
        store: &mut Store<Guest>,
        instance: &Instance,
        memory: Memory,
        state: &ChangeableState,
    ) -> Option<Self> {
        if state.drops {
            return None;
        }
        let globals = state.globals.iter().map(|&index| {
            let global = instance.get_global(&*store, &global_export(index))?;
            Some((global, global.get(&*store)))
        });
        let globals = globals.collect::<Option<_>>()?;
        let mut tables = Vec::new();
        for index in 0..state.tables {
            let table = instance.get_table(&*store, &table_export(index))?;
            tables.push((table, copied(store, table)?));
        }
        let bytes = memory.data(&*store);
        let pages = bytes.chunks(PAGE_BYTES).enumerate().filter(|(_, page)| !is_zero(page));
        let pages = pages.map(|(index, page)| Page { index, bytes: page.into() }).collect();
        Some(Self { memory_bytes: bytes.len(), pages, globals, tables })
    }

    fn restore_memory(&self, memory: &mut [u8]) {
        let mut rest = memory;
        let mut next = 0;
        for page in &self.pages {
            let gap = (page.index - next).saturating_mul(PAGE_BYTES);
            let Some((before, after)) = rest.split_at_mut_checked(gap) else { return };
            clear(before);
            let Some((place, after)) = after.split_at_mut_checked(page.bytes.len()) else { return };
            place.copy_from_slice(&page.bytes);
            (rest, next) = (after, page.index + 1);
        }
        clear(rest);
    }
}

/// Zeroes the bytes. In a large memory most pages were never touched, so reading them first is cheaper than writing.
fn clear(bytes: &mut [u8]) {
    if bytes.len() <= WRITTEN_BYTES_MAX {
        return bytes.fill(0);
    }
    bytes.chunks_mut(PAGE_BYTES).filter(|page| !is_zero(page)).for_each(|page| page.fill(0));
}

/// Makes a table with the same elements, beside the instance's own.
fn copied(store: &mut Store<Guest>, table: Table) -> Option<Table> {
    let (element, size) = (table.ty(&*store).element(), table.size(&*store));
    let ty = TableType::new(element, u32::try_from(size).ok()?, None);
    let limiter = core::mem::replace(&mut store.data_mut().limiter, Limiter::unlimited());
    let copy = Table::new(&mut *store, ty, Ref::null(element));
    store.data_mut().limiter = limiter;
    let copy = copy.ok()?;
    Table::copy(&mut *store, &copy, 0, &table, 0, size).ok()?;
    Some(copy)
}

fn is_zero(page: &[u8]) -> bool {
    page.iter().fold(0, |bits, byte| bits | byte) == 0
}

fn instantiate(store: &mut Store<Guest>, tool: &Tool) -> Result<Instance, Failure> {
    let abi = tool.manifest().abi;
    let mut imports = Vec::new();
    for item in tool.module().imports() {
        let Some(function) = import(store, abi, item.module(), item.name()) else {
            return Err(Failure::Unrunnable(alloc::format!("unknown import {:?}", item.name())));
        };
        imports.push(Extern::Func(function));
    }
    let instance = Instance::new(&mut *store, tool.module(), &imports);
    instance.map_err(|error| store.data_mut().limiter.breach.take().unwrap_or_else(|| error.into()))
}
