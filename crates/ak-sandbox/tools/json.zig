//! The little JSON that the built-in tools need: an object of named arguments in, `{"result":…}` out.
//! Whatever is amiss ends the call through `ak.fail` with a message for whoever called the tool.

const std = @import("std");
const Token = std.json.Token;

extern "ak" fn fail(ptr: [*]const u8, len: usize) noreturn;

pub fn refuse(comptime message: []const u8) noreturn {
    fail(message.ptr, message.len);
}

/// Hands out the rest of the memory piece by piece. A call runs on an instance of its own, so nothing is ever freed.
pub const allocator: std.mem.Allocator = .{ .ptr = undefined, .vtable = &.{
    .alloc = bump,
    .resize = std.mem.Allocator.noResize,
    .remap = std.mem.Allocator.noRemap,
    .free = std.mem.Allocator.noFree,
} };

extern const __heap_base: u8;
var top: usize = 0;

fn bump(_: *anyopaque, len: usize, alignment: std.mem.Alignment, _: usize) ?[*]u8 {
    const start = alignment.forward(@max(top, @intFromPtr(&__heap_base)));
    const end = std.math.add(usize, start, len) catch return null;
    const pages = std.math.divCeil(usize, end, std.wasm.page_size) catch unreachable;
    const present = @wasmMemorySize(0);
    if (pages > present and @wasmMemoryGrow(0, pages - present) < 0) return null;
    top = end;
    return @ptrFromInt(start);
}

/// An argument that is a scalar; `other` is an array or object.
pub const Argument = union(enum) { number: []const u8, string: []const u8, other };

/// The arguments: exactly the names asked for, none of them twice.
pub fn arguments(comptime names: []const []const u8, input: []const u8) [names.len]Argument {
    var scanner = std.json.Scanner.initCompleteInput(allocator, input);
    if (next(&scanner) != .object_begin) refuse("arguments must be an object");
    var found: [names.len]?Argument = @splat(null);
    while (true) {
        const key = switch (next(&scanner)) {
            .object_end => break,
            .string, .allocated_string => |text| text,
            else => invalid(),
        };
        const place = inline for (names, 0..) |name, index| {
            if (std.mem.eql(u8, key, name)) break &found[index];
        } else refuse("unexpected argument");
        if (place.* != null) refuse("an argument stands there twice");
        place.* = argument(&scanner);
    }
    var values: [names.len]Argument = undefined;
    inline for (names, 0..) |name, index| {
        values[index] = found[index] orelse refuse("missing argument \"" ++ name ++ "\"");
    }
    return values;
}

fn argument(scanner: *std.json.Scanner) Argument {
    switch (next(scanner)) {
        .number, .allocated_number => |text| return .{ .number = text },
        .string, .allocated_string => |text| return .{ .string = text },
        .object_begin, .array_begin => {
            scanner.skipUntilStackHeight(scanner.stackHeight() - 1) catch invalid();
            return .other;
        },
        else => return .other,
    }
}

fn next(scanner: *std.json.Scanner) Token {
    return scanner.nextAlloc(allocator, .alloc_if_needed) catch invalid();
}

fn invalid() noreturn {
    refuse("arguments are not valid JSON");
}

/// Room for the input, which the host fills in.
pub fn alloc(len: usize) [*]u8 {
    const bytes = allocator.alloc(u8, len) catch refuse("no memory for the arguments");
    return bytes.ptr;
}

pub fn pack(bytes: []const u8) u64 {
    return @as(u64, @intFromPtr(bytes.ptr)) << 32 | bytes.len;
}
