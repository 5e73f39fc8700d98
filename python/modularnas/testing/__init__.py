"""The conformance kit: the laws of each kind of part, as functions that raise AssertionError where one is broken.

For tests of parts written outside this library, and used by the tests of those inside. One function a kind of part:

    from modularnas import testing

    testing.check_algorithm(MyAlgorithm)
    testing.check_evaluator(MyEvaluator(), space)
    testing.check_op("my_op")
    testing.check_supernet(mn.rewrite(model, rules, example=x), x)

The room knows the public names of every other room, and none knows it.
"""

from modularnas.testing.conformance import check_algorithm, check_evaluator, check_op, check_supernet

__all__ = ["check_algorithm", "check_evaluator", "check_op", "check_supernet"]
