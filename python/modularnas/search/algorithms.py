"""The registered search algorithms. Written by tests/search/write_algorithms.py; do not edit."""

from __future__ import annotations

from typing import Any, Literal

from modularnas.search.algorithm import Algorithm

__all__ = [
    "Asha",
    "Bananas",
    "Bohb",
    "CmaEs",
    "Dehb",
    "DifferentialEvolution",
    "Evolution",
    "Genetic",
    "GpBo",
    "Grid",
    "Hyperband",
    "LocalSearch",
    "MoRegularizedEvolution",
    "ModelBased",
    "Moead",
    "Npenas",
    "Nsga2",
    "Nsga3",
    "Pbt",
    "Ppo",
    "PredictorLocal",
    "Random",
    "RegularizedEvolution",
    "Reinforce",
    "SimulatedAnnealing",
    "Smac",
    "SuccessiveHalving",
    "Tpe",
]


class Asha(Algorithm):
    """ASHA (Li et al. 2020, arXiv 1810.05934).

    Successive halving that never waits, for many workers. For evaluators that obey `fidelity`.

    Args:
        min_fidelity: The least fraction of a full evaluation, above 0 and up to 1.
        eta: One of `eta` trials goes on, with `eta` times the fidelity; 2 or more.
    """

    name = "asha"

    def __init__(
        self,
        *,
        min_fidelity: float = 0.037037037037037035,
        eta: int = 3,
    ) -> None:
        super().__init__(
            min_fidelity=min_fidelity,
            eta=eta,
        )


class Bananas(Algorithm):
    """BANANAS (White et al. 2019, arXiv 1910.11858).

    An ensemble of neural networks predicts the loss, candidates are mutations of the best points, and Thompson sampling
    chooses among them. Strong on few evaluations (150 or fewer).

    Args:
        startup: Number of random trials at the start; 1 or more.
        every: A new model is fitted after so many further trials; 1 or more.
        candidates: Mutated points among which a model chooses; 1 or more.
        parents: Number of best points that are mutated; 1 or more.
        model: What predicts the loss.
        cell: The graph that the decisions make, for the path encoding; null: one-hot columns. A dict of "edges" (for
            each decision that is an edge the two vertices that it joins), "vertices" (for each decision that is the
            operation of a vertex that vertex) and "absent" (labels of edges that are not there). The input is vertex 0,
            the output the last.
    """

    name = "bananas"

    def __init__(
        self,
        *,
        startup: int = 10,
        every: int = 10,
        candidates: int = 400,
        parents: int = 30,
        model: Literal["gp", "forest", "boosting", "mlp", "linear", "ensemble"] = "mlp",
        cell: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            startup=startup,
            every=every,
            candidates=candidates,
            parents=parents,
            model=model,
            cell=cell,
        )


class Bohb(Algorithm):
    """BOHB (Falkner et al. 2018, arXiv 1807.01774).

    Hyperband that starts where good trials are dense. For evaluators that obey `fidelity`.

    Args:
        min_fidelity: The least fraction of a full evaluation, above 0 and up to 1.
        eta: One of `eta` trials goes on, with `eta` times the fidelity; 2 or more.
        top_fraction: The share of trials that count as good; above 0 and below 1.
        candidates: Points drawn for each that is started; 1 or more.
        random_fraction: The share of points that are drawn at random; 0 to 1.
        bandwidth_factor: How much wider than the density the candidates are drawn; above 0.
    """

    name = "bohb"

    def __init__(
        self,
        *,
        min_fidelity: float = 0.037037037037037035,
        eta: int = 3,
        top_fraction: float = 0.15,
        candidates: int = 64,
        random_fraction: float = 0.3333333333333333,
        bandwidth_factor: float = 3.0,
    ) -> None:
        super().__init__(
            min_fidelity=min_fidelity,
            eta=eta,
            top_fraction=top_fraction,
            candidates=candidates,
            random_fraction=random_fraction,
            bandwidth_factor=bandwidth_factor,
        )


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


class Dehb(Algorithm):
    """DEHB (Awad et al. 2021, arXiv 2105.09821).

    Hyperband with differential evolution on every fidelity. For evaluators that obey `fidelity`.

    Args:
        min_fidelity: The least fraction of a full evaluation, above 0 and up to 1.
        eta: One of `eta` trials goes on, with `eta` times the fidelity; 2 or more.
        factor: F, the factor of the difference; above 0, at most 2.
        crossover_rate: The chance of each decision to come from the mutant and not from the target, 0 to 1.
    """

    name = "dehb"

    def __init__(
        self,
        *,
        min_fidelity: float = 0.037037037037037035,
        eta: int = 3,
        factor: float = 0.5,
        crossover_rate: float = 0.5,
    ) -> None:
        super().__init__(
            min_fidelity=min_fidelity,
            eta=eta,
            factor=factor,
            crossover_rate=crossover_rate,
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
        selection: Literal["tournament", "truncation"] = "tournament",
        sample: int = 25,
        crossover: Literal["uniform", "one_point", "two_point", "sbx"] = "uniform",
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
        selection: Literal["tournament", "truncation"] = "tournament",
        sample: int = 3,
        crossover: Literal["uniform", "one_point", "two_point", "sbx"] = "uniform",
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


class GpBo(Algorithm):
    """Bayesian optimisation with Gaussian processes.

    The most economical with trials, at the highest cost per proposal. Several objectives by random weights (ParEGO),
    constraints by their own processes.

    Args:
        startup: Number of random trials at the start; 1 or more.
        acquisition: What makes a point promising.
        max_rows: Trials that the processes learn from, at most; 10 or more. Time grows with its square, at refits its
            cube.
    """

    name = "gp_bo"

    def __init__(
        self,
        *,
        startup: int = 10,
        acquisition: Literal["log_ei", "lcb"] = "log_ei",
        max_rows: int = 400,
    ) -> None:
        super().__init__(
            startup=startup,
            acquisition=acquisition,
            max_rows=max_rows,
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
        order: Literal["shuffled", "lexicographic"] = "shuffled",
        levels: int = 10,
    ) -> None:
        super().__init__(
            order=order,
            levels=levels,
        )


class Hyperband(Algorithm):
    """Hyperband (Li et al. 2018, arXiv 1603.06560).

    Successive halving from every starting fidelity in turn. For evaluators that obey `fidelity`.

    Args:
        min_fidelity: The least fraction of a full evaluation, above 0 and up to 1.
        eta: One of `eta` trials goes on, with `eta` times the fidelity; 2 or more.
    """

    name = "hyperband"

    def __init__(
        self,
        *,
        min_fidelity: float = 0.037037037037037035,
        eta: int = 3,
    ) -> None:
        super().__init__(
            min_fidelity=min_fidelity,
            eta=eta,
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
        improvement: Literal["first", "best"] = "first",
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


class ModelBased(Algorithm):
    """Model-based search, the scheme of the original ModularNAS.

    A score model is fitted to all trials, an inner optimizer finds the points that it likes best, and these are
    evaluated; now and then a random one.

    Args:
        model: What predicts the loss.
        optimizer: How points that the model likes are found.
        startup: Number of random trials at the start; 1 or more.
        every: A new model is fitted after so many further trials; 1 or more.
        epsilon: Probability of a random point in place of the model's, 0 to 1.
    """

    name = "model_based"

    def __init__(
        self,
        *,
        model: Literal["gp", "forest", "boosting", "mlp", "linear", "ensemble"] = "boosting",
        optimizer: Literal["sampling", "simulated_annealing"] = "simulated_annealing",
        startup: int = 32,
        every: int = 32,
        epsilon: float = 0.05,
    ) -> None:
        super().__init__(
            model=model,
            optimizer=optimizer,
            startup=startup,
            every=every,
            epsilon=epsilon,
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
        crossover: Literal["uniform", "one_point", "two_point", "sbx"] = "sbx",
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


class Npenas(Algorithm):
    """NPENAS (Wei et al. 2020, arXiv 2003.12857).

    Evolution whose many children are ranked by a predictor before the first of them are evaluated.

    Args:
        startup: Number of random trials at the start; 1 or more.
        every: A new predictor is fitted after so many further trials; 1 or more.
        parents: Number of best points that get children; 1 or more.
        children: Children of each parent; 1 or more.
        model: What predicts the loss.
    """

    name = "npenas"

    def __init__(
        self,
        *,
        startup: int = 10,
        every: int = 10,
        parents: int = 10,
        children: int = 10,
        model: Literal["gp", "forest", "boosting", "mlp", "linear", "ensemble"] = "gp",
    ) -> None:
        super().__init__(
            startup=startup,
            every=every,
            parents=parents,
            children=children,
            model=model,
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
        crossover: Literal["uniform", "one_point", "two_point", "sbx"] = "sbx",
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
        crossover: Literal["uniform", "one_point", "two_point", "sbx"] = "sbx",
        crossover_rate: float = 1.0,
        mutation_rate: float | None = None,
    ) -> None:
        super().__init__(
            population=population,
            crossover=crossover,
            crossover_rate=crossover_rate,
            mutation_rate=mutation_rate,
        )


class Pbt(Algorithm):
    """Population based training (Jaderberg et al. 2017, arXiv 1711.09846).

    Points change during training, and bad networks go on from the weights of good ones. For evaluators that obey
    `fidelity` and inherit from `parent`.

    Args:
        population: Networks trained side by side; 2 or more.
        generations: Parts that a full training is cut into; 1 or more.
        truncation: The share of the worst that continue from the best; 0 to 0.5.
        resample: The chance that a decision is drawn anew and not only perturbed; 0 to 1.
    """

    name = "pbt"

    def __init__(
        self,
        *,
        population: int = 20,
        generations: int = 5,
        truncation: float = 0.2,
        resample: float = 0.25,
    ) -> None:
        super().__init__(
            population=population,
            generations=generations,
            truncation=truncation,
            resample=resample,
        )


class Ppo(Algorithm):
    """PPO (Schulman et al. 2017, arXiv 1707.06347).

    A probability for each value of each decision, improved in batches by steps that stay near.

    Args:
        batch: Trials between two updates; 2 or more.
        epochs: Gradient steps of an update; 1 or more.
        learning_rate: The step of the logits; above 0.
        clip: How far a trial's probability may move in an update, as a ratio; above 0 and below 1.
        entropy: The weight of the policy's entropy, which keeps it from settling early; 0 or more.
    """

    name = "ppo"

    def __init__(
        self,
        *,
        batch: int = 10,
        epochs: int = 4,
        learning_rate: float = 0.3,
        clip: float = 0.2,
        entropy: float = 0.01,
    ) -> None:
        super().__init__(
            batch=batch,
            epochs=epochs,
            learning_rate=learning_rate,
            clip=clip,
            entropy=entropy,
        )


class PredictorLocal(Algorithm):
    """Predictor in the loop (LINAS; Cummings et al. 2022, arXiv 2205.10358).

    NSGA-II runs on predictors of all objectives, and the points that it finds are evaluated. Made for several
    objectives; one works as well.

    Args:
        startup: Number of random trials at the start; 1 or more.
        every: New predictors are fitted after so many further trials; 1 or more.
        population: Population of the inner search; 2 or more.
        generations: Generations of the inner search; 1 or more.
        model: What predicts each objective.
    """

    name = "predictor_local"

    def __init__(
        self,
        *,
        startup: int = 25,
        every: int = 25,
        population: int = 50,
        generations: int = 20,
        model: Literal["gp", "forest", "boosting", "mlp", "linear", "ensemble"] = "gp",
    ) -> None:
        super().__init__(
            startup=startup,
            every=every,
            population=population,
            generations=generations,
            model=model,
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


class Reinforce(Algorithm):
    """REINFORCE (Williams 1992; for architectures Zoph and Le 2017, arXiv 1611.01578).

    A probability for each value of each decision, raised when the result is better than usual.

    Args:
        learning_rate: The step of the logits for a result one standard deviation better than usual; above 0.
        baseline_decay: How long the baseline remembers; at least 0 and below 1.
        entropy: The weight of the policy's entropy, which keeps it from settling early; 0 or more.
    """

    name = "reinforce"

    def __init__(
        self,
        *,
        learning_rate: float = 0.1,
        baseline_decay: float = 0.9,
        entropy: float = 0.01,
    ) -> None:
        super().__init__(
            learning_rate=learning_rate,
            baseline_decay=baseline_decay,
            entropy=entropy,
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
        cooling: Literal["exponential", "linear"] = "exponential",
        starts: int = 10,
    ) -> None:
        super().__init__(
            initial_temperature=initial_temperature,
            final_temperature=final_temperature,
            steps=steps,
            cooling=cooling,
            starts=starts,
        )


class Smac(Algorithm):
    """SMAC (Hutter et al. 2011).

    Random forest, expected improvement, local search, and random points in between. Robust on mixed and conditional
    spaces.

    Args:
        startup: Number of random trials at the start; 1 or more.
        every: A new forest is grown after so many further trials; 1 or more.
        trees: Number of trees; 1 or more.
        samples: Random points among which each model chooses; 1 or more.
        starts: Starts of local search; 1 or more.
        random: Probability of a random point in place of the model's, 0 to 1.
    """

    name = "smac"

    def __init__(
        self,
        *,
        startup: int = 10,
        every: int = 1,
        trees: int = 50,
        samples: int = 1000,
        starts: int = 10,
        random: float = 0.1,
    ) -> None:
        super().__init__(
            startup=startup,
            every=every,
            trees=trees,
            samples=samples,
            starts=starts,
            random=random,
        )


class SuccessiveHalving(Algorithm):
    """Successive halving (Jamieson and Talwalkar 2016, arXiv 1502.07943).

    Many points are evaluated a little, the best of them more, the last ones fully. For evaluators that obey `fidelity`.

    Args:
        min_fidelity: The least fraction of a full evaluation, above 0 and up to 1.
        eta: One of `eta` trials goes on, with `eta` times the fidelity; 2 or more.
        candidates: Points at the lowest fidelity; 1 or more. None: as many as leave one for a full evaluation.
    """

    name = "successive_halving"

    def __init__(
        self,
        *,
        min_fidelity: float = 0.037037037037037035,
        eta: int = 3,
        candidates: int | None = None,
    ) -> None:
        super().__init__(
            min_fidelity=min_fidelity,
            eta=eta,
            candidates=candidates,
        )


class Tpe(Algorithm):
    """Tree-structured Parzen estimator (Bergstra et al. 2011), multivariate and aware of conditions.

    Samples where good trials are dense and bad ones are not. The cheapest model-based search; its cost does not grow
    with the trials.

    Args:
        startup: Number of random trials at the start; 1 or more.
        candidates: Points drawn from the density of good trials, of which one is tried; 1 or more.
        gamma: The fraction of the trials that is good (25 at most), above 0 and below 1.
    """

    name = "tpe"

    def __init__(
        self,
        *,
        startup: int = 10,
        candidates: int = 8,
        gamma: float = 0.1,
    ) -> None:
        super().__init__(
            startup=startup,
            candidates=candidates,
            gamma=gamma,
        )
