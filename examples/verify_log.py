#!/usr/bin/env python3
"""Verifies a journal by docs/audit-format.md alone. Usage: verify_log.py DIRECTORY [CHECKPOINT_FILE VERIFIER_KEY]"""
import base64
import hashlib
import struct
import sys
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

CRC_TABLE = []
for crc in range(256):
    for _ in range(8):
        crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    CRC_TABLE.append(crc)

def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ CRC_TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF

def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()

def require(condition, message):
    if not condition:
        sys.exit(f"NOT VERIFIED: {message}")

def check_entry(entry, seq, previous):
    """Checks that an entry is well formed and follows the one before it. Returns its leaf hash and time."""
    require(len(entry) >= 217 and entry[:4] == b"AKL1", f"entry {seq} is malformed")
    its_seq, its_time = struct.unpack_from("<QQ", entry, 4)
    kind, decision, _, cause = struct.unpack_from("<BBiQ", entry, 38)
    integrity, a, r, s = struct.unpack_from("<BBBH", entry, 212)
    labels, rest = [], entry[217 + a + r :]
    while rest and 1 <= rest[0] < len(rest):
        labels, rest = labels + [rest[1 : 1 + rest[0]]], rest[1 + rest[0] :]
    well_formed = len(entry) == 217 + a + r + s and not rest and labels == sorted(set(labels))
    numbers_known = kind in (1, 2, 3, 4) and decision in (1, 2, 3, 4, 5) and integrity in (0, 1)
    require(well_formed and numbers_known, f"entry {seq} is malformed")
    for text in [entry[217 : 217 + a], entry[217 + a : 217 + a + r], *labels]:
        text.decode("utf-8")
    require(its_seq == seq and (cause == seq if kind in (1, 4) else cause < seq), f"entry {seq} is misnumbered")
    require(entry[180:212] == previous, f"entry {seq} does not follow the one before it")
    return sha256(b"\0", entry), its_time

def push(peaks, size, leaf):
    while size & 1:
        *peaks, left = peaks
        leaf, size = sha256(b"\1", left, leaf), size >> 1
    return [*peaks, leaf]

def root(peaks):
    right = peaks[-1] if peaks else sha256()
    for left in reversed(peaks[:-1]):
        right = sha256(b"\1", left, right)
    return right

def frame(data, at, salt):
    """Kind, payload and end of the frame at an offset; None if there is no whole frame."""
    crc, length, kind = struct.unpack_from("<IIB", data.ljust(at + 9, b"\0"), at)
    end = at + 9 + length
    if end <= len(data) and kind and crc32c(salt + struct.pack("<Q", at) + data[at + 4 : end]) == crc:
        return kind, data[at + 9 : end], end

def verify(directory, wanted):
    """Returns the journal's size and root, first entry, root at the wanted size, and number of torn bytes."""
    state, below, roots, torn = None, 0, {}, 0
    for path in sorted(Path(directory).glob("*.akj")):
        data = path.read_bytes()
        header = frame(data, 0, bytes(8))
        if not header and not any(data[16384:]) and int(path.stem) == (state[0] if state else 0):
            break  # a segment that was never used
        known = header and header[0] == 1 and header[1][:8] in (b"AKSEG001", b"AKJRNL01")
        require(known, f"header of {path.name} is damaged")
        first, head, time, count = struct.unpack_from("<Q32sQB", header[1], 24)
        peaks = [header[1][73 + 32 * i : 105 + 32 * i] for i in range(count)]
        require(state in (None, (first, head, time, peaks)) and not torn, f"{path.name} does not follow")
        require(count == first.bit_count() and first == int(path.stem), f"header of {path.name} is wrong")
        below = first if state is None else below
        salt = sha256(b"ak-audit segment salt\n", header[1][8:32], head)[:8]
        state, seq, at, begin = (first, head, time, peaks), first, 16384, 16384
        roots.update({seq: root(peaks)} if seq == wanted else {})
        while part := frame(data, at, salt):
            kind, payload, at = part
            if kind == 2:
                (length,) = struct.unpack_from("<I", payload)
                head, time = check_entry(payload[4 : 4 + length], seq, head)
                peaks, seq = push(peaks, seq, head), seq + 1
                roots.update({seq: root(peaks)} if seq == wanted else {})
                continue
            expected = struct.pack("<QQQ", state[0], seq, begin) + root(peaks) if kind == 3 else struct.pack("<Q", seq)
            require(payload == expected and (seq > state[0]) == (kind == 3), f"entries up to {seq} have another root")
            state, begin = (seq, head, time, peaks), at
        torn = len(data[begin:].rstrip(b"\0"))
    require(state, "there is no journal")
    return state[0], root(state[3]), below, roots.get(wanted), torn

def open_checkpoint(note, key):
    """Returns size and root of a checkpoint, which the key, of the log or of a witness, must have signed."""
    name, key_id, material = key.split("+", 2)
    public = base64.b64decode(material, validate=True)
    require(sha256(name.encode(), b"\n", public)[:4].hex() == key_id and public[0] in (1, 4), "the key is malformed")
    text, signatures = note.rsplit("\n\n", 1)
    for dash, signer, signature in (line.split(" ") for line in signatures.splitlines()):
        blob = base64.b64decode(signature, validate=True)
        if (dash, signer, blob[:4].hex()) == ("—", name, key_id):
            time, signed = (b"", blob[4:]) if public[0] == 1 else (blob[4:12], blob[12:])
            before = f"cosignature/v1\ntime {int.from_bytes(time, 'big')}\n" if time else ""
            Ed25519PublicKey.from_public_bytes(public[1:]).verify(signed, f"{before}{text}\n".encode())
            _, size, its_root, *_ = text.split("\n")
            return int(size), base64.b64decode(its_root, validate=True)
    return require(False, "the checkpoint is not signed by the key")

def main(directory, checkpoint=None, key=None):
    size, anchor = open_checkpoint(Path(checkpoint).read_text("utf-8"), key) if checkpoint else (None, None)
    entries, its_root, below, found, torn = verify(directory, size)
    require(size is None or size <= entries, f"rolled back: {entries} entries, {size} in the checkpoint; {torn} bytes torn")
    require(size is None or size < below or found == anchor, f"the log differs from the checkpoint at {size}")
    rests_on = "nothing: unanchored" if size is None or size < below else f"the checkpoint at {size}"
    print(f"{entries} entries, kept from {below} on, {torn} bytes torn, root {its_root.hex()}; rests on {rests_on}")

if __name__ == "__main__":
    main(*sys.argv[1:])
