"""The kinds of member a request has: what each takes for its value, and the wire's word for what it refuses.

Coercion is the reference's: numeric strings are numbers, the usual words are booleans, only a string is a string.
A kind that takes more than its class tells says so in its `shape`, which the OpenAPI document shows.
"""

from __future__ import annotations

import hashlib
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from marshmallow import EXCLUDE, Schema, ValidationError, fields, missing, post_load, pre_load

from engine.images.reading import MOST_BYTES
from schemas.faults import Fault, fault

TRUE_WORDS = frozenset({"true", "yes", "on", "1", "t", "y"})
FALSE_WORDS = frozenset({"false", "no", "off", "0", "f", "n"})
NO_IMAGE_WORDS = frozenset({"", "None", "none", "null", "string"})
LONGEST_NAME = 256
"""Characters of a text that is no more than a name or a word."""
LONGEST_URL = 2048
LONGEST_PICTURE = MOST_BYTES * 3 // 2
"""Characters of a picture in base64, which has 4 for 3 bytes, and breaks of lines."""
URL = re.compile(r"\s{0,100}(?:[a-z][a-z0-9+.-]{0,30}://|/inputs/|/outputs/|/files/)", re.IGNORECASE)
INTEGER = re.compile(r"\s*[+-]?[0-9]{1,40}(\.0*)?\s*", re.ASCII)
NUMBER = re.compile(r"\s*[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,4})?\s*", re.ASCII)

N = TypeVar("N", int, float)


def in_any_case(words: Iterable[str]) -> str:
    """A pattern of these words that every reader of JSON Schema knows: ECMA 262 had no flag for case inside one."""
    letters = ("".join(f"[{c.upper()}{c}]" if c.isalpha() else c for c in word) for word in words)
    return f"^({'|'.join(letters)})$"


def longest_first(words: Iterable[str]) -> list[str]:
    """The words, whole ones before their initials."""
    return sorted(words, key=lambda word: (-len(word), word))


FLAG = {
    "type": ["boolean", "integer", "string"],
    "minimum": 0,
    "maximum": 1,
    "pattern": in_any_case(longest_first(TRUE_WORDS | FALSE_WORDS)),
    "description": "true or false; 1 or 0 will do, and so will a text: "
    f"{', '.join(longest_first(TRUE_WORDS))}, or {', '.join(longest_first(FALSE_WORDS))}, in any case.",
}
"""The JSON Schema of a `Flag`, told once for all of them."""
FLAG_NAME = "Flag"
"""Its name in the document."""


def storable(text: str) -> str:
    """The text, if every database and file system can keep it."""
    try:
        text.isascii() or text.encode()  # a picture in base64 would be copied
    except UnicodeEncodeError as error:
        message = "Input should be valid Unicode: it holds half of a surrogate pair"
        raise fault("string_unicode", message, text) from error
    if "\0" in text:  # PostgreSQL keeps no such text
        raise fault("string_unicode", "Input should be text: it holds the character U+0000", text)
    return text


class Described(fields.Field[Any], ABC):
    """What every member has besides its kind: a description, what it is when `absent`, and whether null will do."""

    def __init__(self, description: str, *, default: Any = missing, **kwargs: Any):
        metadata: dict[str, Any] = {"description": description, **kwargs.pop("metadata", {})}
        if default is not missing and (default is not None or kwargs.get("allow_none")):
            metadata["default"] = default
        self.absent = default
        super().__init__(metadata=metadata, **kwargs)

    def _validate_missing(self, value: Any) -> None:
        """Absent and null, in the wire's words."""
        if value is missing and self.required:
            raise fault("missing", "Field required")
        if value is None and not self.allow_none:
            self.refuse(None)

    @abstractmethod
    def refuse(self, value: Any) -> NoReturn:
        """Raise the fault of a value of the wrong kind."""

    def shape(self) -> dict[str, Any]:
        """The JSON Schema of what is taken, in place of the one of the class; empty where that one says all."""
        return {}

    @property
    def in_query(self) -> bool:
        """Whether it is a parameter of a query: a text in any case, and one that counts as absent where it is empty."""
        return isinstance(self.parent, QuerySchema)


class Text(Described, fields.String):
    """A string, and only a string, of at most `longest` characters."""

    def __init__(self, description: str, *, longest: int | None = LONGEST_NAME, **kwargs: Any):
        self.longest = longest
        bound = {} if longest is None else {"maxLength": longest}
        super().__init__(description, metadata=bound | kwargs.pop("metadata", {}), **kwargs)

    def refuse(self, value: Any) -> NoReturn:
        raise fault("string_type", "Input should be a valid string", value)

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> str:
        if not isinstance(value, str):
            self.refuse(value)
        if self.longest is not None and len(value) > self.longest:
            self.refuse_length(value, self.longest)
        return storable(value)

    def refuse_length(self, value: str, longest: int) -> NoReturn:
        """Raise the fault of a value that is too long."""
        text = f"Input should have at most {longest} characters, not {len(value)}"
        raise fault("string_too_long", text, value, max_length=longest, actual_length=len(value))


class Choice(Text):
    """One of a list of words; `aliases` are other spellings of some, `fold` ignores case."""

    def __init__(
        self,
        description: str,
        words: Iterable[str],
        *,
        aliases: Mapping[str, str] | None = None,
        fold: bool = False,
        **kwargs: Any,
    ):
        self.words = tuple(words)
        self.aliases = dict(aliases or {})
        self.fold = fold
        description += " In upper or lower case." if fold else ""
        taken = [*self.words, *self.aliases, *([None] if kwargs.get("allow_none") else [])]
        super().__init__(description, longest=None, metadata={"enum": taken}, **kwargs)

    def refuse(self, value: Any) -> NoReturn:
        legal = ", ".join(repr(word) for word in self.words)
        raise fault("enum", f"Input should be one of {legal}", value, expected=legal)

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> str:
        word = value.lower() if self.fold and isinstance(value, str) else value
        if not isinstance(word, str):
            self.refuse(value)
        word = self.aliases.get(word, word)
        if word not in self.words:
            self.refuse(value)
        return word


class Bounded(Described):
    """A number with inclusive bounds, or a text of one."""

    kind: str
    """JSON Schema's word for it."""
    text: re.Pattern[str]
    """What such a text looks like."""

    def __init__(self, description: str, least: float | None = None, most: float | None = None, **kwargs: Any):
        self.least, self.most = least, most
        bounds = {"minimum": least, "maximum": most}
        metadata = {name: bound for name, bound in bounds.items() if bound is not None} | kwargs.pop("metadata", {})
        super().__init__(description, metadata=metadata, **kwargs)

    def shape(self) -> dict[str, Any]:
        """A number or a text of one; a query has only texts, and to call one a number says it."""
        if self.in_query:
            return {}
        kinds = [self.kind, "string", *(["null"] if self.allow_none else [])]
        return {"type": kinds, "pattern": f"^{self.text.pattern}$"}

    def within(self, number: N, value: Any) -> N:
        """The number, if its bounds hold."""
        if self.least is not None and number < self.least:
            text = f"Input should be greater than or equal to {self.least}"
            raise fault("greater_than_equal", text, value, ge=self.least)
        if self.most is not None and number > self.most:
            raise fault("less_than_equal", f"Input should be less than or equal to {self.most}", value, le=self.most)
        return number


class Whole(Bounded, fields.Integer):
    """An integer."""

    kind, text = "integer", INTEGER

    def refuse(self, value: Any) -> NoReturn:
        raise fault("int_parsing", "Input should be a valid integer", value)

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> int:
        if isinstance(value, str):
            if not INTEGER.fullmatch(value):
                self.refuse(value)
            return self.within(int(value.partition(".")[0]), value)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self.refuse(value)
        if isinstance(value, float) and not math.isfinite(value):  # an int may be too large to be asked
            self.refuse(value)
        if value != int(value):
            raise fault("int_from_float", "Input should be a whole number, without a fraction", value)
        return self.within(int(value), value)


class Number(Bounded, fields.Float):
    """A finite number."""

    kind, text = "number", NUMBER

    def refuse(self, value: Any) -> NoReturn:
        raise fault("float_parsing", "Input should be a valid number", value)

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> float:
        if isinstance(value, str) and not NUMBER.fullmatch(value):
            self.refuse(value)
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            self.refuse(value)
        try:
            number = float(value)
        except OverflowError:
            self.refuse(value)
        if not math.isfinite(number):
            self.refuse(value)
        return self.within(number, value)


class Flag(Described, fields.Boolean):
    """A boolean or one of the usual words for it."""

    def refuse(self, value: Any) -> NoReturn:
        raise fault("bool_parsing", "Input should be true or false", value)

    def shape(self) -> dict[str, Any]:
        """`FLAG`, by its name, or null where that will do."""
        named = {"$ref": f"#/components/schemas/{FLAG_NAME}"}
        return {"anyOf": [named, {"type": "null"}]} if self.allow_none else named

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> bool:
        word = value.lower() if isinstance(value, str) else value
        if isinstance(word, (int, float)):
            word = str(int(word)) if word in (0, 1) else ""
        if not isinstance(word, str) or word not in TRUE_WORDS | FALSE_WORDS:
            self.refuse(value)
        return word in TRUE_WORDS


@dataclass(frozen=True)
class Upload:
    """A file that came with a form, in the place of a picture's text."""

    data: bytes

    def __str__(self) -> str:
        return f"a file of {len(self.data)} bytes, SHA-256 {hashlib.sha256(self.data).hexdigest()}"


class Image(Described, fields.String):
    """A picture: URL, data URL, base64 or an `Upload`; None where the words for *no image* stand."""

    def __init__(self, description: str, *, required: bool = False, **kwargs: Any):
        nullable = {} if required else {"allow_none": True, "default": kwargs.pop("default", None)}
        text = f"{description} URL, data URL or base64; null, empty or None: no image."
        metadata = {"maxLength": LONGEST_PICTURE} | kwargs.pop("metadata", {})
        super().__init__(text, required=required, metadata=metadata, **nullable, **kwargs)

    def refuse(self, value: Any) -> NoReturn:
        raise fault("string_type", "Input should be a valid string", value)

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> Any:
        if isinstance(value, Upload):
            return value
        if not isinstance(value, str):
            self.refuse(value)
        if len(value) > LONGEST_NAME or value not in NO_IMAGE_WORDS:  # a picture in base64 would be hashed
            return self.within(value)
        if self.required:
            raise fault("missing", "An image is required: a URL, a data URL or base64", value)
        return None

    def within(self, value: str) -> str:
        """The text, if it can be kept and is not too long for what it is: a URL or base64."""
        is_url = URL.match(value) is not None
        longest = LONGEST_URL if is_url else LONGEST_PICTURE
        if len(value) > longest:
            kind = "A URL" if is_url else "A picture as a text"
            text = f"{kind} should have at most {longest} characters, not {len(value)}"
            raise fault("string_too_long", text, value, max_length=longest, actual_length=len(value))
        return storable(value)


class Items(Described, fields.List[Any]):
    """A list of members of one kind; at most `longest`, filled up to it with `filler` where one is given."""

    def __init__(
        self,
        description: str,
        item: fields.Field[Any],
        *,
        longest: int,
        filler: Callable[[], Any] | None = None,
        **kwargs: Any,
    ):
        self.longest, self.filler = longest, filler
        super().__init__(description, cls_or_instance=item, metadata={"maxItems": longest}, **kwargs)

    def refuse(self, value: Any) -> NoReturn:
        raise fault("list_type", "Input should be a valid list", value)

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> list[Any]:
        if not isinstance(value, list):
            self.refuse(value)
        if len(value) > self.longest:
            text = f"List should have at most {self.longest} items, not {len(value)}"
            raise fault("too_long", text, value, max_length=self.longest, actual_length=len(value))
        return self.filled(super()._deserialize(value, attr, data, **kwargs))

    def filled(self, items: list[Any]) -> list[Any]:
        """The list, as long as the engine expects it."""
        if self.filler is None:
            return items
        return items + [self.filler() for _ in range(self.longest - len(items))]


class Object(fields.Nested):
    """An object inside a list; absent members take their defaults."""

    def _validate_missing(self, value: Any) -> None:
        if value is None and not self.allow_none:
            self.refuse(value)

    def _load(self, value: Any, partial: Any = None) -> Any:
        if not isinstance(value, Mapping):
            self.refuse(value)
        return super()._load(value, partial)

    def _test_collection(self, value: Any) -> None:
        """`_load` says what does not fit."""

    def refuse(self, value: Any) -> NoReturn:
        raise fault("model_attributes_type", "Input should be a JSON object", value)


class FilledSchema(Schema):
    """A shape whose absent members take their defaults, and whose unknown ones are ignored."""

    class Meta:
        unknown = EXCLUDE

    @post_load
    def fill(self, members: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Fill in what is absent."""
        return defaults(self) | members


class QuerySchema(FilledSchema):
    """The parameters of a query, of which one without a value counts as absent."""

    @pre_load
    def drop_empty(self, members: Mapping[str, Any], **_: Any) -> dict[str, Any]:
        """Leave out what has no value."""
        return {name: value for name, value in members.items() if value != ""}


def defaults(schema: Schema) -> dict[str, Any]:
    """The default of each member that has one, ready for use; lists are new each time."""
    return {
        name: fresh(field.absent)
        for name, field in schema.fields.items()
        if isinstance(field, Described) and field.absent is not missing
    }


def filler_of(schema: Schema) -> Callable[[], dict[str, Any]]:
    """What fills a list of such objects up: one that names no member."""
    filler = defaults(schema)
    return lambda: {name: fresh(value) for name, value in filler.items()}


def fresh(value: Any) -> Any:
    """A copy whose lists and objects are its own."""
    if isinstance(value, (list, tuple)):
        return [fresh(item) for item in value]
    return dict(value) if isinstance(value, Mapping) else value


def refused(type: str, msg: str, member: str, value: Any = None, **ctx: Any) -> ValidationError:
    """A fault found when looking at several members together, told at one of them."""
    return ValidationError({member: [Fault(type, msg, value, ctx)]})
