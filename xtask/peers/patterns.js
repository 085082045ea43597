// Random patterns, and which texts they match in Node: `{pattern, valid, matches}`, one a line.
//
// A pattern that is an error with the flag `u` is read without it. Without the flag `\p{L}`, `\u{61}` and texts beyond
// 16 bits mean something else, so they are left out then.
"use strict";

const PATTERNS = 30000;
const PARTS = [
  "a", "b", "-", ".", "[^a]", "(a|b)", "\\b", "\\B", "^", "$", "|", "a?", "b*", ".{2}", "(ab)+?", "(?!a)", "(?=.*b)", "(?<!a)",
  "(?<=b|-)", "(?!a|b$)", "[\\w-.]", "{", "}", "]", "a{x}", "(?:", "(", ")", "\\d", "[a-]", "\\-", "\\1", "\\s", "\\w", "[b-a]",
  "a{2,1}", "a{1,2}", "c", "𝄞", "\\p{L}", "\\u{61}", "\\q",
];
const LOOKS = ["(?!a)", "(?=.*b)", "(?!.*-)", "(?=[^]{2})", "(?!(a|b)$)"];
const ENDS = ["(?<!-)$", "(?<=a|b)$", "(?<!ab)$", "", "", ""];
const TEXTS = ["", "a", "b", "ab", "ba", "a-b", "-a", "a-", "abba", "aab", "bb-", "b{a}", "ca", "]", "a{x}", "--", "ab.c", "aa bb", "a𝄞"];

const pick = (list) => list[Math.floor(Math.random() * list.length)];
const some = (list, max) => Array.from({ length: Math.floor(Math.random() * (max + 1)) }, () => pick(list)).join("");

function read(pattern) {
  for (const flags of ["u", ""]) {
    try {
      return new RegExp(pattern, flags);
    } catch {
      // Invalid with these flags: try the next.
    }
  }
  return null;
}

for (let made = 0; made < PATTERNS; made += 1) {
  const pattern = pick(["", "^"]) + some(LOOKS, 2) + some(PARTS, 4) + pick(ENDS);
  const regex = read(pattern);
  const reads = regex === null || regex.unicode || !/\\[pu]\{/.test(pattern);
  if (!reads) continue;
  const texts = TEXTS.filter((text) => regex?.unicode || !text.includes("𝄞"));
  const matches = Object.fromEntries(texts.map((text) => [text, regex !== null && regex.test(text)]));
  console.log(JSON.stringify({ pattern, valid: regex !== null, matches }));
}
