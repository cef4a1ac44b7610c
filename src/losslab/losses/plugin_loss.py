"""A loss of a plug-in's function, checked like losslab's own."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from losslab.errors import InputError
from losslab.losses.base import Batch, Loss
from losslab.plugins.loading import INPUTS, load_plugin, raise_plugin_error


class PluginLoss(Loss):
    """Calls a function with what it takes of a batch, and checks that a 0-dim tensor comes back."""

    def __init__(
        self, num_classes: int, ignore_index: int | None, function: Callable[..., Any], origin: str, **options: Any
    ) -> None:
        super().__init__(num_classes, ignore_index)
        self.function, self.origin, self.options = function, origin, options
        code = function.__code__
        self.place = f"{origin}:{code.co_firstlineno}: {function.__name__}"
        self.taken = [name for name in code.co_varnames[: code.co_argcount] if name in INPUTS["loss"]]

    def compute(self, batch: Batch) -> Tensor:
        given = {name: value() if callable(value := getattr(batch, name)) else value for name in self.taken}
        try:
            result = self.function(**given, **self.options)
        except Exception as error:
            raise_plugin_error(error, self.origin)
        if not isinstance(result, Tensor) or result.ndim or not result.is_floating_point():
            what = f"a tensor of shape {list(result.shape)}" if isinstance(result, Tensor) else type(result).__name__
            raise InputError(f"{self.place} returned {what}; a loss returns a float tensor without dimensions, a mean")
        return result


def build_plugin_loss(target: str, num_classes: int, ignore_index: int | None, options: dict[str, Any]) -> Loss:
    """Build the loss of `path:name` or `package.module:name`. Raises InputError if its file cannot be imported."""
    origin, _, attribute = target.rpartition(":")
    built = load_plugin(origin, attribute)
    if not isinstance(built, type):
        return PluginLoss(num_classes, ignore_index, built, origin, **options)
    try:
        loss = built(num_classes, ignore_index, **options)
    except Exception as error:
        raise_plugin_error(error, origin)
    if not isinstance(loss, Loss):
        raise InputError(f"{origin}: {attribute} is not derived from losslab.losses.base.Loss")
    return loss
