"""Writes docs/coverage.md: which of torchvision's classification networks can be rewritten, and what holds for them.

    python tests/transform/write_coverage.py [name ...]

For each network, freshly initialised: `rewrite` with kernel sizes, widths and depths, then the given point and a few
random ones; each must run, equal its derived network (the law of weight sharing), cost what is counted on the derived
network, and leave no class of this library in it.
"""

import pathlib
import sys
import time
import warnings

import torch
from torch.utils.flop_counter import FlopCounterMode
from torchvision import models

import modularnas as mn

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "coverage.md"
POINTS = 3
#: Networks whose input has a size of its own.
SIZES = {"vit_h_14": 224, "inception_v3": 299}
#: Attention that torch fuses is seen by no counter.
FUSED = ("vit_",)


def image_size(name):
    """The side of a small picture that the network takes."""
    if name in SIZES:
        return SIZES[name]
    return 224 if name.startswith(("vit", "maxvit", "swin", "vgg", "alexnet", "mnasnet")) else 96


def check(name):
    """Number of decisions, or an error that says what does not hold."""
    torch.manual_seed(0)
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    net = models.get_model(name, num_classes=10, **options).eval()
    x = torch.randn(1, 3, image_size(name), image_size(name))
    rules = [mn.rules.kernel_size(3, 5, 7), mn.rules.width(0.5, 0.75, 1.0), mn.rules.depth()]
    supernet = mn.rewrite(net, rules, example=x).eval()
    points = [supernet.original_point, *supernet.space.samples(POINTS, seed=0)]
    with torch.no_grad():
        given = net(x)
        for number, point in enumerate(points):
            small = mn.derive(supernet, point).eval()
            shared = supernet.activate(point)(x)
            torch.testing.assert_close(shared, given if number == 0 else small(x), msg="the law of weight sharing")
            cost = supernet.cost(point)
            assert cost["params"] == sum(parameter.numel() for parameter in small.parameters()), "params"
            if not name.startswith(FUSED):
                with FlopCounterMode(display=False) as counter:
                    small(x)
                assert cost["macs"] == counter.get_total_flops() // 2, "macs"
            ours = [type(m).__name__ for m in small.modules() if type(m).__module__.startswith("modularnas")]
            assert not ours, f"{ours} in the derived network"
    return len(supernet.space)


def main(names):
    """Checks all networks, or those named, and writes the page if all were checked."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    rows = []
    for name in names or models.list_models(module=models):
        begin = time.process_time()
        try:
            outcome, passed = f"{check(name)} decisions", True
        except Exception as error:
            outcome, passed = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}", False
        rows.append((name, passed, outcome))
        print(f"{'ok  ' if passed else 'FAIL'} {name}: {outcome} ({time.process_time() - begin:.1f} s)", flush=True)
    share = sum(passed for _, passed, _ in rows) / len(rows)
    print(f"{share:.1%} of {len(rows)}")
    if not names:
        lines = [f"| {name} | {'yes' if passed else 'no'} | {outcome} |" for name, passed, outcome in rows]
        head = [
            "# Coverage",
            "",
            "Torchvision's classification networks under `kernel_size(3, 5, 7)`, `width(0.5, 0.75, 1.0)` and `depth()`;",
            "written by `python tests/transform/write_coverage.py`, which says what is checked (export is not; of `vit_*`",
            "multiply-accumulates are not).",
            "",
            f"{share:.1%} of {len(rows)} networks.",
            "",
            "| network | holds | decisions, or why not |",
            "|---|---|---|",
        ]
        PAGE.write_text("\n".join([*head, *lines]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
