"""What the values of astropy and pint are made of: numbers with units, and tables, times and headers of them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

from cas_engine.values.instances import PAYLOAD
from cas_engine.values.numpy_ import array_rule, masked_rule
from cas_engine.values.pieces import Branch, CodeOf, Rule, fields, listed

# Of a column, besides its numbers.
_TOLD = ("name", "unit", "format", "description")


def rule_for(kind: type) -> Rule | None:
    """The rule for a type of one of these, or one derived from it; None for what is an object like others."""
    for cls in kind.__mro__:
        rule = _RULES.get(f"{cls.__module__}.{cls.__qualname__}")
        if rule is not None:
            return rule
    return None


# pint ------------------------------------------------------------------------------------------------------


def _pint_quantity(value: Any) -> Branch:
    """Without its class, which is made anew for each registry, and without what the registry says of the units."""
    return listed("pint.Quantity", value._magnitude, dict(value._units))  # noqa: SLF001 - unlike the public ones, as it is


def _pint_unit(value: Any) -> Branch:
    return listed("pint.Unit", dict(value._units))  # noqa: SLF001


def _pint_registry(value: Any) -> Branch:
    """By what its units are, and how it goes about them: not by what it remembers of earlier conversions."""
    units = sorted((name, type(unit).__name__, *_definition(unit)) for name, unit in value._units.items())  # noqa: SLF001
    ways = ("autoconvert_offset_to_baseunit", "auto_reduce_dimensions", "default_as_delta", "force_ndarray_like")
    return listed("pint registry", units, [getattr(value, name, None) for name in ways], value.default_system)


def _definition(unit: Any) -> tuple[str, str]:
    reference = getattr(unit, "reference", None) or {}
    return repr(getattr(unit, "converter", None)), repr(sorted(reference.items()))


# astropy ---------------------------------------------------------------------------------------------------


def _unit(value: Any) -> Branch:
    """Its scale and what it is a product of, in any order; each by its name and what that stands for."""
    parts = frozenset(
        (base.name, power, _stands_for(base)) for base, power in zip(value.bases, value.powers, strict=True)
    )
    return listed("astropy unit", value.scale, parts)


def _stands_for(base: Any) -> object:
    made = base.decompose()
    if base in made.bases:
        return None  # for itself
    return made.scale, frozenset((one.name, power) for one, power in zip(made.bases, made.powers, strict=True))


def _numbers(value: Any) -> Branch:
    masked = sys.modules.get("numpy.ma")
    is_masked = masked is not None and isinstance(value, masked.MaskedArray)
    return masked_rule(value) if is_masked else array_rule(value)


def _quantity(value: Any) -> Branch:
    about = getattr(vars(value).get("info"), "_attrs", None) or {}
    told = [about.get(name) for name in ("name", "format", "description", "meta")]
    return fields(type(value), [PAYLOAD, _numbers(value), "unit", value.unit, "info", told])


def _column(value: Any) -> Branch:
    told = [each for name in _TOLD for each in (name, getattr(value, name))]
    return fields(type(value), [PAYLOAD, _numbers(value), *told, "meta", dict(value.meta)])


def _table(value: Any) -> Branch:
    named = [[name, value[name]] for name in value.colnames]
    return fields(type(value), ["columns", named, "length", len(value), "meta", dict(value.meta)])


def _time(value: Any) -> Branch:
    told = (each for name in ("scale", "format", "precision", "location") for each in (name, getattr(value, name)))
    return fields(type(value), ["jd1", value.jd1, "jd2", value.jd2, *told])


def _header(value: Any) -> Branch:
    cards = [(card.keyword, card.value, card.comment) for card in value.cards]
    return listed("FITS header", CodeOf(type(value)), cards)


def _coordinates(value: Any) -> Branch:
    """Those of one frame: by its attributes, and the components of its data."""
    frame = getattr(value, "frame", value)
    held = {name: getattr(value, name) for name in frame.frame_attributes}
    data = list(_components(value.data)) if frame.has_data else None
    return listed("coordinates", CodeOf(type(value)), CodeOf(type(frame)), held, data)


def _components(data: Any) -> Iterator[object]:
    yield CodeOf(type(data))
    yield {name: getattr(data, name) for name in data.components}
    for name, one in sorted(getattr(data, "differentials", {}).items()):
        yield [name, *_components(one)]


_RULES: dict[str, Callable[[Any], Branch]] = {
    "pint.facets.plain.quantity.PlainQuantity": _pint_quantity,
    "pint.facets.plain.unit.PlainUnit": _pint_unit,
    "pint.facets.plain.registry.GenericPlainRegistry": _pint_registry,
    "astropy.units.core.UnitBase": _unit,
    "astropy.units.quantity.Quantity": _quantity,
    "astropy.table.column.BaseColumn": _column,
    "astropy.table.table.Table": _table,
    "astropy.time.core.TimeBase": _time,
    "astropy.io.fits.header.Header": _header,
    "astropy.coordinates.sky_coordinate.SkyCoord": _coordinates,
    "astropy.coordinates.baseframe.BaseCoordinateFrame": _coordinates,
}
