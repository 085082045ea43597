//! Adds up numbers: `{"numbers": [1, 2]}` gives `{"sum": 3}`. A freestanding module.

const std = @import("std");

extern "ak" fn fail(ptr: [*]const u8, len: usize) noreturn;

const allocator = std.heap.wasm_allocator;

fn refuse(message: []const u8) noreturn {
    fail(message.ptr, message.len);
}

/// Room for the input, which the host fills in.
export fn ak_alloc(len: usize) [*]u8 {
    const bytes = allocator.alloc(u8, len) catch refuse("no memory");
    return bytes.ptr;
}

export fn ak_run(ptr: [*]const u8, len: usize) u64 {
    return run(ptr[0..len]) catch |err| refuse(@errorName(err));
}

fn run(text: []const u8) !u64 {
    const Input = struct { numbers: []const i64 };
    const input = try std.json.parseFromSliceLeaky(Input, allocator, text, .{});
    var sum: i64 = 0;
    for (input.numbers) |number| sum += number;
    const output = try std.json.Stringify.valueAlloc(allocator, .{ .sum = sum }, .{});
    return @as(u64, @intFromPtr(output.ptr)) << 32 | output.len;
}
