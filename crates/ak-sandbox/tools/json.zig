//! The little JSON that the built-in tools need: an object of named arguments in, `{"result":…}` out.
//! Whatever is amiss ends the call through `ak.fail` with a message for whoever called the tool.

const std = @import("std");

extern "ak" fn fail(ptr: [*]const u8, len: usize) noreturn;

pub fn refuse(comptime format: []const u8, args: anytype) noreturn {
    var buffer: [256]u8 = undefined;
    const message = std.fmt.bufPrint(&buffer, format, args) catch "invalid arguments";
    fail(message.ptr, message.len);
}

pub const allocator = std.heap.wasm_allocator;

/// The arguments: exactly the names asked for, none of them twice.
pub fn arguments(comptime names: []const []const u8, input: []const u8) [names.len]std.json.Value {
    const document = std.json.parseFromSliceLeaky(std.json.Value, allocator, input, .{
        .duplicate_field_behavior = .@"error",
        .parse_numbers = false,
    }) catch refuse("arguments are not valid JSON", .{});
    const members = switch (document) {
        .object => |object| object,
        else => refuse("arguments must be an object", .{}),
    };
    var values: [names.len]std.json.Value = undefined;
    inline for (names, 0..) |name, index| {
        values[index] = members.get(name) orelse refuse("missing argument \"" ++ name ++ "\"", .{});
    }
    if (members.count() != names.len) refuse("unexpected argument", .{});
    return values;
}

/// Room for the input, which the host fills in.
pub fn alloc(len: usize) [*]u8 {
    const bytes = allocator.alloc(u8, len) catch refuse("no memory for the arguments", .{});
    return bytes.ptr;
}

pub fn pack(bytes: []const u8) u64 {
    return @as(u64, @intFromPtr(bytes.ptr)) << 32 | bytes.len;
}
