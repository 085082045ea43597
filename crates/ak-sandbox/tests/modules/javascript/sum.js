// Adds up numbers: {"numbers": [1, 2]} on stdin gives {"sum": 3} on stdout. Javy shows a program no arguments.

function input() {
  const pieces = [];
  for (;;) {
    const piece = new Uint8Array(4096);
    const count = Javy.IO.readSync(0, piece);
    if (count <= 0) break;
    pieces.push(...piece.subarray(0, count));
  }
  return JSON.parse(new TextDecoder().decode(new Uint8Array(pieces)));
}

const sum = input().numbers.reduce((sum, number) => sum + number, 0);
Javy.IO.writeSync(1, new TextEncoder().encode(JSON.stringify({ sum })));
