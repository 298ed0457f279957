"""Writes vectors.json from SPEC.md alone, with nothing of the Go code.

Needs the Python package cryptography. Run in this folder: python3 vectors.py
"""
import hashlib
import hmac
import json
import struct

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

SECRET = "3b1f6e0c9a58d7425ef0a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f6"
OTHER = "correct horse battery staple, twice over: correct horse"
SALT = bytes(range(16))
IV = bytes(range(0x40, 0x50))
TAG = hashlib.sha256(b"the row before").digest()


def stretch(password, salt):
    return hashlib.pbkdf2_hmac("sha256", password.encode(), salt, 100_000, 32)


def expand(prk, info, n):
    return hmac.new(prk, info + b"\x01", "sha256").digest()[:n]


def key_id(secret, session):
    idk = stretch(secret, b"cloudsession v1 key id")
    return (expand(idk, b"cloudsession v1 secret id\0", 2)
            + expand(idk, b"cloudsession v1 session id\0" + session.encode(), 2))


def tag(kmac, header, pos, text):
    s = pos["session_id"].encode()
    parts = [s, struct.pack(">Q", pos["epoch"]), struct.pack(">Q", pos["seq"]),
             struct.pack(">H", pos["part"]), struct.pack(">H", pos["parts"]),
             bytes.fromhex(pos["prev_tag"]), text]
    m = b"cloudsession v1 envelope\0" + header
    for p in parts:
        m += struct.pack(">I", len(p)) + p
    return hmac.new(kmac, m, "sha256").digest()


def seal(secret, pos, kind, flags, body, version=1, plain=None, salt=SALT):
    s = pos["session_id"]
    prk = stretch(s + secret, salt)
    kenc = expand(prk, b"cloudsession v1 enc\0" + s.encode(), 32)
    kmac = expand(prk, b"cloudsession v1 mac\0" + s.encode(), 32)
    header = b"CSE" + bytes([version, kind, flags]) + key_id(secret, s) + salt + IV
    if plain is None:
        plain = struct.pack(">I", len(body)) + body
        plain += bytes(-len(plain) % 256)
    enc = Cipher(algorithms.AES(kenc), modes.CBC(IV)).encryptor()
    text = enc.update(plain) + enc.finalize()
    return header + text + tag(kmac, header, pos, text)


def at(session, epoch=7, seq=41, part=1, parts=1, prev=TAG):
    return {"session_id": session, "epoch": epoch, "seq": seq, "part": part,
            "parts": parts, "prev_tag": prev.hex()}


vectors = []


def vector(name, data, pos, want, secrets=(SECRET,), **more):
    vectors.append({"name": name, "secrets": list(secrets), "position": pos,
                    "data": data.hex(), "want": want, **more})


def good(name, pos, kind, flags, body, secrets=(SECRET,), by=0):
    s = secrets[by]
    vector(name, seal(s, pos, kind, flags, body), pos, "opens", secrets, kind=kind,
           compressed=bool(flags), salt=SALT.hex(), iv=IV.hex(), body=body.hex(),
           key_id=key_id(s, pos["session_id"]).hex(), current=by == 0)


def main():
    creds = at("personal", 0, 0, prev=bytes(32))
    delta = at("personal")
    good("credentials", creds, 1, 0, b'{"creds":{},"timestamp":1}')
    good("first part of a compressed base", at("personal", 7, 1, 1, 3, bytes(32)), 2, 1, b"zstd would stand here")
    good("base without compression", at("personal", 7, 1, 1, 1, bytes(32)), 2, 0, bytes(32) + b"push")
    good("delta", delta, 3, 0, b"what changed")
    good("seal: empty body", delta, 4, 0, b"")
    good("session id in UTF-8", at("toko ☕"), 3, 0, b"kopi")
    good("session id of 255 characters", at("☕" * 255), 3, 0, b"x")
    good("252 bytes fill the padding", delta, 3, 0, b"a" * 252)
    good("253 bytes need another block of it", delta, 3, 0, b"a" * 253)
    good("highest numbers", at("personal", 2**64 - 1, 2**64 - 1, 65535, 65535, b"\xff" * 32), 3, 0, b"end")
    good("sealed with a previous secret", delta, 3, 0, b"old", (OTHER, SECRET), 1)

    d = seal(SECRET, delta, 3, 0, b"what changed")
    vector("wrong secret", d, delta, "wrong secret", (OTHER,))
    vector("sealed for another session", d, at("business"), "other session")
    vector("another epoch", d, at("personal", 8), "tampered")
    vector("another seq", d, at("personal", 7, 42), "tampered")
    vector("another part", d, at("personal", 7, 41, 2, 2), "tampered")
    vector("another number of parts", d, at("personal", 7, 41, 1, 2), "tampered")
    vector("another previous tag", d, at("personal", prev=bytes(32)), "tampered")


    def flip(name, offset, want="tampered"):
        b = bytearray(d)
        b[offset] ^= 1
        vector("flipped bit: " + name, bytes(b), delta, want)


    flip("magic", 0, "not an envelope")
    flip("version", 3, "version")
    flip("kind", 4)
    flip("flags", 5)
    flip("key id, first half", 6)
    flip("key id, second half", 9)
    flip("salt", 10)
    flip("IV", 26)
    flip("ciphertext", 42)
    flip("last byte of the ciphertext", 42 + 255)
    flip("tag", 42 + 256)
    flip("last byte", len(d) - 1)

    vector("empty", b"", delta, "truncated")
    vector("header only", d[:42], delta, "truncated")
    vector("one byte short", d[:-1], delta, "truncated")
    vector("one byte long", d + b"\0", delta, "truncated")
    two = seal(SECRET, delta, 3, 0, b"a" * 300)
    vector("a block of padding short", two[:-256], delta, "tampered")
    vector("a block of padding long", d + bytes(256), delta, "tampered")
    vector("a later version", seal(SECRET, delta, 3, 0, b"x", version=2), delta, "version")
    vector("kind 0", seal(SECRET, delta, 0, 0, b"x"), delta, "malformed")
    vector("kind 5", seal(SECRET, delta, 5, 0, b"x"), delta, "malformed")
    vector("unknown flag", seal(SECRET, delta, 2, 2, b"x"), delta, "malformed")
    vector("compressed delta", seal(SECRET, delta, 3, 1, b"x"), delta, "malformed")
    vector("length beyond the end", seal(SECRET, delta, 3, 0, b"", plain=struct.pack(">I", 253) + bytes(252)), delta, "malformed")
    vector("length of 4 GiB", seal(SECRET, delta, 3, 0, b"", plain=b"\xff" * 4 + bytes(252)), delta, "malformed")
    vector("padding not zero", seal(SECRET, delta, 3, 0, b"", plain=struct.pack(">I", 1) + b"x" + bytes(250) + b"\1"), delta, "malformed")
    vector("more padding than needed", seal(SECRET, delta, 3, 0, b"", plain=struct.pack(">I", 1) + b"x" + bytes(507)), delta, "malformed")

    with open("vectors.json", "w") as f:
        json.dump(vectors, f, indent=1)
        f.write("\n")


if __name__ == "__main__":
    main()
