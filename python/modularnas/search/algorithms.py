"""The registered search algorithms. Written by tests/search/write_algorithms.py; do not edit."""

from __future__ import annotations

from typing import Any, Literal  # noqa: F401

from modularnas.search.algorithm import Algorithm

__all__ = [
    "CmaEs",
    "DifferentialEvolution",
    "Evolution",
    "Genetic",
    "Grid",
    "LocalSearch",
    "MoRegularizedEvolution",
    "Moead",
    "Nsga2",
    "Nsga3",
    "Random",
    "RegularizedEvolution",
    "SimulatedAnnealing",
]


class CmaEs(Algorithm):
    """CMA-ES (Hansen 2016, arXiv 1604.00772).

    Samples a normal distribution and adapts its mean, spread and covariance. For spaces of integers and reals; the
    method of choice for up to about a hundred correlated numbers.

    Args:
        population: Trials of a generation; 4 or more. None: 4 + 3 ln(number of decisions), rounded down.
        sigma: The first standard deviation, as a fraction of each decision's interval; above 0, at most 1.
        restarts: Whether to start anew with twice the population, elsewhere, after the search has converged.
    """

    name = "cma_es"

    def __init__(
        self,
        *,
        population: int | None = None,
        sigma: float = 0.3,
        restarts: bool = True,
    ) -> None:
        super().__init__(
            population=population,
            sigma=sigma,
            restarts=restarts,
        )


class DifferentialEvolution(Algorithm):
    """Differential evolution (Storn and Price 1997; for architectures Awad et al. 2020, arXiv 2012.06400).

    Children move along the differences of others; works on all kinds of decisions.

    Args:
        population: Number of individuals, and of random trials at the start; 4 or more.
        factor: F, the factor of the difference; above 0, at most 2.
        crossover_rate: The chance of each decision to come from the mutant and not from the target, 0 to 1.
    """

    name = "differential_evolution"

    def __init__(
        self,
        *,
        population: int = 20,
        factor: float = 0.5,
        crossover_rate: float = 0.5,
    ) -> None:
        super().__init__(
            population=population,
            factor=factor,
            crossover_rate=crossover_rate,
        )


class Evolution(Algorithm):
    """Steady-state evolution (Real et al. 2017, arXiv 1703.01041).

    A child of a good parent replaces the worst. With other settings it is the genetic optimizer of the original
    ModularNAS.

    Args:
        population: Individuals kept, and random trials at the start; 1 or more.
        selection: How parents are drawn: "tournament" (the best of `sample` draws) or "truncation" (any of the `sample`
            best).
        sample: Size of the tournament, or number of the best that may become parents; 1 or more.
        crossover: How two parents make a child: "uniform", "one_point", "two_point" or "sbx" (numbers blended, other
            decisions from either parent).
        crossover_rate: The chance that two parents are combined, 0 to 1; otherwise the child is a mutated copy of one.
        mutation_rate: The chance of each active decision to change, 0 to 1; None: exactly one decision changes, or with
            crossover one in expectation.
    """

    name = "evolution"

    def __init__(
        self,
        *,
        population: int = 100,
        selection: Literal["tournament"] | Literal["truncation"] = "tournament",
        sample: int = 25,
        crossover: Literal["uniform"] | Literal["one_point"] | Literal["two_point"] | Literal["sbx"] = "uniform",
        crossover_rate: float = 0.0,
        mutation_rate: float | None = None,
    ) -> None:
        super().__init__(
            population=population,
            selection=selection,
            sample=sample,
            crossover=crossover,
            crossover_rate=crossover_rate,
            mutation_rate=mutation_rate,
        )


class Genetic(Algorithm):
    """The genetic algorithm by generations (Holland 1975; Goldberg 1989).

    Selection, crossover and mutation, after which all but an elite are replaced.

    Args:
        population: Individuals of a generation, and random trials at the start; 2 or more.
        elite: How many of the best live on unchanged, below `population`.
        selection: How parents are drawn: "tournament" (the best of `sample` draws) or "truncation" (any of the `sample`
            best).
        sample: Size of the tournament, or number of the best that may become parents; 1 or more.
        crossover: How two parents make a child: "uniform", "one_point", "two_point" or "sbx" (numbers blended, other
            decisions from either parent).
        crossover_rate: The chance that two parents are combined, 0 to 1; otherwise the child is a mutated copy of one.
        mutation_rate: The chance of each active decision to change, 0 to 1; None: one over the number of active
            decisions.
    """

    name = "genetic"

    def __init__(
        self,
        *,
        population: int = 100,
        elite: int = 1,
        selection: Literal["tournament"] | Literal["truncation"] = "tournament",
        sample: int = 3,
        crossover: Literal["uniform"] | Literal["one_point"] | Literal["two_point"] | Literal["sbx"] = "uniform",
        crossover_rate: float = 0.9,
        mutation_rate: float | None = None,
    ) -> None:
        super().__init__(
            population=population,
            elite=elite,
            selection=selection,
            sample=sample,
            crossover=crossover,
            crossover_rate=crossover_rate,
            mutation_rate=mutation_rate,
        )


class Grid(Algorithm):
    """Grid search.

    Every point of the space exactly once, then the search ends. Exact for spaces of any size.

    Args:
        order: "shuffled" (a random order without repetition) or "lexicographic" (the last decision fastest).
        levels: Number of values that stand for a real decision, evenly spaced on its (logarithmic) scale with both
            ends; 1 or more (1: the middle).
    """

    name = "grid"

    def __init__(
        self,
        *,
        order: Literal["shuffled"] | Literal["lexicographic"] = "shuffled",
        levels: int = 10,
    ) -> None:
        super().__init__(
            order=order,
            levels=levels,
        )


class LocalSearch(Algorithm):
    """Local search with restarts (White et al. 2020, arXiv 2005.02960).

    Moves to better neighbours until there is none, then starts from another random point. Never repeats a point in a
    space without real decisions, and ends when all were tried.

    Args:
        improvement: "first": move as soon as a neighbour is better; "best": look at all neighbours before each move.
        starts: Number of random trials of which the best is the first start; 1 or more.
    """

    name = "local_search"

    def __init__(
        self,
        *,
        improvement: Literal["first"] | Literal["best"] = "first",
        starts: int = 10,
    ) -> None:
        super().__init__(
            improvement=improvement,
            starts=starts,
        )


class MoRegularizedEvolution(Algorithm):
    """Regularized evolution for several objectives (Real et al. 2018, arXiv 1802.01548).

    Mutates the loneliest non-dominated trial of a tournament among the last `population` ones.

    Args:
        population: Number of trials kept, and of random trials at the start; 1 or more.
        sample: Size of the tournament; 1 (a random parent) or more.
    """

    name = "mo_regularized_evolution"

    def __init__(
        self,
        *,
        population: int = 100,
        sample: int = 25,
    ) -> None:
        super().__init__(
            population=population,
            sample=sample,
        )


class Moead(Algorithm):
    """MOEA/D (Zhang and Li 2007, DOI 10.1109/TEVC.2007.892759).

    Several objectives as many weighted ones that are solved together and exchange their solutions with neighbours.

    Args:
        population: Number of subproblems, and of random trials at the start; 2 or more. With three and more objectives
            the largest number of evenly spread weights that is not more.
        neighbours: Number of subproblems nearest to one, itself included, that give parents and receive children; 2 or
            more.
        locality: The chance that parents come from the neighbours and not from anywhere, 0 to 1.
        replacements: How many individuals a child may replace; 1 or more.
        crossover: How two parents make a child: "uniform", "one_point", "two_point" or "sbx" (numbers blended, other
            decisions from either parent).
        crossover_rate: The chance that two parents are combined, 0 to 1; otherwise the child is a mutated copy of one.
        mutation_rate: The chance of each active decision to change, 0 to 1; None: one over the number of active
            decisions.
    """

    name = "moead"

    def __init__(
        self,
        *,
        population: int = 100,
        neighbours: int = 20,
        locality: float = 0.9,
        replacements: int = 2,
        crossover: Literal["uniform"] | Literal["one_point"] | Literal["two_point"] | Literal["sbx"] = "sbx",
        crossover_rate: float = 1.0,
        mutation_rate: float | None = None,
    ) -> None:
        super().__init__(
            population=population,
            neighbours=neighbours,
            locality=locality,
            replacements=replacements,
            crossover=crossover,
            crossover_rate=crossover_rate,
            mutation_rate=mutation_rate,
        )


class Nsga2(Algorithm):
    """NSGA-II (Deb et al. 2002, DOI 10.1109/4235.996017).

    A genetic algorithm for two or three objectives that keeps the non-dominated and, among them, the lonely. With one
    objective it is a plain elitist genetic algorithm.

    Args:
        population: Trials of a generation, and random trials at the start; 2 or more.
        crossover: How two parents make a child: "uniform", "one_point", "two_point" or "sbx" (numbers blended, other
            decisions from either parent).
        crossover_rate: The chance that two parents are combined, 0 to 1; otherwise the child is a mutated copy of one.
        mutation_rate: The chance of each active decision to change, 0 to 1; None: one over the number of active
            decisions.
    """

    name = "nsga2"

    def __init__(
        self,
        *,
        population: int = 100,
        crossover: Literal["uniform"] | Literal["one_point"] | Literal["two_point"] | Literal["sbx"] = "sbx",
        crossover_rate: float = 0.9,
        mutation_rate: float | None = None,
    ) -> None:
        super().__init__(
            population=population,
            crossover=crossover,
            crossover_rate=crossover_rate,
            mutation_rate=mutation_rate,
        )


class Nsga3(Algorithm):
    """NSGA-III (Deb and Jain 2014, DOI 10.1109/TEVC.2013.2281535).

    A genetic algorithm for three and more objectives that keeps the non-dominated and spreads them over reference
    directions.

    Args:
        population: Trials of a generation, and random trials at the start; 2 or more. There are as many reference
            directions as evenly fit into it.
        crossover: How two parents make a child: "uniform", "one_point", "two_point" or "sbx" (numbers blended, other
            decisions from either parent).
        crossover_rate: The chance that two parents are combined, 0 to 1; otherwise the child is a mutated copy of one.
        mutation_rate: The chance of each active decision to change, 0 to 1; None: one over the number of active
            decisions.
    """

    name = "nsga3"

    def __init__(
        self,
        *,
        population: int = 100,
        crossover: Literal["uniform"] | Literal["one_point"] | Literal["two_point"] | Literal["sbx"] = "sbx",
        crossover_rate: float = 1.0,
        mutation_rate: float | None = None,
    ) -> None:
        super().__init__(
            population=population,
            crossover=crossover,
            crossover_rate=crossover_rate,
            mutation_rate=mutation_rate,
        )


class Random(Algorithm):
    """Random search.

    Every decision uniform over its values, independent of all results (Li and Talwalkar 2019, arXiv 1902.07638). The
    baseline that a search must beat at equal budget.
    """

    name = "random"


class RegularizedEvolution(Algorithm):
    """Regularized (ageing) evolution (Real et al. 2018, arXiv 1802.01548).

    Mutates the winner of a tournament among the last `population` trials; the oldest is forgotten.

    Args:
        population: Number of trials kept, and of random trials at the start; 1 or more.
        sample: Size of the tournament; 1 (a random parent) or more.
    """

    name = "regularized_evolution"

    def __init__(
        self,
        *,
        population: int = 100,
        sample: int = 25,
    ) -> None:
        super().__init__(
            population=population,
            sample=sample,
        )


class SimulatedAnnealing(Algorithm):
    """Simulated annealing (Kirkpatrick et al. 1983).

    A walk over neighbours that accepts worse ones while it is hot.

    Args:
        initial_temperature: The temperature of the first step, in standard deviations of the objective over the trials
            so far; above 0.
        final_temperature: The temperature after `steps` trials and from then on, in the same unit; above 0, at most the
            initial one.
        steps: Number of trials over which it cools; 1 or more. Best set to the number of trials of the study.
        cooling: "exponential" (by the same factor a step) or "linear" (by the same amount).
        starts: Number of random trials at first, of which the best is where the walk starts; 1 or more.
    """

    name = "simulated_annealing"

    def __init__(
        self,
        *,
        initial_temperature: float = 1.0,
        final_temperature: float = 0.01,
        steps: int = 200,
        cooling: Literal["exponential"] | Literal["linear"] = "exponential",
        starts: int = 10,
    ) -> None:
        super().__init__(
            initial_temperature=initial_temperature,
            final_temperature=final_temperature,
            steps=steps,
            cooling=cooling,
            starts=starts,
        )
