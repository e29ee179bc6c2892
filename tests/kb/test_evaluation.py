"""How good the search is, by judged queries."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from stenobus_kb.errors import KbError
from stenobus_kb.evaluation import DEPTH, Scores, evaluate, load, report, run
from stenobus_kb.judged import read_corpus, read_qrels, read_queries
from stenobus_kb.kb_command import kb
from stenobus_kb.search import Searcher

from .conftest import Put

JUDGED = Path(__file__).parent / "judged"
Evaluate = Callable[..., Result]


@pytest.fixture
def evaluation(tmp_path: Path) -> Evaluate:
    def evaluation(*arguments: object) -> Result:
        environ = {"STENOBUS_KB_PATH": str(tmp_path / "none.sqlite")}
        return CliRunner().invoke(kb, ["eval", *map(str, arguments)], env=environ)

    return evaluation


@pytest.mark.parametrize("mode", ["words", "vectors", "hybrid"])
def test_the_search_is_as_good_as_it_was(evaluation: Evaluate, mode: str) -> None:
    result = evaluation(
        JUDGED / "queries.tsv", JUDGED / "qrels.txt", "--corpus", JUDGED / "documents",
        "--mode", mode, "--baseline", JUDGED / f"baseline-{mode}.json", "--json",
    )  # fmt: skip

    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["queries"] == 168
    for name, change in found["changes"].items():
        assert change["mean"] >= -0.0005, f"{name} fell: if that is meant, save a new baseline and say why"


def test_both_legs_together_are_not_worse_than_the_best_of_them() -> None:
    means = {
        mode: json.loads((JUDGED / f"baseline-{mode}.json").read_text())["means"]["nDCG@10"]
        for mode in ("words", "vectors", "hybrid")
    }

    assert means["hybrid"] >= max(means["words"], means["vectors"])


def test_a_leg_that_is_missing_is_no_result(evaluation: Evaluate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STENOBUS_KB_EMBEDDER", "none")

    result = evaluation(JUDGED / "queries.tsv", JUDGED / "qrels.txt", "--corpus", JUDGED / "documents")

    assert result.exit_code == 1 and "No embedder is set up" in result.output


def test_every_judged_document_is_in_the_corpus() -> None:
    documents = {name for name, _, _ in read_corpus(JUDGED / "documents")}
    judged = {name for documents in read_qrels(JUDGED / "qrels.txt").values() for name in documents}

    assert judged <= documents and len(read_queries(JUDGED / "queries.tsv")) >= 150


def test_the_measures_are_those_of_the_books() -> None:
    scores = evaluate({"q": {"a": 3, "b": 2, "c": 1}}, {"q": {"b": 2, "c": 1, "d": 1}, "none": {"a": 1}})

    gained = 2 / math.log2(3) + 1 / math.log2(4)
    ideal = 2 / math.log2(2) + 1 / math.log2(3) + 1 / math.log2(4)
    assert scores["q"] == {
        "nDCG@10": pytest.approx(gained / ideal),
        "R@50": pytest.approx(2 / 3),
        "RR@10": pytest.approx(1 / 2),
    }
    assert scores["none"] == {"nDCG@10": 0, "R@50": 0, "RR@10": 0}  # what was not answered counts


def test_a_document_counts_once_by_its_best_passage(put: Put, path: Path) -> None:
    put("long", "## One\n\nwhale\n\n## Two\n\nwhale and more words\n\n## Three\n\nwhale and many more words here")
    put("short", "whale whale whale whale")

    with closing(Searcher(path)) as searcher:
        [ranked] = run(searcher, {"q": "whale"}, mode="words").values()

    assert sorted(ranked) == ["long", "short"]
    assert len(ranked) <= DEPTH


def scores(*values: float) -> Scores:
    return {f"q{number}": dict.fromkeys(("nDCG@10", "R@50", "RR@10"), value) for number, value in enumerate(values)}


def test_a_fall_beyond_chance_is_worse_and_noise_is_not() -> None:
    noise = [0.1 * (number % 2) for number in range(40)]
    before = scores(*(0.5 for _ in noise))

    assert report(scores(*(0.3 + each for each in noise)), before).worse
    assert not report(scores(*(0.45 + each for each in noise)), before).worse
    assert not report(before).worse


def test_a_worse_search_fails_the_command(evaluation: Evaluate, tmp_path: Path) -> None:
    better = json.loads((JUDGED / "baseline-hybrid.json").read_text())
    for values in better["queries"].values():
        values["nDCG@10"] = 1.0
    (tmp_path / "better.json").write_text(json.dumps(better))

    result = evaluation(
        JUDGED / "queries.tsv", JUDGED / "qrels.txt", "--corpus", JUDGED / "documents",
        "--baseline", tmp_path / "better.json",
    )  # fmt: skip

    assert result.exit_code == 1 and "worse than the baseline" in result.output


def test_what_is_saved_is_a_baseline(evaluation: Evaluate, tmp_path: Path) -> None:
    given = (JUDGED / "queries.tsv", JUDGED / "qrels.txt", "--corpus", JUDGED / "documents")
    assert evaluation(*given, "--save", tmp_path / "now.json").exit_code == 0

    assert load(tmp_path / "now.json") == load(JUDGED / "baseline-hybrid.json")


def test_beir_files_are_read_as_well(tmp_path: Path, evaluation: Evaluate) -> None:
    (tmp_path / "corpus.jsonl").write_text(
        '{"_id": "d1", "title": "Whales", "text": "They sing."}\n{"_id": "d2", "title": "", "text": "Dogs bark."}\n'
    )
    (tmp_path / "queries.jsonl").write_text('{"_id": "1", "text": "sing"}\n\n{"_id": "2", "text": "bark"}\n')
    (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n1\td1\t1\n2\td2\t1\n")

    result = evaluation(tmp_path / "queries.jsonl", tmp_path / "qrels.tsv", "--corpus", tmp_path / "corpus.jsonl")

    assert result.exit_code == 0, result.output
    assert "2 judged queries" in result.output and "nDCG@10  1.000" in result.output


@pytest.mark.parametrize(
    ("queries", "qrels", "sentence"),
    [
        ("1 no tab", "1 0 d 1", "line 1: expected an id, a tab and a query"),
        ("1\tq", "1 0 d", "line 1: expected `query 0 document relevance`"),
        ("1\tq", "1 0 d 1\n2 0 d 1", "judges 2, which is not in"),
        ("1\tq", "1 0 d 0", "No query has a relevant document"),
        ("1\tq", "", "No query has a relevant document"),
    ],
)
def test_a_file_of_another_form_is_named_with_its_line(
    evaluation: Evaluate, tmp_path: Path, queries: str, qrels: str, sentence: str
) -> None:
    (tmp_path / "queries.tsv").write_text(queries)
    (tmp_path / "qrels.txt").write_text(qrels)

    result = evaluation(tmp_path / "queries.tsv", tmp_path / "qrels.txt", "--corpus", JUDGED / "documents")

    assert result.exit_code == 1 and sentence in result.output


def test_a_missing_file_and_a_missing_index_are_said_in_one_sentence(evaluation: Evaluate, tmp_path: Path) -> None:
    missing = evaluation(tmp_path / "queries.tsv", JUDGED / "qrels.txt")
    unindexed = evaluation(JUDGED / "queries.tsv", JUDGED / "qrels.txt")

    assert missing.exit_code == 1 and "queries.tsv cannot be read" in missing.output
    assert unindexed.exit_code == 1 and "no index" in unindexed.output


def test_a_baseline_of_other_queries_is_refused() -> None:
    with pytest.raises(KbError, match="1 are in one of them only"):
        report(scores(0.5), scores(0.5, 0.4))
