"""Writes pushes.json and logs.json from SPEC.md alone, with nothing of the Go code.

Needs the Python package cryptography. Run in this folder: python3 vectors.py
"""
import copy
import json
import os
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../envelope/testdata"))
import vectors as envelope  # noqa: E402

SECRET, OTHER = envelope.SECRET, envelope.OTHER
ZERO = bytes(32)


def uv(n):
    out = b""
    while n >= 0x80:
        out += bytes([n & 0x7F | 0x80])
        n >>= 7
    return out + bytes([n])


def text(s):
    b = s if isinstance(s, bytes) else s.encode()
    return uv(len(b)) + b


def value(v):
    kind, x = v
    if kind == "null":
        return b"\0"
    if kind == "int":
        return b"\1" + uv(((x << 1) ^ (x >> 63)) & (2**64 - 1))
    if kind == "real":
        return b"\2" + bytes.fromhex(x)
    return (b"\3" if kind == "text" else b"\4") + text(bytes.fromhex(x))


def push(p):
    b = bytes([1, 1 if p["base"] else 0]) + uv(p["schema_version"]) + uv(p["schema_compat"])
    b += uv(len(p["schema"])) + b"".join(text(s) for s in p["schema"])
    b += uv(len(p["tables"]))
    for t in p["tables"]:
        b += text(t["name"]) + uv(len(t["columns"])) + b"".join(text(c) for c in t["columns"])
        b += uv(len(t["key"])) + b"".join(uv(t["columns"].index(k)) for k in t["key"])
    b += uv(len(p["records"]))
    for r in p["records"]:
        gone = r["row"] is None
        b += uv(r["table"] * 2 + gone) + b"".join(value(v) for v in (r["key"] if gone else r["row"]))
    return b


def real(x):
    return ["real", struct.pack(">d", x).hex()]


def txt(s):
    return ["text", s.encode().hex()]


def blob(b):
    return ["blob", b.hex()]


def make(base=False, tables=(), records=(), schema=(), version=15, compat=8):
    return {"base": base, "schema_version": version, "schema_compat": compat, "schema": list(schema),
            "tables": list(tables), "records": list(records)}


T = {"name": "whatsmeow_sessions", "columns": ["our_jid", "their_id", "session"], "key": ["our_jid", "their_id"]}
N = {"name": "numbers", "columns": ["v", "id"], "key": ["id"]}


def row(table, key, values):
    return {"table": table, "key": key, "row": values}


def number(i, v):
    return row(0, [["int", i]], [v, ["int", i]])


def session(n, contents):
    k = [txt("me"), txt(f"peer{n}:0")]
    return row(0, k, k + [blob(contents)])


def gone(n):
    return row(0, [txt("me"), txt(f"peer{n}:0")], None)


def pushes():
    good = {
        "empty delta": make(),
        "empty base": make(True, [T], schema=["CREATE TABLE whatsmeow_sessions (our_jid TEXT, their_id TEXT, session bytea, PRIMARY KEY (our_jid, their_id))"]),
        "one row": make(False, [T], [session(1, b"\x01\x02")]),
        "a row that is gone": make(False, [T], [gone(1)]),
        "two tables, records in any order": make(False, [T, N], [row(1, [["int", 5]], [["null", None], ["int", 5]]), session(2, b""), row(1, [["int", 6]], None)]),
        "integers": make(False, [N], [number(i, ["int", v]) for i, v in enumerate([0, 1, -1, 63, 64, -64, -65, 2**63 - 1, -2**63])]),
        "reals": make(False, [N], [number(i, real(v)) for i, v in enumerate([0.0, -0.0, 1.5, 5e-324, float("inf"), -float("inf")])]),
        "texts and blobs": make(False, [N], [number(1, txt("")), number(2, blob(b"")), number(3, txt("kopi ☕")), number(4, ["text", "ff00fe"]), number(5, blob(b"x" * 200)), number(6, ["null", None])]),
        "a blob and a real as keys": make(False, [N], [row(0, [blob(b"\0\1")], None), row(0, [real(2.5)], None)]),
        "highest schema version": make(version=2**31 - 1, compat=2**31 - 1),
    }
    out = [{"name": n, "want": "parses", "push": p, "bytes": push(p).hex()} for n, p in good.items()]

    def bad(name, b, want="malformed"):
        out.append({"name": name, "want": want, "bytes": b.hex()})

    one = push(good["one row"])
    bad("nothing", b"")
    bad("version 0", b"\0" + one[1:], "version")
    bad("version 2", b"\2" + one[1:], "version")
    bad("unknown flag", one[:1] + b"\2" + one[2:])
    bad("cut in the middle", one[:-1])
    bad("a byte too many", one + b"\0")
    bad("delta with a schema", push(make(schema=["CREATE TABLE x"])))
    bad("schema version over 31 bits", push(make(version=2**31)))
    bad("number in a longer form", b"\1\0\x8f\x00\x08\0\0\0")
    bad("number over 64 bits", b"\1\0" + b"\xff" * 10 + b"\1\x08\0\0\0")
    bad("count beyond the end", b"\1\0\x0f\x08\0\0\x7f")
    bad("the same table twice", push(make(False, [T, T])))
    bad("table without name", push(make(False, [dict(T, name="")])))
    bad("table without key", push(make(False, [dict(T, key=[])])))
    bad("the same column twice", push(make(False, [dict(N, columns=["v", "id", "v"])])))
    bad("key column beyond the columns", b"\1\0\x0f\x08\0\1" + text("t") + b"\1" + text("a") + b"\1\1\0")
    bad("key column twice", b"\1\0\x0f\x08\0\1" + text("t") + b"\1" + text("a") + b"\2\0\0\0")
    bad("record of an unknown table", push(make(False, [N], [row(1, [["int", 1]], None)])))
    bad("unknown type", push(make(False, [N], [row(0, [["int", 1]], None)]))[:-2] + b"\5\2")
    bad("NULL in the key of a row", push(make(False, [N], [row(0, [["null", None]], [["int", 1], ["null", None]])])))
    bad("NULL in the key of a row that is gone", push(make(False, [N], [row(0, [["null", None]], None)])))
    bad("not a number", push(make(False, [N], [number(1, ["real", "7ff8000000000000"])])))
    return out


def zstd(b):
    """One zstd frame (RFC 8878) of raw blocks."""
    out = bytes.fromhex("28b52ffd") + bytes([0b10100000]) + struct.pack("<I", len(b))
    blocks = [b[i:i + 100_000] for i in range(0, len(b), 100_000)] or [b""]
    for i, piece in enumerate(blocks):
        out += struct.pack("<I", len(piece) << 3 | (i == len(blocks) - 1))[:3] + piece
    return out


class Epoch:
    """Writes the rows of one epoch."""

    def __init__(self, epoch, parent=None, start="exact", session_id="personal", secret=SECRET, salt=envelope.SALT, cut=None):
        self.epoch, self.start, self.id, self.secret, self.salt = epoch, start, session_id, secret, salt
        self.parent_epoch = parent.epoch if parent else 0
        self.parent_seq = (cut if cut is not None else parent.seq) if parent else 0
        self.tag = parent.tags[self.parent_seq] if parent else ZERO
        self.seq, self.rows, self.tags = 0, [], {}

    def add(self, kind, flags, body, part, parts, prev):
        self.seq += 1
        pos = {"session_id": self.id, "epoch": self.epoch, "seq": self.seq, "part": part, "parts": parts, "prev_tag": prev.hex()}
        data = envelope.seal(self.secret, pos, kind, flags, body, salt=self.salt)
        self.rows.append({"session_id": self.id, "epoch": self.epoch, "seq": self.seq, "kind": ["", "", "base", "delta", "seal"][kind],
                          "part": part, "parts": parts, "data": data.hex(), "tag": data[-32:].hex()})
        if kind != 4:
            self.tag = self.tags[self.seq] = data[-32:]
        return data[-32:]

    def push(self, p, size=1_048_316, keep=None):
        b = push(p)
        prev = self.tag
        if p["base"]:
            b, prev = prev + zstd(b), ZERO
        pieces = [b[i:i + size] for i in range(0, len(b), size)]
        for i, piece in enumerate(pieces[:keep]):
            prev = self.add(2 if p["base"] else 3, 1 if p["base"] else 0, piece, i + 1, len(pieces), prev)
        return self

    def seal(self):
        self.add(4, 0, b"", 1, 1, self.tag)
        self.seq -= 1
        return self

    def terminator(self, kind):
        self.rows.append({"session_id": self.id, "epoch": self.epoch, "seq": self.seq + 1, "kind": kind,
                          "part": 1, "parts": 1, "data": "", "tag": ZERO.hex()})
        return self

    def out(self):
        return {"epoch": self.epoch, "parent_epoch": self.parent_epoch, "parent_seq": self.parent_seq,
                "start": self.start, "segments": self.rows}


BASE = make(True, [T], [session(1, b"one")], schema=["CREATE TABLE whatsmeow_sessions (x)"])
BASE2 = make(True, [T], [session(1, b"new"), session(3, b"three")])
D = [make(False, [T], [session(i, b"delta %d" % i)]) for i in range(10)]
D[5] = make(False, [T], [gone(1)])


def logs():
    out = []

    def log(name, epochs, want="reads", applied=(), skipped=0, secrets=(SECRET,), verify=None, **more):
        entry = {"name": name, "secrets": list(secrets), "session_id": "personal", "lineage": [e if isinstance(e, dict) else e.out() for e in epochs], "want": want}
        if want == "reads":
            entry |= {"applied": [push(p).hex() for p in applied], "skipped": skipped}
        if verify:
            entry["verify"] = verify
        out.append(entry | more)

    first = Epoch(1, start="new").push(BASE).push(D[1]).push(D[5])
    log("base and deltas", [first], applied=[BASE, D[1], D[5]])
    sealed = Epoch(1, start="new").push(BASE).push(D[1]).seal()
    log("sealed", [sealed], applied=[BASE, D[1]], sealed=True)
    log("an exact start goes on with deltas", [sealed, Epoch(2, sealed).push(D[2])], applied=[BASE, D[1], D[2]])
    log("a safe start begins with a base", [first, Epoch(4, first, "safe").push(BASE2).push(D[3])], applied=[BASE2, D[3]])
    log("just taken, no row yet", [first, Epoch(2, first, "safe")], applied=[BASE, D[1], D[5]])
    parts = Epoch(1, start="new").push(BASE, 40).push(D[1]).push(D[2], 20)
    log("pushes of several parts", [parts], applied=[BASE, D[1], D[2]])
    broken = Epoch(1, start="new").push(BASE).push(D[1]).push(BASE2, 40, 2)
    log("unfinished base at the end", [broken], applied=[BASE, D[1]], skipped=1)
    log("unfinished push in the middle of the lineage", [broken, Epoch(2, broken, "own-file").push(D[2])], applied=[BASE, D[1], D[2]], skipped=1)
    fenced = Epoch(1, start="new").push(BASE).push(D[1]).terminator("fence")
    log("a fence", [fenced, Epoch(2, fenced, "own-file").push(D[2])], applied=[BASE, D[1], D[2]])
    cut = Epoch(1, start="new").push(BASE).push(D[1]).push(D[2], 20)
    log("a push cut by its child's parent_seq", [cut, Epoch(2, cut, "own-file", cut=3).push(D[4])], applied=[BASE, D[1], D[4]], skipped=1)
    late = Epoch(1, start="new").push(BASE).push(D[1], 20)
    del late.rows[2]
    log("parts of the unfinished push came out of order", [late], applied=[BASE], skipped=1)
    pruned = Epoch(1, start="new").push(BASE).push(D[1]).push(BASE2).push(D[3])
    del pruned.rows[:2]
    log("pruned before a base", [pruned], applied=[BASE2, D[3]])
    salt2 = bytes(range(16, 32))
    log("two salts", [first, Epoch(2, first, "safe", salt=salt2).push(BASE2)], applied=[BASE2])
    log("sealed with a previous secret", [first], applied=[BASE, D[1], D[5]], secrets=(OTHER, SECRET))

    def damage(name, want, change, epochs=None, **more):
        es = copy.deepcopy([e.out() for e in (epochs or [Epoch(1, start="new").push(BASE).push(D[1]).push(D[2]).push(D[3])])])
        log(name, change(es) or es, want, **more)

    def rows(es):
        return es[0]["segments"]

    def flip(i, offset):
        def change(es):
            b = bytearray.fromhex(rows(es)[i]["data"])
            b[offset] ^= 1
            rows(es)[i]["data"] = b.hex()
        return change

    def swap(es):
        a, b = rows(es)[1], rows(es)[2]
        for f in ("data", "tag"):
            a[f], b[f] = b[f], a[f]

    damage("a flipped bit in a delta", "altered", flip(2, 60))
    damage("a flipped bit in the base", "altered", flip(0, 60))
    damage("a flipped bit in a salt", "altered", flip(1, 12))
    damage("a flipped bit in a tag", "altered", flip(1, -1))
    damage("a flipped bit in a version byte", "unknown version", flip(1, 3))
    damage("column tag", "altered", lambda es: rows(es)[1].update(tag=ZERO.hex()))
    damage("column kind hides a base", "altered", lambda es: rows(es)[0].update(kind="delta"))
    damage("column part", "altered", lambda es: rows(es)[1].update(part=2, parts=2))
    damage("contents of two rows exchanged", "reordered", swap)
    damage("rows out of order", "reordered", lambda es: rows(es).reverse())
    damage("a row is missing", "missing", lambda es: rows(es).pop(1) and None)
    damage("a row is missing and the rest moved up", "altered",
           lambda es: [r.update(seq=r["seq"] - 1) for r in rows(es)[2:]] and rows(es).pop(1) and None)
    damage("a row twice", "repeated", lambda es: rows(es).insert(2, rows(es)[1]))
    damage("a row's contents in the next one too", "repeated", lambda es: rows(es)[2].update({f: rows(es)[1][f] for f in ("data", "tag")}))
    other = Epoch(1, start="new", session_id="business").push(BASE).push(D[1])
    damage("a row of another session", "other session", lambda es: rows(es).__setitem__(1, other.rows[1]))
    damage("a row of another session under this one's id", "other session", lambda es: rows(es).__setitem__(1, dict(other.rows[1], session_id="personal")))
    damage("the log of another session under this one's id", "other session", lambda es: [r.update(session_id="personal") for r in rows(es)] and None, [other])
    damage("wrong secret", "wrong secret", lambda es: None, secrets=(OTHER,))
    damage("the last row that the next epoch follows is missing", "missing", lambda es: rows(es).pop() and None, [first, Epoch(2, first)])
    damage("an epoch of the lineage is missing", "missing", lambda es: [es[0], es[2]], [first, b2 := Epoch(2, first).push(D[1]), Epoch(3, b2).push(D[2])])
    damage("a push breaks off in the middle of its epoch", "malformed", lambda es: None, [Epoch(1, start="new").push(BASE).push(D[1], 20, 1).push(D[2])])
    damage("a safe start with a delta", "no base", lambda es: None, [first, Epoch(2, first, "safe").push(D[1])])
    three = Epoch(1, start="new").push(BASE)
    three.salt = salt2
    three.push(D[1])
    three.salt = bytes(range(32, 48))
    three.push(D[2])
    damage("three salts", "salts", lambda es: None, [three])
    damage("no row", "no base", lambda es: rows(es).clear(), verify="reads")
    gone = Epoch(3, first).push(D[1])
    damage("deleted", "no base", lambda es: rows(es).clear(), [first, gone.terminator("deleted")], verify="reads")
    damage("only an unfinished base", "no base", lambda es: None, [Epoch(1, start="new").push(BASE, 40, 2)], verify="reads")
    damage("only deltas are left", "no base", lambda es: rows(es).pop(0) and None)
    behind = Epoch(1, start="new").push(BASE).push(D[1])
    behind.tag = behind.tags[1]
    damage("a base that was written behind another row", "reordered", lambda es: None, [behind.push(BASE2)])
    damage("a damaged row before the last base", "reads", flip(1, 60), [Epoch(1, start="new").push(BASE).push(D[1]).push(BASE2)],
           applied=[BASE2], verify="altered")
    damage("a forged seal", "altered", lambda es: rows(es)[-1].update(seq=4) or rows(es).insert(2, dict(first.rows[2])), [sealed])
    return out


def main():
    for name, contents in (("pushes", pushes()), ("logs", logs())):
        with open(name + ".json", "w") as f:
            json.dump(contents, f, indent=1)
            f.write("\n")


if __name__ == "__main__":
    main()
