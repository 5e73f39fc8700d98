"""Model-based search with a score model of the user's."""

from __future__ import annotations

from typing import Any, Literal

from modularnas.errors import SearchError
from modularnas.search import algorithms

__all__ = ["ModelBased"]


class ModelBased(algorithms.ModelBased):
    """Model-based search, the scheme of the original ModularNAS.

    A score model is fitted to all trials, an inner optimizer finds the points that it likes best, and these are
    evaluated; now and then a random one.

    The model may be any regressor with scikit-learn's `fit(X, y)` and `predict(X)`, such as those of scikit-learn,
    XGBoost or LightGBM. X are encoded points (`space.encode`), y the normal scores of what is to be minimised. Every
    fit is of a fresh deep copy; a `random_state` that is None is set from the study's seed.

    Args:
        model: What predicts the loss: "gp", "forest", "boosting", "mlp", "linear", "ensemble", or a regressor.
        optimizer: How points that the model likes are found.
        startup: Number of random trials at the start; 1 or more.
        every: A new model is fitted after so many further trials; 1 or more.
        epsilon: Probability of a random point in place of the model's, 0 to 1.

    Example:
        >>> class Nearest:
        ...     def fit(self, X, y):
        ...         self.X, self.y = X, y
        ...     def predict(self, X):
        ...         return [self.y[((self.X - x) ** 2).sum(1).argmin()] for x in X]
        >>> space = mn.SearchSpace({name: mn.choice(range(10)) for name in "abcd"})
        >>> study = mn.Study(space, mn.search.ModelBased(model=Nearest()), objectives={"loss": "min"})
        >>> study.optimize(lambda point: sum(point.values()), trials=60, progress=False)
        >>> len(study.trials)
        60
    """

    def __init__(
        self,
        *,
        model: Literal["gp", "forest", "boosting", "mlp", "linear", "ensemble"] | Any = "boosting",
        optimizer: Literal["sampling", "simulated_annealing"] = "simulated_annealing",
        startup: int = 32,
        every: int = 32,
        epsilon: float = 0.05,
    ) -> None:
        named = isinstance(model, str)
        super().__init__(
            model=model if named else "boosting",
            optimizer=optimizer,
            startup=startup,
            every=every,
            epsilon=epsilon,
        )
        #: The user's regressor, if there is one.
        self.estimator: Any = None if named else model
        if not named:
            if isinstance(model, type) or not (hasattr(model, "fit") and hasattr(model, "predict")):
                message = f"model is {model!r}; expected the name of a model or an object with fit(X, y) and predict(X)"
                raise SearchError(f"search algorithm 'model_based': {message}")
            self.settings["model"] = _described(model)


def _described(model: Any) -> str:
    """Its class and parameters: the same text in every process, by which a study's file knows it again."""
    settings = model.get_params() if hasattr(model, "get_params") else {}
    given = ", ".join(f"{name}={value!r}" for name, value in sorted(settings.items()) if value is not None)
    return f"{type(model).__qualname__}({given})"
