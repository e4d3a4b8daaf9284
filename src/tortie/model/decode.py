"""Plain data (of YAML or JSON) into a msgspec type, with all faults told at once and by field path.

msgspec itself stops at the first fault. So data that it accepts goes that fast way, and only data
that it refuses is walked, along the type, to say all that is wrong with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeVar

import msgspec

from tortie.errors import Problem
from tortie.model.words import did_you_mean, nearest, quote

if TYPE_CHECKING:
    from msgspec import inspect

T = TypeVar("T")

_SIMPLE = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


def decode(data: object, type_: type[T]) -> tuple[T | None, list[Problem]]:
    """The value, or None and every Problem found (with field path, without file and line)."""
    try:
        return msgspec.convert(data, type_), []
    except (msgspec.ValidationError, OverflowError, RecursionError) as error:
        return None, _explain(data, type_, str(error))


def mended(data: object, type_: type[T]) -> T | None:
    """The value with whatever `decode` refuses left out or replaced by a stand-in, so that the rest
    can be looked at further; never to be used as a value. None: nothing can be made of it."""
    from msgspec import inspect

    try:
        return msgspec.convert(_mend(inspect.type_info(type_), data), type_)
    except (msgspec.ValidationError, OverflowError):
        return None


def child(path: str, key: str | int) -> str:
    """The path of a field or an item: `spec.ports[0]`, `metadata.labels["a/b"]`."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    if not _SIMPLE.fullmatch(key):
        return f"{path}[{quote(key)}]"
    return f"{path}.{key}" if path else key


def _explain(data: object, type_: type[T], otherwise: str) -> list[Problem]:
    # Imported late: it costs more than all the rest here, and is needed only for what is wrong.
    from msgspec import inspect

    return list(_check(inspect.type_info(type_), data, "")) or [Problem(otherwise)]


# --- along the type ---------------------------------------------------------------------------


def _check(info: inspect.Type, value: object, path: str) -> Iterator[Problem]:
    """Everything wrong with the value as one of this type."""
    from msgspec import inspect

    if isinstance(info, inspect.UnionType):
        yield from _check_union(info, value, path)
    elif isinstance(info, inspect.Metadata):
        yield from _check(info.type, value, path)
    elif not _fits(info, value):
        yield _wrong_type((info,), value, path)
    elif isinstance(info, inspect.StructType) and isinstance(value, dict):
        yield from _check_struct(info, value, path)
    elif isinstance(info, inspect.DictType) and isinstance(value, dict):
        yield from _check_dict(info, value, path)
    elif isinstance(info, inspect.CollectionType) and isinstance(value, list):
        yield from _check_length(info, len(value), path, "items")
        for index, item in enumerate(value):
            yield from _check(info.item_type, item, child(path, index))
    elif isinstance(info, inspect.LiteralType):
        yield from _check_choice(info, value, path)
    elif isinstance(info, inspect.IntType | inspect.FloatType) and isinstance(value, int | float):
        yield from _check_bounds(info, value, path)
    elif isinstance(info, inspect.StrType) and isinstance(value, str):
        yield from _check_length(info, len(value), path, "characters")
        if info.pattern is not None and not re.search(info.pattern, value):
            yield Problem(f"{quote(value)} does not have the form {info.pattern}", path=path)


def _check_union(info: inspect.UnionType, value: object, path: str) -> Iterator[Problem]:
    from msgspec import inspect

    fitting = [member for member in info.types if _fits(member, value)]
    if len(fitting) > 1 and isinstance(value, dict):
        structs = [member for member in fitting if isinstance(member, inspect.StructType)]
        by_tag = {str(member.tag): member for member in structs}
        tag_field = next((member.tag_field for member in structs if member.tag_field), None)
        tag = value.get(tag_field) if tag_field else None
        if tag_field and tag not in by_tag:
            place = child(path, tag_field)
            yield Problem(
                f"{_said(tag)} is no known {tag_field}", did_you_mean(str(tag), by_tag), place
            )
            return
        fitting = [by_tag[str(tag)]] if tag_field else fitting
    found: list[Problem] = []
    for member in fitting:
        found = list(_check(member, value, path))
        if not found:
            return
    if found:
        yield from found
    else:
        yield _wrong_type(info.types, value, path)


def _check_struct(
    info: inspect.StructType, value: dict[object, object], path: str
) -> Iterator[Problem]:
    fields = {field.encode_name: field for field in info.fields}
    if info.tag_field and info.tag_field in value and value[info.tag_field] != info.tag:
        yield Problem(
            f"{_said(value[info.tag_field])} is not {info.tag}", path=child(path, info.tag_field)
        )
    for key, item in value.items():
        if not isinstance(key, str):
            yield Problem(f"the key {_said(key)} is no string", "put it in quotes", path)
        elif key in fields:
            yield from _check(fields[key].type, item, child(path, key))
        elif key != info.tag_field and info.forbid_unknown_fields:
            cure = did_you_mean(key, fields) if fields else "leave it out"
            yield Problem(f"there is no field {quote(key)} here", cure, child(path, key))
    for name, field in fields.items():
        if field.required and name not in value:
            cure = f"give {_wanted((field.type,))}"
            yield Problem("this field is missing", cure, child(path, name))


def _check_dict(
    info: inspect.DictType, value: dict[object, object], path: str
) -> Iterator[Problem]:
    for key, item in value.items():
        if isinstance(key, str):
            yield from _check(info.value_type, item, child(path, key))
        else:
            yield Problem(f"the key {_said(key)} is no string", "put it in quotes", path)


def _check_choice(info: inspect.LiteralType, value: object, path: str) -> Iterator[Problem]:
    if value in info.values and not isinstance(value, bool):
        return
    choices = [str(choice) for choice in info.values]
    close = nearest(str(value), choices)
    cure = f"did you mean {close}?" if close else ""
    if len(choices) == 1:
        yield Problem(f"{_said(value)} is not {choices[0]}", f"write {choices[0]}", path)
    else:
        yield Problem(f"{_said(value)} is none of {', '.join(choices)}", cure, path)


def _check_bounds(
    info: inspect.IntType | inspect.FloatType, value: float, path: str
) -> Iterator[Problem]:
    if (info.ge is not None and value < info.ge) or (info.gt is not None and value <= info.gt):
        yield Problem(f"{_said(value)} is too small", f"give {_wanted((info,))}", path)
    elif (info.le is not None and value > info.le) or (info.lt is not None and value >= info.lt):
        yield Problem(f"{_said(value)} is too large", f"give {_wanted((info,))}", path)
    elif info.multiple_of is not None and value % info.multiple_of:
        yield Problem(f"{_said(value)} is no multiple of {info.multiple_of}", path=path)


def _check_length(
    info: inspect.StrType | inspect.CollectionType, length: int, path: str, unit: str
) -> Iterator[Problem]:
    if info.max_length is not None and length > info.max_length:
        yield Problem(f"{length} {unit} are too many", f"at most {info.max_length}", path)
    elif info.min_length is not None and length < info.min_length:
        yield Problem(f"{length} {unit} are too few", f"at least {info.min_length}", path)


# --- mending ----------------------------------------------------------------------------------


def _mend(info: inspect.Type, value: object) -> object:
    """The value as one of this type, with stand-ins for what is wrong or missing."""
    from msgspec import inspect

    if isinstance(info, inspect.Metadata):
        return _mend(info.type, value)
    if isinstance(info, inspect.UnionType):
        fitting = [member for member in info.types if _fits(member, value)]
        return _mend(fitting[0], value) if fitting else _stand_in(info)
    if not _fits(info, value):
        return _stand_in(info)
    if isinstance(info, inspect.StructType) and isinstance(value, dict):
        return _mend_struct(info, value)
    if isinstance(info, inspect.DictType) and isinstance(value, dict):
        return {
            key: item
            for key, item in value.items()
            if isinstance(key, str) and not any(_check(info.value_type, item, ""))
        }
    if isinstance(info, inspect.CollectionType) and isinstance(value, list):
        # Choices are left out, since a stand-in could be there twice; other items keep their place.
        choices = isinstance(info.item_type, inspect.LiteralType)
        kept = [item for item in value if not (choices and any(_check(info.item_type, item, "")))]
        return [_mend(info.item_type, item) for item in kept]
    return _stand_in(info) if any(_check(info, value, "")) else value


def _mend_struct(info: inspect.StructType, value: dict[object, object]) -> dict[str, object]:
    result: dict[str, object] = {}
    if info.tag_field:
        result[info.tag_field] = info.tag
    for field in info.fields:
        name = field.encode_name
        if name in value and (field.required or _fits(field.type, value[name])):
            result[name] = _mend(field.type, value[name])
        elif field.required:
            result[name] = _stand_in(field.type)
    return result


def _stand_in(info: inspect.Type) -> object:
    from msgspec import inspect

    if isinstance(info, inspect.Metadata):
        return _stand_in(info.type)
    if isinstance(info, inspect.UnionType):
        optional = any(isinstance(member, inspect.NoneType) for member in info.types)
        return None if optional else _stand_in(info.types[0])
    if isinstance(info, inspect.StructType):
        return _mend_struct(info, {})
    if isinstance(info, inspect.LiteralType):
        return info.values[0]
    if isinstance(info, inspect.IntType | inspect.FloatType):
        return info.ge or 0
    stand_ins: tuple[tuple[type, object], ...] = (
        (inspect.StrType, ""),
        (inspect.BoolType, False),
        (inspect.DictType, {}),
        (inspect.CollectionType, []),
    )
    return next((value for kind, value in stand_ins if isinstance(info, kind)), None)


# --- words ------------------------------------------------------------------------------------


def _fits(info: inspect.Type, value: object) -> bool:
    """The value is of this type as far as one can say without looking inside."""
    from msgspec import inspect

    if isinstance(info, inspect.Metadata):
        return _fits(info.type, value)
    if isinstance(info, inspect.UnionType):
        return any(_fits(member, value) for member in info.types)
    if isinstance(info, inspect.LiteralType):
        return any(type(choice) is type(value) for choice in info.values)
    if isinstance(value, bool):
        return isinstance(info, inspect.BoolType | inspect.AnyType | inspect.CustomType)
    pairs: tuple[tuple[type | tuple[type, ...], type | tuple[type, ...]], ...] = (
        (inspect.IntType, int),
        (inspect.FloatType, (int, float)),
        (inspect.StrType, str),
        (inspect.BoolType, bool),
        (inspect.NoneType, type(None)),
        ((inspect.StructType, inspect.DictType), dict),
        (inspect.CollectionType, list),
    )
    for kinds, python in pairs:
        if isinstance(info, kinds):
            return isinstance(value, python)
    return True


def _wrong_type(wanted: tuple[inspect.Type, ...], value: object, path: str) -> Problem:
    return Problem(f"{_said(value)} is not {_wanted(wanted)}", _cure(wanted, value) or "", path)


def _cure(wanted: tuple[inspect.Type, ...], value: object) -> str | None:
    from msgspec import inspect

    def wants(kinds: type | tuple[type, ...]) -> bool:
        return any(isinstance(info, kinds) for info in wanted)

    if value is None:
        return "give a value or leave the field out"
    if wants(inspect.StrType) and not wants(inspect.IntType) and isinstance(value, int | float):
        return "put it in quotes"
    if wants(inspect.CollectionType) and not isinstance(value, list):
        return 'write a list, each item after "- "'
    if wants(inspect.BoolType) and isinstance(value, str):
        return "write true or false"
    if wants((inspect.IntType, inspect.FloatType)) and isinstance(value, str):
        return "write a decimal number without quotes and without leading zeros"
    return None


def _wanted(infos: tuple[inspect.Type, ...]) -> str:
    """What would be right, as words: "an integer from 1 to 65535 or a string"."""
    from msgspec import inspect

    words: list[str] = []
    for info in infos:
        if isinstance(info, inspect.UnionType):
            words.append(_wanted(info.types))
        elif isinstance(info, inspect.Metadata):
            words.append(_wanted((info.type,)))
        elif isinstance(info, inspect.LiteralType):
            words.append(" or ".join(str(value) for value in info.values))
        elif isinstance(info, inspect.IntType | inspect.FloatType):
            words.append(_number(info))
        elif not isinstance(info, inspect.NoneType):
            names: tuple[tuple[type | tuple[type, ...], str], ...] = (
                (inspect.StrType, "a string"),
                (inspect.BoolType, "true or false"),
                ((inspect.StructType, inspect.DictType), "a mapping"),
                (inspect.CollectionType, "a list"),
            )
            words.extend(name for kinds, name in names if isinstance(info, kinds))
    return " or ".join(words) or "a value"


def _number(info: inspect.IntType | inspect.FloatType) -> str:
    from msgspec import inspect

    name = "an integer" if isinstance(info, inspect.IntType) else "a number"
    parts = (
        ("from", info.ge),
        ("above", info.gt),
        ("to", info.le) if info.ge is not None else ("up to", info.le),
        ("below", info.lt),
    )
    return " ".join([name, *(f"{word} {bound}" for word, bound in parts if bound is not None)])


def _said(value: object) -> str:
    """A value as a message repeats it."""
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, dict):
        return "a mapping"
    return "a list" if isinstance(value, list) else str(value)
