"""A network of the user: ``module:function`` names a function that builds it.

The function is called with the ``arguments`` of the sweep file, any of which can be an axis. It is also given those of
``input_shape``, ``outputs`` and ``vocabulary`` (None if inputs are numbers) that it has as parameters:

    model: [{name: my_models:make, arguments: {depth: [2, 4]}}]
"""

from __future__ import annotations

import copy
import inspect
from typing import TYPE_CHECKING, Any

from pydantic import Field

from nfa.data.shape import DataShape
from nfa.entries import Settings, setting
from nfa.errors import UserError, cut
from nfa.external.references import named
from nfa.external.users_code import users_code
from nfa.models.discover import layers_of, sample, seeded
from nfa.models.entry import ModelEntry

if TYPE_CHECKING:
    import torch


class FunctionModel(Settings):
    """Settings of a network that is named ``module:function``."""

    name: str = setting("my_models:make", "a module that Python can import, a colon, and a function in it")
    arguments: dict[str, bool | int | float | str] = Field(
        default_factory=dict, description="keyword arguments for the function; a list in them is a grid"
    )


def _keywords(function: Any, data: DataShape) -> dict[str, Any]:
    """Return the facts about the data that the function has parameters for."""
    known = {"input_shape": data.input_shape, "outputs": data.outputs, "vocabulary": data.vocabulary}
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):  # a function that is not written in Python
        return {}
    return {name: value for name, value in known.items() if name in parameters}


def build(settings: FunctionModel, data: DataShape, generator: torch.Generator) -> torch.nn.Module:
    """Build the network; ``generator`` seeds the global random generators that the user's function may draw from.

    Raises:
        UserError: There is no such function, it raises an exception, or it returns no network.
    """
    import torch
    from torch import nn

    with seeded(torch.Generator().manual_seed(0)):  # so that a network made at import is the same in every process
        found = named(settings.name)
    if isinstance(found, nn.Module):
        if settings.arguments:
            raise UserError(f"{cut(settings.name)}: arguments: it is a network, not a function that takes any")
        with users_code(f"{cut(settings.name)}: copying the network"):
            return copy.deepcopy(found)  # every run trains a copy
    if not callable(found):
        raise UserError(f"{cut(settings.name)}: is a {type(found).__name__}; name a function that returns a network")
    keywords = _keywords(found, data) | settings.arguments
    called = f"with {cut(', '.join(sorted(keywords)))}" if keywords else "without arguments"
    with users_code(f"{cut(settings.name)}: calling it {called}"), seeded(generator):
        model = found(**keywords)
        if isinstance(model, nn.Module) and any(nn.parameter.is_lazy(value) for value in model.parameters()):
            with torch.no_grad():
                model(sample(data))  # lazy modules draw their weights in this pass
    if not isinstance(model, nn.Module):
        raise UserError(f"{cut(settings.name)}: returns {type(model).__name__}, not a torch.nn.Module")
    return model


layers = layers_of(build)

ENTRY = ModelEntry(
    FunctionModel,
    layers,
    build,
    reads=frozenset({"images", "tokens", "vectors"}),
    about="your own network: a module that Python can import, a colon, and a function that builds it",
    attention=None,
    chain=None,
    draws=True,
)
