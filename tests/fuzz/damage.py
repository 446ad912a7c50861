"""What is done to bytes, to JSON values and to tensor files: each damage is the same for the same random state."""

import json
import struct
from collections.abc import Callable, Iterable
from random import Random
from typing import Any

import torch
import yaml
from safetensors.torch import load, save

from render.store import HEADER

#: Input files by their path in the input's folder.
Files = dict[str, bytes]
#: What stands in the place of a JSON value.
ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**70, 1e308, float("inf"), float("nan"), "", "x" * 5000, "\ud800", "../../x",
    "1", "nan", [], {}, [[]], [None], {"": None}, [0] * 1000,
)  # fmt: skip
#: Types that a safetensors file may say, by how many bytes a value has; some of them nothing counts with.
TYPES = (
    "F64 I64 U64 C64", "F32 I32 U32", "F16 BF16 I16 U16", "U8 I8 BOOL F8_E4M3 F8_E5M2 F8_E8M0",
)  # fmt: skip
#: What a picture may say of its sides.
SIDES_PX = (0, 1, 512, 1024, 32000, 65500)
ODD_NUMBERS = (float("nan"), float("inf"), 1e30, -1e30, 6e4, -1.0, 0.0)
ODD_BYTES = (b"\x00", b"\xff", b"\x7f", b"\x80", b"\x01")
DEEP = 100_000


def flip(data: bytes, random: Random) -> bytes:
    """Some bytes changed; of large files mostly near the beginning."""
    found = bytearray(data)
    reach = random.choice((64, 512, 4096, len(data)))
    for _ in range(random.choice((1, 1, 2, 4, 16, 64))):
        if found:
            place = random.randrange(min(reach, len(found)))
            found[place : place + 1] = random.choice((*ODD_BYTES, random.randbytes(1)))
    return bytes(found)


def _span(data: bytes, random: Random) -> tuple[int, int]:
    start = random.randrange(len(data) + 1)
    return start, min(len(data), start + random.choice((1, 4, 16, 256, len(data) // 4 + 1)))


def truncate(data: bytes, random: Random) -> bytes:
    """The end cut off."""
    return data[: random.randrange(len(data) + 1)]


def duplicate(data: bytes, random: Random) -> bytes:
    """A part twice."""
    start, end = _span(data, random)
    return data[:end] + data[start:end] + data[end:]


def zero(data: bytes, random: Random) -> bytes:
    """A part of zeros, or of ones."""
    start, end = _span(data, random)
    return data[:start] + random.choice((b"\x00", b"\xff")) * (end - start) + data[end:]


def remove(data: bytes, random: Random) -> bytes:
    """A part missing."""
    start, end = _span(data, random)
    return data[:start] + data[end:]


BYTE_DAMAGES: tuple[Callable[[bytes, Random], bytes], ...] = (flip, flip, flip, truncate, duplicate, zero, remove)


def damage_bytes(data: bytes, random: Random) -> bytes:
    """One to three damages after each other."""
    for _ in range(random.choice((1, 1, 2, 3))):
        data = random.choice(BYTE_DAMAGES)(data, random)
    return data


def damage_value(value: Any, random: Random) -> Any:
    """A JSON value with one of its parts replaced, removed, renamed or doubled."""
    if isinstance(value, dict) and value and random.random() < 0.9:
        entries = dict(value)
        key = random.choice(sorted(entries))
        what = random.random()
        if what < 0.15:
            del entries[key]
        elif what < 0.25:
            entries[random.choice((key + "x", "", "x" * 300, "\ud800"))] = entries.pop(key)
        elif what < 0.35:
            entries[random.choice(("more", "format", "self", "path"))] = entries[key]
        else:
            entries[key] = damage_value(entries[key], random)
        return entries
    if isinstance(value, list) and value and random.random() < 0.9:
        items, place = list(value), random.randrange(len(value))
        what = random.random()
        if what < 0.15:
            del items[place]
        elif what < 0.3:
            items.insert(place, items[place])
        else:
            items[place] = damage_value(items[place], random)
        return items
    return random.choice(ODD_VALUES)


def damage_json(data: bytes, random: Random) -> bytes:
    """JSON text: mostly with another value in it, else with other bytes, or nested deeper than anything reads."""
    what = random.random()
    if what < 0.02:
        return random.choice((b"[" * DEEP, b'{"a":' * DEEP, b"[" * DEEP + b"]" * DEEP))
    if what < 0.25:
        return damage_bytes(data, random)
    value = json.loads(data)
    for _ in range(random.choice((1, 1, 2))):
        value = damage_value(value, random)
    return json.dumps(value).encode()


def damage_yaml(data: bytes, random: Random) -> bytes:
    """YAML text: with another value in it, or with other bytes."""
    if random.random() < 0.4:
        return damage_bytes(data, random)
    value = damage_value(yaml.safe_load(data), random)
    return yaml.safe_dump(value, allow_unicode=random.random() < 0.5).encode("utf-8", "surrogatepass")


def damage_tensors(data: bytes, random: Random) -> bytes:
    """A safetensors file: other bytes, another header, other facts, or other tensors."""
    what = random.random()
    if what < 0.15:
        return damage_bytes(data, random)
    if what < 0.3:
        return _other_header(data, random)
    header = _header(data)
    metadata = header.pop("__metadata__")
    if what < 0.6:
        facts = damage_json(metadata[HEADER].encode(), random).decode("utf-8", "replace")
        return _with_header(data, {"__metadata__": {HEADER: facts}, **header})
    tensors = _other_tensors(load(data), random)
    return save(tensors, metadata)


def _header(data: bytes) -> dict[str, Any]:
    (size,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + size])


def _with_header(data: bytes, header: Any) -> bytes:
    (size,) = struct.unpack("<Q", data[:8])
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + size :]


def _other_header(data: bytes, random: Random) -> bytes:
    header = _header(data)
    if random.random() < 0.7:
        return _with_header(data, damage_value(header, random))
    entry = header[_any_name(set(header) - {"__metadata__"}, random)]
    entry["dtype"] = random.choice([names for names in TYPES if entry["dtype"] in names.split()][0].split())
    return _with_header(data, header)


def _any_name(names: Iterable[str], random: Random) -> str:
    """One of the names of tensors, each group of them, before the first dot, as often as another."""
    group = random.choice(sorted({name.partition(".")[0] for name in names}))
    return random.choice(sorted(name for name in names if name.partition(".")[0] == group))


def damage_picture(data: bytes, random: Random) -> bytes:
    """A JPEG that says other sides, or other bytes."""
    place = data.find(b"\xff\xc0")
    if place < 0 or random.random() < 0.5:
        return damage_bytes(data, random)
    sides = struct.pack(">HH", random.choice(SIDES_PX), random.choice(SIDES_PX))
    return data[: place + 5] + sides + data[place + 9 :]


def _other_tensors(tensors: dict[str, torch.Tensor], random: Random) -> dict[str, torch.Tensor]:
    """One tensor with values, a type, a shape or a name that are not its own; or missing, or one more."""
    found = dict(tensors)
    name = _any_name(found, random)
    value = found[name]
    what = random.randrange(10)
    if what == 0:
        del found[name]
    elif what == 1:
        found[name + "x"] = found.pop(name)
    elif what == 2:
        found[random.choice(("more", "more/x", "self", "path", name + ".more"))] = value.clone()
    elif what == 3 and value.is_floating_point():
        found[name] = _odd_number(value, random).expand_as(value).contiguous()
    elif what == 4:
        found[name] = value.to(random.choice((torch.int64, torch.float64, torch.uint8, torch.bool, torch.bfloat16)))
    elif what == 5:
        found[name] = value[:0] if value.ndim else value.reshape(1)
    elif what == 6:
        found[name] = value[: max(1, len(value) - 1)].contiguous() if value.ndim else value.expand(3).contiguous()
    elif what == 7 and value.dtype == torch.uint8 and value.ndim == 1:
        found[name] = torch.tensor(list(damage_picture(bytes(value.tolist()), random)), dtype=torch.uint8)
    elif what == 8 and value.is_floating_point() and value.numel():
        found[name] = value.clone()
        found[name].view(-1)[random.randrange(value.numel())] = _odd_number(value, random)
    else:
        found[name] = random.choice((value.flatten(), value[None], value.new_zeros(())))
    return found


def _odd_number(value: torch.Tensor, random: Random) -> torch.Tensor:
    return torch.tensor(random.choice(ODD_NUMBERS)).to(value.dtype)  # what is too large for it is infinite
