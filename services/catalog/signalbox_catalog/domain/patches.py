"""JSON merge patches (RFC 7396)."""

from signalbox_catalog.domain.jsons import Json, check_depth


def merged(target: Json, patch: Json) -> Json:
    """The target as the patch wants it; neither is changed, though the result may share parts with both."""
    check_depth(patch)
    return _merged(target, patch)


def _merged(target: Json, patch: Json) -> Json:
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = _merged(result.get(name), value)
    return result
