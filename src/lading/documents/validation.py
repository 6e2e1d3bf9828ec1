"""Variables, and pydantic's errors told to people: file, line, and what would be right."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ValidationError

from lading.documents.reading import Document, Loc
from lading.errors import InvalidProject, Problem, counted

Model = TypeVar("Model", bound=BaseModel)

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_VARIABLE = re.compile(r"\$\$\{|\$\{([^{}]*)(\})?")
_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Findings(ValueError):
    """Several things wrong with one section, each at a place of its own. For validators that look at many fields."""

    def __init__(self, found: Iterable[tuple[Loc, str]]) -> None:
        """``found``: (path below the section, reason) pairs."""
        self.found = tuple(found)
        super().__init__("; ".join(reason for _, reason in self.found))


def check_name(value: str) -> str:
    """A name that may stand in paths, run ids and manifests. Raises ValueError."""
    if not NAME.fullmatch(value):
        raise ValueError(
            f'"{value}" cannot be a name: use 1 to 63 lower-case letters, digits, "-" and "_", '
            "and begin with a letter or digit"
        )
    return value


Name = Annotated[str, AfterValidator(check_name)]


# --- variables -----------------------------------------------------------------------------------------------------


def expand(document: Document, environ: Mapping[str, str]) -> Document:
    """``${NAME}`` in text values, from the environment; ``$${`` is a plain ``${``.

    Values are put in after parsing, so that none of them can become YAML. Raises InvalidProject with every variable
    that is missing.
    """
    problems: list[Problem] = []
    inserted: set[str] = set(document.inserted)

    def text(value: str, loc: Loc) -> str:
        def one(match: re.Match[str]) -> str:
            name = match[1]
            if name is None:
                return "${"
            if not match[2] or not _VARIABLE_NAME.fullmatch(name):
                problems.append(
                    document.problem('write a variable as ${NAME}, and a plain "${" as "$${"', *loc)
                )
            elif name not in environ:
                problems.append(document.problem(f"the environment variable {name} is not set", *loc))
            else:
                inserted.add(environ[name])
                return environ[name]
            return ""

        return _VARIABLE.sub(one, value)

    def walk(value: Any, loc: Loc) -> Any:
        if isinstance(value, str):
            return text(value, loc)
        if isinstance(value, dict):
            return {key: walk(item, (*loc, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [walk(item, (*loc, index)) for index, item in enumerate(value)]
        return value

    data = walk(document.data, ())
    if problems:
        raise InvalidProject(problems=problems)
    return replace(document, data=data, inserted=frozenset(inserted))


# --- validation ----------------------------------------------------------------------------------------------------


def validate(
    model_type: type[Model], document: Document, at: Loc = (), data: Any = None, *, known: Iterable[str] = ()
) -> Model:
    """The section ``at`` of the document as a model; ``data`` stands in for the section where it was changed.

    ``known``: keys that the section takes beside the model's, for messages about keys that it does not. Raises
    InvalidProject with every problem, each with its file and line. Values that came from the environment, and values of
    fields that hold secrets, are not repeated.
    """
    if data is None:
        data = document.data
        for key in at:
            data = data[key]
    try:
        return model_type.model_validate(data)
    except ValidationError as error:
        reasons = _reasons(model_type, data, error, at, frozenset(known))
    problems = [document.problem(_hide(reason, document.inserted), *at, *path) for path, reason in reasons]
    raise InvalidProject(problems=sorted(problems, key=lambda problem: problem.line))


def explained(model_type: type[BaseModel], data: Any, error: ValidationError, what: str) -> str:
    """Pydantic's error about ``data``, which stands under the key ``what``, in the words of `validate`."""
    return "; ".join(reason for _, reason in _reasons(model_type, data, error, (what,)))


def _reasons(
    model_type: type[BaseModel],
    data: Any,
    error: ValidationError,
    at: Loc,
    known: frozenset[str] = frozenset(),
) -> list[tuple[Loc, str]]:
    found = [_finding(model_type, data, entry, known) for entry in error.errors(include_url=False)]
    return _merge([each for several in found for each in several], at)


@dataclass(frozen=True, slots=True)
class _Found:
    path: Loc
    reason: str
    expects: str = ""  # what would be right, as in "a list"; the reason then follows it
    whole: bool = False  # the reason is a sentence of its own


def _finding(model_type: type[BaseModel], data: Any, error: Any, known: frozenset[str]) -> list[_Found]:
    kind, context = error["type"], error.get("ctx", {})
    path, value = _path(data, error["loc"], keep_last=kind in ("missing", "extra_forbidden"))
    if kind == "extra_forbidden":
        keys = known_keys(model_type, path[:-1]) | (known if len(path) == 1 else frozenset())
        return [_Found(path, unknown_key(str(path[-1]), keys), whole=True)]
    if kind == "missing":
        return [_Found(path, "is missing")]
    cause = context.get("error")
    if isinstance(cause, Findings):
        return [_Found((*path, *below), reason, whole=True) for below, reason in cause.found]
    if kind in _EXPECTS:
        note = ""
        if kind == "string_type" and isinstance(value, bool | int | float):
            note = " (put it in quotes)"
        return [_Found(path, "", expects=_EXPECTS[kind] + note)]
    if kind in ("literal_error", "enum"):
        return [_not_one_of(path, value, str(context["expected"]))]
    text = worded(error)
    return [_Found(path, text if text.startswith("must ") else f": {text}")]


def worded(error: Any) -> str:
    """One of Pydantic's errors without its place: ``must be at least 1``, or the words of our own validators."""
    kind, context = error["type"], error.get("ctx", {})
    if isinstance(cause := context.get("error"), ValueError | AssertionError):
        return str(cause)
    if kind in _LIMITS:
        words, limit = _LIMITS[kind]
        bound = context[limit]
        return f"must be {words} {f'{bound:g}' if isinstance(bound, float) else bound}"
    if kind in _LENGTHS:
        words, limit, what = _LENGTHS[kind]
        return f"must have {words} {counted(context[limit], what)}"
    message: str = error["msg"].removeprefix("Value error, ")
    for begin in ("Input should be ", "Input should "):
        if message.startswith(begin):
            return "must " + ("be " if begin.endswith("be ") else "") + message.removeprefix(begin)
    return message[:1].lower() + message[1:]


_LIMITS = {
    "greater_than_equal": ("at least", "ge"), "greater_than": ("more than", "gt"),
    "less_than_equal": ("at most", "le"), "less_than": ("less than", "lt"),
}  # fmt: skip
_LENGTHS = {
    "too_short": ("at least", "min_length", "item"), "too_long": ("at most", "max_length", "item"),
    "string_too_short": ("at least", "min_length", "character"),
    "string_too_long": ("at most", "max_length", "character"),
}  # fmt: skip


_EXPECTS = {
    "string_type": "text", "int_type": "a whole number", "int_parsing": "a whole number",
    "int_from_float": "a whole number", "float_type": "a number", "float_parsing": "a number",
    "bool_type": "true or false", "bool_parsing": "true or false", "list_type": "a list", "tuple_type": "a list",
    "set_type": "a list", "frozen_set_type": "a list", "dict_type": "a mapping of keys to values",
    "model_type": "a mapping of keys to values", "model_attributes_type": "a mapping of keys to values",
    "mapping_type": "a mapping of keys to values", "none_required": "empty",
}  # fmt: skip


def _path(data: Any, loc: Loc, keep_last: bool) -> tuple[Loc, Any]:
    """Pydantic's location without the names of union branches and validators that it mixes in, and the value there."""
    path: list[str | int] = []
    for index, key in enumerate(loc):
        in_list = isinstance(data, list | tuple) and isinstance(key, int) and key < len(data)
        if in_list or (isinstance(data, dict) and key in data):
            data = data[key]
        elif keep_last and index == len(loc) - 1:
            data = None
        else:
            continue
        path.append(key)
    return tuple(path), data


def _merge(found: list[_Found], at: Loc) -> list[tuple[Loc, str]]:
    """One reason per place: what the branches of a union expect is joined by "or"; where one branch got further than
    that, only its finding counts."""
    merged: dict[tuple[Loc, str], None] = {}
    for each in found:
        if each.expects:
            if any(len(o.path) > len(each.path) and o.path[: len(each.path)] == each.path for o in found):
                continue
            others = dict.fromkeys(o.expects for o in found if o.path == each.path and o.expects)
            told = next((o.reason for o in found if o.path == each.path and o.expects and o.reason), "")
            reason = f"{_shown(at + each.path)} must be {' or '.join(others)}{told}"
        elif each.whole or not (at + each.path):
            reason = each.reason.removeprefix(": ")
        elif each.reason.startswith(":"):
            reason = _shown(at + each.path) + each.reason
        else:
            reason = f"{_shown(at + each.path)} {each.reason}"
        merged[each.path, reason] = None
    return list(merged)


def _shown(path: Loc) -> str:
    """``window.every``, ``checks[0]``; the file itself where the path is empty."""
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path).removeprefix(".")
    return text or "the file"


def _not_one_of(path: Loc, value: Any, expected: str) -> _Found:
    allowed = re.findall(r"'([^']*)'", expected) or [expected]
    told = isinstance(value, str) and not _secret(path)
    return _Found(
        path,
        f', not "{value}"{nearest(value, allowed)}' if told else "",
        expects=f"one of {', '.join(allowed)}" if len(allowed) > 1 else f'"{allowed[0]}"',
    )


def unknown_key(key: str, known: Iterable[str]) -> str:
    """``unknown key "formt" – did you mean "format"?``, or the keys that are known."""
    known = sorted(set(known))
    near = nearest(key, known)
    if near or not 0 < len(known) <= 25:
        return f'unknown key "{key}"{near}'
    return f'unknown key "{key}"; known here: {", ".join(known)}'


def unknown(what: str, name: object, known: Iterable[str]) -> str:
    """``there is no store "lak" – did you mean "lake"?``, or the names that are known."""
    names = sorted(set(known))
    near = nearest(name, names)
    return f'there is no {what} "{name}"{near}' if near or not names else (
        f'there is no {what} "{name}"; there are {", ".join(names)}'
    )  # fmt: skip


def nearest(name: object, known: Iterable[str]) -> str:
    """`` – did you mean "lake"?``, or nothing where no known name is near. Upper and lower case are the same here."""
    names = {each.casefold(): each for each in sorted(known, reverse=True)}
    text = str(name).casefold()
    near = difflib.get_close_matches(text, names, n=1)
    if not near and len(text) > 2:  # a beginning, as hmac of hmac_sha256
        near = [each for each in names if each.startswith(text)]
    return f' – did you mean "{names[near[0]]}"?' if near else ""


def known_keys(model_type: type[BaseModel], path: Loc) -> set[str]:
    """The keys that the model, or the models of a union, take at ``path``."""
    models = {model_type}
    for key in path:
        if not isinstance(key, str):
            continue
        fields = [(model, _by_key(model).get(key)) for model in models]
        models = {inner for _, field in fields if field for inner in _models(field.annotation)} or models
    return {key for model in models for key in _by_key(model)}


def _by_key(model: type[BaseModel]) -> dict[str, Any]:
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _models(annotation: Any) -> set[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {annotation}
    return {model for inner in get_args(annotation) for model in _models(inner)}


_SECRET = re.compile(r"pass|secret|token|credential|key|url|dsn", re.IGNORECASE)


def _secret(path: Loc) -> bool:
    return any(isinstance(key, str) and _SECRET.search(key) for key in path)


def _hide(reason: str, inserted: frozenset[str]) -> str:
    """Values of the environment are taken out of a message that repeats them."""
    for value in sorted(inserted - {""}, key=len, reverse=True):
        reason = reason.replace(value, "***") if len(value) > 3 else reason.replace(f'"{value}"', '"***"')
    return reason
