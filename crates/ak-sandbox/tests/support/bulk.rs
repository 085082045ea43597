//! Modules that are made part by part, as large as is wanted.

use std::ops::AddAssign;

/// A section: how many items it has, and their bytes.
#[derive(Default)]
pub(crate) struct Section {
    pub(crate) count: u32,
    pub(crate) bytes: Vec<u8>,
}

impl AddAssign<&[u8]> for Section {
    fn add_assign(&mut self, item: &[u8]) {
        self.count += 1;
        self.bytes.extend_from_slice(item);
    }
}

/// A native tool that answers `1`, to which parts can be added. Type 0 is `i32 -> i32`, type 1 `i32 i32 -> i64`, type 2
/// `-> `; functions 0 and 1 behind the imports are `ak_alloc` and `ak_run`, and the memory has one page.
pub(crate) struct Bulk {
    pub(crate) types: Section,
    pub(crate) imports: Section,
    pub(crate) functions: Section,
    pub(crate) tables: Section,
    pub(crate) memories: Section,
    pub(crate) globals: Section,
    pub(crate) exports: Section,
    pub(crate) elements: Section,
    pub(crate) code: Section,
    pub(crate) data: Section,
    /// How many segments of data there are, by a section that says so beforehand.
    pub(crate) data_count: Option<u32>,
    /// Whole custom sections, which stand in front.
    pub(crate) custom: Vec<u8>,
}

impl Bulk {
    pub(crate) fn new() -> Self {
        let mut bulk = Self {
            types: Section::default(),
            imports: Section::default(),
            functions: Section::default(),
            tables: Section::default(),
            memories: Section::default(),
            globals: Section::default(),
            exports: Section::default(),
            elements: Section::default(),
            code: Section::default(),
            data: Section::default(),
            data_count: None,
            custom: Vec::new(),
        };
        for ty in [&[0x60, 1, 0x7f, 1, 0x7f][..], &[0x60, 2, 0x7f, 0x7f, 1, 0x7e], &[0x60, 0, 0]] {
            bulk.types += ty;
        }
        bulk.function(0, &[], &[0x41, 0x80, 0x10]); // i32.const 2048
        bulk.function(1, &[], &[0x42, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01, 0x42, 1, 0x84]); // 1024 << 32 | 1
        bulk.memories += &[0, 1];
        let answer = bulk.segment(1024, b"1");
        bulk.data += &answer;
        bulk
    }

    /// Adds a function of a type, with groups of locals and a body without its `end`.
    pub(crate) fn function(&mut self, ty: u32, locals: &[(u32, u8)], body: &[u8]) {
        self.functions += &leb128(ty);
        let mut bytes = leb128(locals.len() as u32);
        for (count, ty) in locals {
            bytes.extend(leb128(*count));
            bytes.push(*ty);
        }
        bytes.extend_from_slice(body);
        bytes.push(0x0b);
        self.code += &sized(&bytes);
    }

    /// An active segment of data.
    pub(crate) fn segment(&self, at: u32, bytes: &[u8]) -> Vec<u8> {
        let mut segment = vec![0, 0x41];
        segment.extend(signed(at.cast_signed()));
        segment.push(0x0b);
        segment.extend(sized(bytes));
        segment
    }

    /// Bytes so far, about.
    pub(crate) fn len(&self) -> usize {
        let sections = [
            &self.types,
            &self.imports,
            &self.functions,
            &self.tables,
            &self.memories,
            &self.globals,
            &self.exports,
            &self.elements,
            &self.code,
            &self.data,
        ];
        sections.iter().map(|section| section.bytes.len() + 6).sum::<usize>() + self.custom.len() + 64
    }

    pub(crate) fn module(&self) -> Vec<u8> {
        let mut exports = Section { count: self.exports.count, bytes: self.exports.bytes.clone() };
        for (name, kind, index) in
            [("memory", 2, 0), ("ak_alloc", 0, self.imports.count), ("ak_run", 0, self.imports.count + 1)]
        {
            let mut export = sized(name.as_bytes());
            export.push(kind);
            export.extend(leb128(index));
            exports += &export;
        }
        let mut module = b"\0asm\x01\0\0\0".to_vec();
        module.extend_from_slice(&self.custom);
        let mut section = |id: u8, section: &Section| {
            if section.count > 0 {
                let mut bytes = leb128(section.count);
                bytes.extend_from_slice(&section.bytes);
                module.push(id);
                module.extend(sized(&bytes));
            }
        };
        section(1, &self.types);
        section(2, &self.imports);
        section(3, &self.functions);
        section(4, &self.tables);
        section(5, &self.memories);
        section(6, &self.globals);
        section(7, &exports);
        section(9, &self.elements);
        if let Some(count) = self.data_count {
            section(12, &Section { count, bytes: Vec::new() });
        }
        section(10, &self.code);
        section(11, &self.data);
        module
    }
}

/// An unsigned number as it stands in a module.
pub(crate) fn leb128(mut value: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A signed number as it stands in a module.
pub(crate) fn signed(mut value: i32) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let byte = (value & 0x7f) as u8;
        value >>= 7;
        let sign = byte & 0x40 != 0;
        if value == 0 && !sign || value == -1 && sign {
            bytes.push(byte);
            return bytes;
        }
        bytes.push(byte | 0x80);
    }
}

/// Bytes and, before them, how many there are.
pub(crate) fn sized(bytes: &[u8]) -> Vec<u8> {
    let mut sized = leb128(bytes.len() as u32);
    sized.extend_from_slice(bytes);
    sized
}
