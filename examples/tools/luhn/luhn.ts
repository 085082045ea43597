// `luhn {number}` gives `{valid}`: whether a number's last digit fits the others. A freestanding module in AssemblyScript.

const TRUE = memory.data<u8>([0x7b, 0x22, 0x76, 0x61, 0x6c, 0x69, 0x64, 0x22, 0x3a, 0x74, 0x72, 0x75, 0x65, 0x7d]); // {"valid":true}
const FALSE = memory.data<u8>([0x7b, 0x22, 0x76, 0x61, 0x6c, 0x69, 0x64, 0x22, 0x3a, 0x66, 0x61, 0x6c, 0x73, 0x65, 0x7d]); // {"valid":false}

/** Allocates memory for the input, which the host writes there. */
export function ak_alloc(length: i32): usize {
  return heap.alloc(length);
}

/** The schema admits only `{"number":"…"}` with digits and spaces, so all digits in the text belong to the number. */
export function ak_run(text: usize, length: i32): u64 {
  let sum = 0;
  let place = 0;
  for (let at = length - 1; at >= 0; at--) {
    const digit = <i32>load<u8>(text + at) - 0x30;
    if (digit < 0 || digit > 9) continue;
    const doubled = digit * 2;
    sum += place % 2 == 0 ? digit : doubled > 9 ? doubled - 9 : doubled;
    place++;
  }
  const valid = sum % 10 == 0;
  return ((<u64>(valid ? TRUE : FALSE)) << 32) | (valid ? 14 : 15);
}
