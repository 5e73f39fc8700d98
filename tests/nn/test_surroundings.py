"""Fused forms and the native operator in other processes, on several threads, and under torch's own machinery."""

import copy
import json
import multiprocessing
import subprocess
import sys

import pytest
import torch
from torch import distributed, nn
from torch.utils.data import DataLoader, Dataset

import modularnas as mn

NATIVE = ["sep_conv_3x3", "dil_conv_3x3", "max_pool_3x3_bn", "avg_pool_3x3", "skip_connect", "none"]
MERGED = ["conv_3x3", "conv_5x5"]


class Net(nn.Module):
    """A slot whose candidates are one native operator and one whose candidates are one kernel."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.native = mn.Slot(8, 8)
        self.merged = mn.Slot(8, 8)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        return self.head(self.merged(self.native(self.stem(x))).mean((2, 3)))


def relaxed(fuse=True, dtype=torch.float32):
    torch.manual_seed(0)
    x = torch.randn(4, 3, 16, 16, dtype=dtype)
    supernet = mn.rewrite(
        Net().to(dtype),
        [mn.rules.slots(NATIVE, where=["native"]), mn.rules.slots(MERGED, where=["merged"])],
        example=x,
        fuse=fuse,
    ).train()
    return supernet.relax("softmax"), x


def step(supernet, x):
    """The outputs, and the gradients of everything by name."""
    supernet.zero_grad()
    out = supernet(x)
    out.square().mean().backward()
    return out.detach(), {name: p.grad.clone() for name, p in supernet.named_parameters() if p.grad is not None}


def test_the_network_of_these_tests_is_fused():
    supernet, _ = relaxed()
    notes = [m.form.note for m in supernet.modules() if isinstance(m, mn.nn.MixedOp) and m.form is not None]
    assert len(notes) == 2
    assert any("one native operator on a CPU" in note for note in notes)
    assert any("merged into one kernel" in note for note in notes)


class Computed(Dataset):
    """Examples that the fused supernet computes where they are loaded."""

    def __init__(self, supernet, x):
        self.supernet, self.x = supernet, x

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return self.supernet(self.x).detach()  # torch allows no backward pass in a child of one that made some


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system does not fork")
@pytest.mark.parametrize("threads", [1, 2])
def test_forked_workers_compute_what_their_parent_does(threads):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        supernet, x = relaxed()
        expected, _ = step(supernet, x)  # the kernels have been used, with threads of their own
        # A child of fork has none of its parent's threads, neither ours nor torch's; torch tells its workers to use one.
        loader = DataLoader(
            Computed(supernet, x), batch_size=None, num_workers=2, multiprocessing_context="fork", timeout=60
        )
        seen = 0
        for out in loader:
            again, _ = step(supernet, x)  # while they compute
            torch.testing.assert_close(out, expected)
            torch.testing.assert_close(again, expected)
            seen += 1
        assert seen == 4
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_two_threads_give_the_numbers_of_one(dtype):
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(step(*relaxed(dtype=dtype)))
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(found[0], found[1])


def test_steps_in_threads_of_python():
    from concurrent.futures import ThreadPoolExecutor

    given = [relaxed() for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda pair: [step(*pair) for _ in range(3)][-1], given))
    torch.testing.assert_close(found[0], found[1])


def test_functions_of_parameters():
    supernet, x = relaxed(dtype=torch.float64)
    supernet.eval()
    _, expected = step(supernet, x)
    values = dict(supernet.named_parameters())

    def loss(given):
        return torch.func.functional_call(supernet, given, (x,)).square().mean()

    found = torch.autograd.grad(loss(values), list(values.values()), allow_unused=True)
    for (name, _), gradient in zip(values.items(), found, strict=True):
        if name in expected:
            torch.testing.assert_close(gradient, expected[name])


def test_a_network_of_fused_forms_has_the_gradients_that_differences_have():
    supernet, x = relaxed(dtype=torch.float64)
    x = x[:1, :, :4, :4].clone().requires_grad_()
    supernet.eval()
    alphas = list(supernet.alpha.values())

    def loss(x, *_):
        return supernet(x)

    assert torch.autograd.gradcheck(loss, (x, *alphas), eps=1e-6, atol=1e-6)


def test_exported_programs_compute_the_same():
    supernet, x = relaxed()
    supernet.eval()
    program = torch.export.export(supernet, (x,))
    torch.testing.assert_close(program.module()(x), supernet(x))


@pytest.mark.parametrize("how", ["channels_last", "autocast", "deepcopy"])
def test_the_plain_forms_numbers(how):
    (fused, x), (plain, _) = relaxed(), relaxed(fuse=False)
    plain.load_state_dict(fused.state_dict())
    tolerance = {}
    if how == "channels_last":
        fused, x = fused.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    elif how == "deepcopy":
        fused = copy.deepcopy(fused)
    else:
        tolerance = {"rtol": 0.1, "atol": 0.05}
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=how == "autocast"):
        (out, gradients), (expected, others) = step(fused, x), step(plain, x)
    torch.testing.assert_close(out, expected, **(tolerance or {"rtol": 1e-4, "atol": 1e-5}))
    assert gradients.keys() == others.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, others[name], **(tolerance or {"rtol": 1e-3, "atol": 1e-4}))


SCRIPT = """
import json, sys
import torch
from torch import distributed as dist, nn
from torch.nn.modules.batchnorm import _BatchNorm

sys.path.insert(0, sys.argv[4])
from test_surroundings import relaxed

rank, file, how = int(sys.argv[1]), sys.argv[2], sys.argv[3]
torch.set_num_threads(1)
supernet, x = relaxed(dtype=torch.float64)
for module in supernet.modules():
    if isinstance(module, _BatchNorm):
        module.eval()  # statistics of half a batch are others
wrapped, mine = supernet, slice(None)
if how == "two":
    dist.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
    wrapped, mine = nn.parallel.DistributedDataParallel(supernet, find_unused_parameters=False), slice(rank, None, 2)
optimizer = torch.optim.SGD(supernet.parameters(), 0.1)
for _ in range(2):
    optimizer.zero_grad()
    wrapped(x[mine]).square().mean().backward()
    gradients = {name: p.grad.sum().item() for name, p in supernet.named_parameters() if p.grad is not None}
    optimizer.step()
if how == "two":
    dist.destroy_process_group()
print(json.dumps(gradients))
"""


def ran(how, folder, ranks):
    here = __file__.rpartition("/")[0]
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT]
    started = [
        subprocess.Popen(
            [*command, str(rank), str(folder / how), how, here],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(ranks)
    ]
    results = []
    for process in started:
        out, error = process.communicate(timeout=240)
        assert process.returncode == 0, error[-3000:]
        results.append(json.loads(out.strip().splitlines()[-1]))
    return results


@pytest.mark.slow
@pytest.mark.skipif(not distributed.is_gloo_available(), reason="torch was built without gloo")
def test_two_processes_have_the_gradients_of_one(tmp_path):
    alone, (first, second) = ran("one", tmp_path, 1)[0], ran("two", tmp_path, 2)
    assert first == pytest.approx(second)
    assert first == pytest.approx(alone, rel=1e-6, abs=1e-9)
