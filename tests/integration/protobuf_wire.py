# SPDX-License-Identifier: Apache-2.0
"""Reads messages of protobuf without their descriptions, as its encoding guide has them."""


class Malformed(Exception):
    """The bytes are not what they should be."""


def varint(data, at):
    value = shift = 0
    while True:
        if at >= len(data):
            raise Malformed("a number runs over the end")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
        shift += 7
        if shift > 63:
            raise Malformed("a number has more than ten bytes")


def fields(data):
    """Yields (field number, wire type, value): an int, or bytes for length-delimited fields."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        number, wire = key >> 3, key & 7
        if number == 0:
            raise Malformed("field number 0")
        if wire == 0:
            value, at = varint(data, at)
        elif wire == 1:
            value, at = int.from_bytes(data[at:at + 8], "little"), at + 8
        elif wire == 2:
            size, at = varint(data, at)
            value, at = data[at:at + size], at + size
        elif wire == 5:
            value, at = int.from_bytes(data[at:at + 4], "little"), at + 4
        else:
            raise Malformed(f"wire type {wire}")
        if at > len(data):
            raise Malformed("a field runs over the end")
        yield number, wire, value


def signed(value):
    return value - (1 << 64) if value >> 63 else value


def numbers(wire, value):
    """The values of one occurrence of a repeated integer field, packed or not."""
    if wire == 0:
        return [value]
    if wire != 2:
        raise Malformed("an integer field that is none")
    out, at = [], 0
    while at < len(value):
        number, at = varint(value, at)
        out.append(number)
    return out


def scalars(data, names, where):
    """A message of single integers: {name: value}; names maps field numbers."""
    out = dict.fromkeys(names.values(), 0)
    for number, wire, value in fields(data):
        if number in names:
            if wire != 0:
                raise Malformed(f"{where}.{names[number]} is no integer")
            out[names[number]] = value
    return out
