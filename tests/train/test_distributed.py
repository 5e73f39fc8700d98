"""Two processes on one supernet: the same paths, the gradients of the joint batch, no find_unused_parameters."""

import json
import subprocess
import sys

import pytest
from torch import distributed

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not distributed.is_gloo_available(), reason="torch was built without gloo"),
]

SCRIPT = """
import json, sys
import torch
from torch import distributed as dist, nn
import modularnas as mn

rank, file, how = int(sys.argv[1]), sys.argv[2], sys.argv[3]
torch.set_num_threads(1)
torch.manual_seed(0)
X, Y = torch.randn(8, 3, 8, 8), torch.randint(0, 5, (8,))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3, padding=1)
        self.act = nn.ReLU()

    def forward(self, x):
        return x + self.act(self.conv(x))


torch.manual_seed(1 if how == "one" else 1 + rank)  # DDP makes the ranks equal; FSDP does not
if how == "fsdp":
    torch.manual_seed(1)
net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Sequential(Block(), Block()), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
rules = [mn.rules.kernel_size(3, 5), mn.rules.depth(), mn.rules.replace(nn.ReLU, ["original", "prelu", "conv_3x3"])]
supernet = mn.rewrite(net, rules, example=X[:2]).train()
wrapped = supernet
if how != "one":
    dist.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
if how == "ddp":
    wrapped = nn.parallel.DistributedDataParallel(supernet)
if how == "fsdp":
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.device_mesh import init_device_mesh

    mesh = init_device_mesh("cpu", (2,))
    for block in supernet.model[1]:
        fully_shard(block, mesh=mesh)
    fully_shard(supernet, mesh=mesh)
optimizer = torch.optim.SGD(supernet.parameters(), 0.1, momentum=0.9, weight_decay=0.1)
mine = slice(None) if how == "one" else slice(rank, None, 2)
losses, points = [], []


def loss_fn(model, batch):
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


supernet.sampling("uniform", seed=4)
for step in range(8):
    optimizer.zero_grad()
    loss = loss_fn(wrapped, (X[mine], Y[mine]))
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
    points.append(dict(supernet.active_point))
supernet.sampling(None)
strategy = mn.train.FairNAS(seed=2)
for step in range(3 if how != "fsdp" else 0):
    optimizer.zero_grad()
    losses.append(strategy.step(wrapped, loss_fn, (X[mine], Y[mine])).item())
    optimizer.step()
    points.append(dict(supernet.active_point))
weights = {}
for name, value in supernet.state_dict().items():
    value = value.full_tensor() if hasattr(value, "full_tensor") else value
    weights[name] = value.double().sum().item()
result = {"losses": losses, "points": points, "weights": weights}
if how != "fsdp":
    best = supernet.space.sample(seed=9)
    small = mn.derive(supernet, best)
    result["architecture"] = small._architecture
    result["small"] = {name: value.double().sum().item() for name, value in small.state_dict().items()}
if how != "one":
    dist.destroy_process_group()
print(json.dumps(result))
"""


def ran(how, folder, ranks):
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT]
    started = [
        subprocess.Popen(
            [*command, str(rank), str(folder / how), how], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for rank in range(ranks)
    ]
    results = []
    for process in started:
        out, error = process.communicate(timeout=240)
        assert process.returncode == 0, error[-3000:]
        results.append(json.loads(out.strip().splitlines()[-1]))
    return results


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return ran("one", tmp_path_factory.mktemp("one"), 1)[0]


def test_two_processes_are_one_with_the_joint_batch(alone, tmp_path):
    first, second = ran("ddp", tmp_path, 2)
    assert first["points"] == second["points"] == alone["points"]
    mean = [(a + b) / 2 for a, b in zip(first["losses"], second["losses"], strict=True)]
    assert mean == pytest.approx(alone["losses"], rel=1e-4)
    # What a path does not use moves in neither: no gradient of zero meets the momentum and the weight decay.
    assert first["weights"] == pytest.approx(second["weights"])
    assert first["weights"] == pytest.approx(alone["weights"], rel=1e-3, abs=1e-4)
    assert first["architecture"] == second["architecture"] == alone["architecture"]
    assert first["small"] == pytest.approx(alone["small"], rel=1e-3, abs=1e-4)


def test_sharded_parameters(alone, tmp_path):
    first, second = ran("fsdp", tmp_path, 2)
    assert first["points"] == second["points"] == alone["points"][:8]
    mean = [(a + b) / 2 for a, b in zip(first["losses"], second["losses"], strict=True)]
    assert mean == pytest.approx(alone["losses"][:8], rel=1e-3)
