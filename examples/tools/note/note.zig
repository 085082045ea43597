//! `note {path, text}` writes a file by a host call and gives `{bytes}`: a freestanding module in Zig.

const std = @import("std");

extern "ak" fn fail(ptr: [*]const u8, len: usize) noreturn;
extern "ak" fn fs_write(ptr: [*]const u8, len: usize) usize;
extern "ak" fn take(ptr: [*]u8) void;

const Input = struct { path: []const u8, text: []const u8 };
const Reply = struct { ok: bool };

const allocator = std.heap.wasm_allocator;

fn refuse(message: []const u8) noreturn {
    fail(message.ptr, message.len);
}

/// Allocates memory for the input, which the host writes there.
export fn ak_alloc(len: usize) [*]u8 {
    const bytes = allocator.alloc(u8, len) catch refuse("no memory");
    return bytes.ptr;
}

export fn ak_run(ptr: [*]const u8, len: usize) u64 {
    return run(ptr[0..len]) catch |err| refuse(@errorName(err));
}

fn run(text: []const u8) !u64 {
    const input = try std.json.parseFromSliceLeaky(Input, allocator, text, .{});
    const encoder = std.base64.url_safe_no_pad.Encoder;
    const data = try allocator.alloc(u8, encoder.calcSize(input.text.len));
    const request = .{ .path = input.path, .data = encoder.encode(data, input.text) };
    const arguments = try std.json.Stringify.valueAlloc(allocator, request, .{});

    // The call waits here while the kernel decides and the host writes.
    const reply = try allocator.alloc(u8, fs_write(arguments.ptr, arguments.len));
    take(reply.ptr);
    const answer = try std.json.parseFromSliceLeaky(Reply, allocator, reply, .{ .ignore_unknown_fields = true });
    if (!answer.ok) refuse(reply);

    const output = try std.json.Stringify.valueAlloc(allocator, .{ .bytes = input.text.len }, .{});
    return @as(u64, @intFromPtr(output.ptr)) << 32 | output.len;
}
