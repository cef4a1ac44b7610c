"""The import of plug-ins: an error in one is a line with its file and line number."""

import importlib
import inspect
import sys
import traceback
from collections.abc import Mapping
from importlib.machinery import FileFinder, ModuleSpec, SourceFileLoader
from importlib.util import module_from_spec
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, NoReturn

from pydantic import BaseModel, ValidationError, create_model

from losslab.errors import InputError, find_exhausted_memory, shorten
from losslab.io.faults import explain_faults
from losslab.io.hashing import compute_bytes_md5
from losslab.io.yaml import Section, validate

LOADED: dict[Path, str] = {}
"""The files of plug-ins and their helpers that this process has imported, and the md5s of what it has imported."""
INPUTS = {
    "loss": ("logits", "probabilities", "target", "one_hot", "valid"),
    "net": ("num_classes", "in_channels"),
    "augmentation": ("fill", "void"),
    "metric": ("hit", "truth", "predicted", "prediction", "target", "valid", "probabilities", "classes"),
    "reader": ("folder",),
}
"""The arguments that a plug-in of each kind may take by name."""


class _RecordingLoader(SourceFileLoader):
    """Runs a file as it is now: bytecode that Python keeps may be of an earlier one of this size and second."""

    def get_code(self, fullname: str) -> CodeType:
        source = self.get_data(self.path)
        LOADED[Path(self.path)] = compute_bytes_md5(source)
        return self.source_to_code(source, self.path)


def load_plugin(origin: str, attribute: str) -> Any:
    """Return the decorated object of a file, or of a module where `origin` is no path. Raises InputError if that fails."""
    module = _load_file(Path(origin)) if origin.endswith(".py") else _load_module(origin)
    try:
        return getattr(module, attribute)
    except AttributeError:
        raise InputError(f"{origin}: it has no {attribute}") from None


def load_module(origin: str) -> ModuleType:
    """Import a file of plugins/, or a module by its name. Raises InputError that names the line at fault."""
    return _load_file(Path(origin)) if origin.endswith(".py") else _load_module(origin)


def call_plugin(function: Any, origin: str, inputs: Mapping[str, Any]) -> Any:
    """Call a plug-in with those of the inputs that it takes by name. Raises InputError with the line that fails."""
    parameters = inspect.signature(function).parameters
    taken = inputs if any(p.kind is p.VAR_KEYWORD for p in parameters.values()) else inputs.keys() & parameters.keys()
    try:
        return function(**{name: inputs[name] for name in taken})
    except (Exception, SystemExit) as error:
        raise_plugin_error(error, origin)


def build_options(target: Any, where: str) -> type[BaseModel]:
    """Build the schema of the options: a class's own `Options`, else the keyword-only arguments."""
    own = getattr(target, "Options", None)
    if isinstance(own, type) and issubclass(own, BaseModel):
        schema = own
    else:
        schema = create_model(f"{target.__name__}_options", __base__=Section, **_read_arguments(target, where))
    fields = schema.model_fields
    for name, field in fields.items():
        if name in ("size", "nfiles"):
            raise InputError(
                f"{where}: option {name} of {target.__name__}: DVC's run cache overlooks keys of that name; rename it"
            )
        if field.is_required():
            raise InputError(f"{where}: option {name} of {target.__name__} has no default; give it one")
    defaults = {key: field.get_default(call_default_factory=True) for key, field in fields.items()}
    try:
        schema.model_validate(defaults)
    except ValidationError as error:
        faults = "; ".join(explain_faults(error, schema, defaults))
        raise InputError(f"{where}: the defaults of {target.__name__}: {faults}") from None
    return schema


def check_options(target: Any, origin: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options with defaults, checked by the plug-in's own schema, also by what a manifest cannot tell."""
    return validate(build_options(target, origin), options, origin).model_dump()


def raise_plugin_error(error: Exception | SystemExit, origin: str) -> NoReturn:
    """Raise what went wrong in a plug-in as InputError with its file and line; what is about memory, as it is."""
    if find_exhausted_memory(error) or isinstance(error, InputError):
        raise error
    path = str(Path(origin).resolve()) if origin.endswith(".py") else origin
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame.lineno for frame in frames if frame.filename in (path, origin)]
    line = (
        error.lineno
        if isinstance(error, SyntaxError) and error.filename in (path, origin)
        else own[-1]
        if own
        else None
    )
    place = f"{origin}:{line}" if line else origin
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    raise InputError(f"{place}: {type(error).__name__}: {shorten(' '.join(text.split()))}") from error


def _load_file(path: Path) -> ModuleType:
    name = f"losslab_plugins.{path.stem}"
    if name in sys.modules:
        return sys.modules[name]
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    place = path.resolve()
    loader, folder = _RecordingLoader(name, str(place)), str(place.parent)
    sys.modules[name] = module = module_from_spec(ModuleSpec(name, loader, origin=str(place)))
    module.__file__ = str(place)
    if folder not in sys.path:
        sys.path.append(folder)  # last: a helper beside the plug-in is found, and no library is hidden by one
        sys.path_importer_cache[folder] = FileFinder(folder, (_RecordingLoader, [".py"]))
    try:
        loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise_plugin_error(error, str(path))
    return module


def _load_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise_plugin_error(error, name)


def _read_arguments(target: Any, where: str) -> dict[str, Any]:
    """Return the keyword-only arguments with types and defaults, as pydantic's create_model takes them."""
    hints = inspect.get_annotations(getattr(target, "__init__") if isinstance(target, type) else target, eval_str=True)  # noqa: B009
    fields: dict[str, Any] = {}
    for name, parameter in inspect.signature(target).parameters.items():
        if parameter.kind is not parameter.KEYWORD_ONLY:
            continue
        default = ... if parameter.default is parameter.empty else parameter.default
        if name not in hints and not isinstance(default, bool | int | float | str):
            raise InputError(f"{where}: option {name} of {target.__name__} has no type; write it after a colon")
        fields[name] = (hints.get(name, type(default)), default)
    return fields
