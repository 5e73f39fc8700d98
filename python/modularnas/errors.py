"""The exceptions of this library.

All inherit `ModularNASError` and the builtin exception that fits, so both `except mn.ModularNASError` and
`except ValueError` work. The native half raises these classes too. A message says what was given, what was expected,
where (decision name or module path), and what to do.
"""

__all__ = [
    "EvaluationError",
    "ExportError",
    "InternalError",
    "MissingExtraError",
    "ModularNASError",
    "NetworkError",
    "PipelineError",
    "RuleError",
    "SearchError",
    "SpaceError",
    "StorageError",
    "StudyError",
    "TensorError",
]


class ModularNASError(Exception):
    """Any error that this library raises on purpose."""


class SpaceError(ModularNASError, ValueError):
    """A search space, a decision or a point is not what it should be."""


class RuleError(ModularNASError, ValueError):
    """A rewrite rule or a candidate op cannot be applied."""


class NetworkError(ModularNASError, ValueError):
    """A model cannot be read, or a state does not fit it."""


class SearchError(ModularNASError, ValueError):
    """A search algorithm got settings or results that it cannot use."""


class StudyError(ModularNASError, ValueError):
    """A study was used wrongly, or its file belongs to another study."""


class StorageError(ModularNASError, OSError):
    """The file of a study cannot be read or written."""


class EvaluationError(ModularNASError, ValueError):
    """An evaluator was set up wrongly or broke its protocol."""


class ExportError(ModularNASError, ValueError):
    """A network cannot be written as plain source and weights, or did not come back equal."""


class PipelineError(ModularNASError, ValueError):
    """A pipeline, its description or a script to tune is not what it should be, or a stage failed."""


class TensorError(ModularNASError, RuntimeError):
    """A tensor operation failed in the native half."""


class InternalError(ModularNASError, RuntimeError):
    """A broken invariant of this library; please report it."""


class MissingExtraError(ModularNASError, ImportError):
    """An optional package is needed and not installed; the message names the extra to install."""
