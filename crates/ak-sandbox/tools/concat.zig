//! `concat {str1, str2}` gives `{"result": str1 followed by str2}`.

const std = @import("std");
const json = @import("json.zig");

export fn ak_alloc(len: usize) [*]u8 {
    return json.alloc(len);
}

export fn ak_run(ptr: [*]const u8, len: usize) u64 {
    const args = json.arguments(&.{ "str1", "str2" }, ptr[0..len]);
    var out: std.ArrayList(u8) = .empty;
    append(&out, "{\"result\":\"");
    escape(&out, string("str1", args[0]));
    escape(&out, string("str2", args[1]));
    append(&out, "\"}");
    return json.pack(out.items);
}

fn string(comptime name: []const u8, argument: json.Argument) []const u8 {
    return switch (argument) {
        .string => |text| text,
        else => json.refuse("argument \"" ++ name ++ "\" must be a string"),
    };
}

/// RFC 8259, section 7: only what must be escaped is.
fn escape(out: *std.ArrayList(u8), text: []const u8) void {
    for (text) |byte| switch (byte) {
        '"' => append(out, "\\\""),
        '\\' => append(out, "\\\\"),
        0...0x1f => append(out, &.{ '\\', 'u', '0', '0', '0' + (byte >> 4), "0123456789abcdef"[byte & 15] }),
        else => append(out, &.{byte}),
    };
}

fn append(out: *std.ArrayList(u8), bytes: []const u8) void {
    out.appendSlice(json.allocator, bytes) catch json.refuse("no memory for the result");
}
