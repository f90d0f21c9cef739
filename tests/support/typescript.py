"""Read the interfaces of a TypeScript declaration file, and check values against them."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OPENS = re.compile(r"(?:export )?(?:declare )?(?:interface|namespace|class) (\w+)[^{]*\{$")
FIELD = re.compile(r"(\w+)(\??): (.+);$")
LITERAL = re.compile(r"'([^']*)'")
LIST = re.compile(r"Array<(.+)>")
SCALARS: dict[str, type[Any] | tuple[type[Any], ...]] = {
    "string": str, "(string & {})": str, "number": (int, float), "boolean": bool, "null": type(None),
}  # fmt: skip


@dataclass(frozen=True)
class Field:
    """The type of a field as it is written, and whether it may be left out."""

    type: str
    optional: bool


class Declarations:
    """The interfaces of a file by their names, such as `ImagesResponse.Usage`."""

    def __init__(self, file: Path) -> None:
        self.interfaces: dict[str, dict[str, Field]] = {}
        path: list[str] = []
        for line in map(str.strip, file.read_text().splitlines()):
            if opened := OPENS.match(line):
                path.append(opened[1])
                self.interfaces.setdefault(".".join(path), {})
            elif line == "}":
                path.pop()
            elif field := FIELD.match(line):
                self.interfaces[".".join(path)][field[1]] = Field(field[3], optional=field[2] == "?")

    def faults(self, value: Any, kind: str, scope: str = "") -> list[str]:
        """Return what is wrong with a value that should be of a type; `scope` is the interface that names the type."""
        if "|" in kind:
            tried = [self.faults(value, each.strip(), scope) for each in kind.split(" | ")]
            return [] if [] in tried else [f"{value!r} is not {kind}"]
        if literal := LITERAL.fullmatch(kind):
            return [] if value == literal[1] else [f"{value!r} is not {kind}"]
        if kind in SCALARS:
            return [] if isinstance(value, SCALARS[kind]) else [f"{value!r} is not {kind}"]
        if items := LIST.fullmatch(kind):
            return [fault for item in value for fault in self.faults(item, items[1], scope)]
        name = self._resolved(kind, scope)
        return [fault for field in self.interfaces[name].items() for fault in self._field_faults(value, name, *field)]

    def _field_faults(self, value: dict[str, Any], interface: str, name: str, field: Field) -> list[str]:
        if name not in value:
            return [] if field.optional else [f"{interface}.{name} is missing"]
        return [f"{interface}.{name}: {fault}" for fault in self.faults(value[name], field.type, interface)]

    def _resolved(self, kind: str, scope: str) -> str:
        """Return the whole name of an interface, looked up from the inside to the outside."""
        while scope and f"{scope}.{kind}" not in self.interfaces:
            scope = scope.rpartition(".")[0]
        return f"{scope}.{kind}" if scope else kind
