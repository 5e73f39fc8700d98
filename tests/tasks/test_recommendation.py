"""Reading tables of clicks, and what is measured on them."""

import warnings

import pytest
import torch

import modularnas as mn
from modularnas.tasks import recommendation
from modularnas.tasks.recommendation import ClickStream, auc


def criteo(label="1", number="3", category="ab"):
    return "\t".join([label, *[number] * 13, *[category] * 26])


def test_the_area_under_the_curve_is_that_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        scores = torch.randint(0, 6, (80,), generator=generator).float()  # with ties
        labels = torch.randint(0, 2, (80,), generator=generator).float()
        assert auc(scores, labels) == pytest.approx(metrics.roc_auc_score(labels, scores))
    assert auc(torch.randn(4), torch.ones(4)) == 0.5


@pytest.mark.parametrize(
    ("table", "rows", "numbers", "categories"),
    [("movielens", 100_023, 1, 6), ("adult", 48_842, 6, 8), ("criteo", 8000, 13, 26), ("obd", 40_000, 2, 10)],
)
def test_tables_of_the_research_data(table, rows, numbers, categories, data):
    clicks = recommendation.read(data / "ctr_small.npz", table)
    assert clicks.numbers.shape == (rows, numbers)
    assert len(clicks.sizes) == clicks.categories.shape[1]
    assert categories is None or clicks.categories.shape[1] == categories
    assert (clicks.categories.amax(0) < torch.tensor(clicks.sizes)).all()
    assert set(clicks.split.unique().tolist()) == {0, 1, 2}
    assert torch.isfinite(clicks.numbers).all()
    assert set(clicks.labels.unique().tolist()) == {0.0, 1.0}


def test_wrong_files_are_one_error(tmp_path):
    with pytest.raises(mn.ModularNASError, match=r"table is 'films'; expected one of movielens"):
        mn.tasks.run("recommendation", data=tmp_path, out=tmp_path / "o", table="films")
    with pytest.raises(mn.ModularNASError, match=r"holds no table 'adult'"):
        mn.tasks.run("recommendation", data=tmp_path / "no.npz", out=tmp_path / "o", table="adult")
    with pytest.raises(mn.ModularNASError, match=r"does not exist; expected the raw text of criteo"):
        mn.tasks.run("recommendation", data=tmp_path / "no.txt", out=tmp_path / "o", format="criteo")


def test_bad_rows_are_counted_and_left_out(tmp_path):
    file = tmp_path / "train.txt"
    rows = [criteo(category=f"{i:x}") for i in range(40)]
    rows[3], rows[5], rows[12], rows[13] = "1\t2", criteo(label="7"), criteo(number="x"), criteo(number="nan")
    file.write_text("\n".join(rows) + "\n")
    with pytest.warns(UserWarning, match=r"4 rows of the train part left out; line 4: 2 fields, expected 40"):
        batches = list(ClickStream(file, "criteo", "train", size=16))
    assert sum(len(labels) for _, labels in batches) == 32 - 4
    assert [sum(len(y) for _, y in ClickStream(file, "criteo", name)) for name in ("valid", "test")] == [4, 4]
    file.write_text("nothing\n")
    with (
        pytest.warns(UserWarning, match=r"1 rows"),
        pytest.raises(mn.ModularNASError, match=r"has no row that can be read as criteo"),
    ):
        ClickStream(file, "criteo", "train")


def test_avazu_and_hashes(tmp_path):
    file = tmp_path / "train.csv"
    line = ",".join(["1000009418151094273", "0", "14102100", *["x"] * 21])
    file.write_text("\n".join(["id,click,hour,…", *[line] * 20]) + "\n")
    stream = ClickStream(file, "avazu", "train", buckets=50, size=8)
    (numbers, categories), labels = next(iter(stream))
    assert numbers.shape == (8, 0)
    assert categories.shape == (8, 22)
    assert categories.max() < 50
    assert len(set(categories[0].tolist())) > 10  # the same text in other fields is another category
    assert len(stream) == 2
    assert labels.tolist() == [0.0] * 8


def test_numbers_of_counts_are_logarithms(tmp_path):
    file = tmp_path / "train.txt"
    file.write_text("\n".join([criteo(number=n) for n in ("0", "", "-2", "9")] * 3) + "\n")
    (numbers, _), _ = next(iter(ClickStream(file, "criteo", "train")))
    expected = torch.tensor([0.0, 0.0, -1.0986, 2.3026])
    torch.testing.assert_close(numbers[:4, 0], expected, atol=1e-4, rtol=0)


@pytest.mark.slow
def test_a_stream_trains(tmp_path):
    file = tmp_path / "train.txt"
    file.write_text("\n".join(criteo(str(i % 2), str(i % 5), f"{i % 7:x}") for i in range(300)) + "\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = mn.tasks.run(
            "recommendation", data=file, out=tmp_path / "out", smoke=True, format="criteo", batch_size=64, branches=2
        )
    assert set(result.table) == {"baseline", "random", "random_search", "searched"}
