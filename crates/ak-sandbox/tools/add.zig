//! `add {a, b}` gives `{"result": a + b}`. Integers stay integers; a float, or a sum beyond 64 bits, makes the result a float.

const std = @import("std");
const json = @import("json.zig");

const Number = union(enum) { integer: i64, float: f64 };

export fn ak_alloc(len: usize) [*]u8 {
    return json.alloc(len);
}

export fn ak_run(ptr: [*]const u8, len: usize) u64 {
    const args = json.arguments(&.{ "a", "b" }, ptr[0..len]);
    return json.pack(result(add(number("a", args[0]), number("b", args[1]))));
}

fn number(comptime name: []const u8, argument: json.Argument) Number {
    const text = switch (argument) {
        .number => |text| text,
        else => json.refuse("argument \"" ++ name ++ "\" must be a number"),
    };
    if (std.fmt.parseInt(i64, text, 10)) |integer| return .{ .integer = integer } else |_| {}
    const float = std.fmt.parseFloat(f64, text) catch json.refuse("argument \"" ++ name ++ "\" must be a number");
    if (!std.math.isFinite(float)) json.refuse("argument \"" ++ name ++ "\" is out of range");
    return .{ .float = float };
}

fn add(a: Number, b: Number) Number {
    if (a == .integer and b == .integer) {
        const sum = @addWithOverflow(a.integer, b.integer);
        if (sum[1] == 0) return .{ .integer = sum[0] };
    }
    const sum = toFloat(a) + toFloat(b);
    if (!std.math.isFinite(sum)) json.refuse("the sum is out of range");
    return .{ .float = sum };
}

fn toFloat(value: Number) f64 {
    return switch (value) {
        .integer => |integer| @floatFromInt(integer),
        .float => |float| float,
    };
}

/// Outlives the call, as the host reads the result from it.
var buffer: [64]u8 = undefined;

fn result(sum: Number) []const u8 {
    return (switch (sum) {
        .integer => |integer| std.fmt.bufPrint(&buffer, "{{\"result\":{d}}}", .{integer}),
        // Scientific form is the shortest that reads back the same, and always a float.
        .float => |float| std.fmt.bufPrint(&buffer, "{{\"result\":{e}}}", .{float}),
    }) catch unreachable;
}
