"""The two ways in which neural-tangents can be unusable, in plain words."""

import importlib.metadata

KNOWN_GOOD = "neural-tangents 0.6.5 with JAX 0.10.2 to 0.12.0.1"

NOT_INSTALLED = (
    "neural-tangents cannot be imported ({reason}). Install it with: "
    "pip install --no-deps neural-tangents && pip install frozendict scipy "
    "(--no-deps because its metadata demands TensorFlow, which is not needed)."
)


def installed_version(distribution: str) -> str:
    """Return the installed version of `distribution`, or ``"unknown"``."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


class IncompatibleJaxError(ImportError):
    """A repair of neural-tangents does not fit the installed versions."""

    def __init__(self, repair: str, problem: str) -> None:
        """Build the message.

        Args:
            repair: name of the repair that does not fit.
            problem: what was found instead of what was expected.
        """
        self.repair = repair
        super().__init__(
            f"neural-tangents {installed_version('neural-tangents')} cannot be made to work on "
            f"JAX {installed_version('jax')}: the repair '{repair}' does not fit ({problem}). "
            f"Known to work: {KNOWN_GOOD}. Install one of these combinations, or report this "
            "message to the ntk_air project.",
            name="neural_tangents",
        )
