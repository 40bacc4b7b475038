"""From the samples of a load test to its words, gates, knee and files."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from compare import compared
from gates import Gates, failures_of
from levels import Level, level_at, parse_levels
from processes import DESCRIPTORS, JAVA, LOGS, WORKERS, growth, service_times
from record import Moment, Record, Sample
from report import knee_of, row_of, summary_of, words_of_growth, write

SETTINGS: dict[str, Any] = {"users": 2, "rate": None, "levels": "", "model": "closed", "mix": "picture"}
LAX = Gates(0.0, {}, 0.0)


def sample(intended: float, seconds: float = 1.0, outcome: str = "ok", kind: str = "picture") -> Sample:
    return Sample(kind, "draft", intended, seconds, outcome, "" if outcome == "ok" else f"it was {outcome}")


def test_levels() -> None:
    levels = parse_levels("1x10, 2.5x20*2")
    assert levels == (Level(1, 10), Level(2.5, 20), Level(1, 10), Level(2.5, 20))
    assert [level_at(levels, at).value for at in (0, 9.9, 10, 29, 30, 59)] == [1, 1, 2.5, 2.5, 1, 2.5]  # type: ignore[union-attr]
    assert level_at(levels, 60) is None
    assert parse_levels("") == ()
    for text in ("1", "1x", "x5", "1x5,", "1x5*x", "-1x5"):
        with pytest.raises(ValueError, match="LEVELxSECONDS"):
            parse_levels(text)


def test_a_refusal_is_no_failure_and_quantiles_are_of_what_was_seen() -> None:
    samples = [sample(at, seconds=at + 1) for at in range(10)]
    samples += [sample(1, outcome="refused"), sample(2, outcome="late"), sample(3, outcome="wrong")]
    row = row_of(samples, 60)
    assert (row.ok, row.refused, row.failed, row.dropped) == (10, 1, 2, 0)
    assert (row.p50, row.p95, row.longest, row.a_minute) == (5, 10, 10, 10)
    summary = summary_of(Record(samples), SETTINGS, False)
    assert summary.share_failed == pytest.approx(2 / 13)
    assert summary.reasons == {"picture draft: it was late": 1, "picture draft: it was wrong": 1}


def test_gates() -> None:
    summary = summary_of(Record([sample(at) for at in range(59)]), SETTINGS, False)
    assert failures_of(summary, LAX) == []
    assert failures_of(summary, Gates(0, {"picture draft": 1.0}, 58)) == []
    assert len(failures_of(summary, Gates(0, {"picture draft": 0.9, "stream draft": 9}, 61))) == 3
    failed = summary_of(Record([sample(0), sample(1, outcome="failed")]), SETTINGS, False)
    assert len(failures_of(failed, LAX)) == 1
    assert failures_of(failed, Gates(0.5, {}, 0)) == []
    refused = summary_of(Record([sample(0), sample(1, outcome="refused")]), SETTINGS, False)
    assert failures_of(refused, LAX) == []
    assert len(failures_of(summary_of(Record(), SETTINGS, False), LAX)) == 1


def stepped(pictures: dict[int, int], refused: int = 0) -> Record:
    """Levels of 100 s each, with so many pictures at each; beyond the first, ``refused`` more that are refused."""
    record = Record()
    for number, (level, count) in enumerate(pictures.items()):
        begin = 100.0 * number
        record.moments += [Moment(begin + second, level, level) for second in range(100)]
        record.samples += [sample(begin + 100 * (each + 0.5) / count, 0.1) for each in range(count)]
        if number:
            record.samples += [sample(begin + 100 * each / refused, 0.01, "refused") for each in range(refused)]
    return record


def test_the_knee_is_the_least_load_with_nearly_the_best_throughput() -> None:
    settings = {**SETTINGS, "levels": "1x100,2x100,4x100,8x100"}
    summary = summary_of(stepped({1: 50, 2: 98, 4: 100, 8: 97}), settings, True)
    assert [level for level, _ in summary.levels] == [1, 2, 4, 8]
    assert knee_of(summary.levels) == 2
    assert "knee is at 2 users" in " ".join(summary.words)
    assert "only waiting grows" in " ".join(summary.words)
    assert "refuses" in " ".join(summary_of(stepped({1: 50, 2: 98, 4: 100}, refused=20), settings, True).words)
    growing = summary_of(stepped({1: 10, 2: 20, 4: 40}), settings, True)
    assert knee_of(growing.levels) is None
    assert "No knee" in " ".join(growing.words)


def test_the_files_are_self_contained_and_can_be_compared(tmp_path: Path) -> None:
    settings = {**SETTINGS, "levels": "1x100,2x100"}
    for name, counts in (("before", {1: 50, 2: 60}), ("after", {1: 60, 2: 90})):
        record = stepped(counts)
        write(summary_of(record, settings, True), record, tmp_path / name)
    page = (tmp_path / "before" / "report.html").read_text()
    assert 'src="data:image/png;base64,' in page
    assert "http" not in page.replace("http-equiv", "")
    before, after = (json.loads((tmp_path / name / "report.json").read_text()) for name in ("before", "after"))
    assert len(before["samples"]) == 110
    text = compared(before, after)
    assert "same load" in text
    assert "+36%" in text  # 150 pictures instead of 110 in the same time


def test_samples_of_another_process_are_moved_to_this_one_s_time() -> None:
    master, worker = Record(began=100.0), Record([sample(1.0)], began=107.5)
    master.add(json.loads(json.dumps(worker.drain())))
    assert [each.intended for each in master.samples] == [8.5]
    assert worker.samples == []


def test_what_grew_is_told_without_the_time_in_which_caches_fill() -> None:
    moments = [
        {WORKERS: 1e9 if at < 10 else 2e9 + 1e6 * at, JAVA: 5e8, DESCRIPTORS: 90.0, LOGS: 1000.0 * at}
        for at in range(100)
    ]
    grown = growth(moments)
    assert grown[JAVA] == (5e8, 5e8)
    assert grown[WORKERS] == (2.015e9, 2.095e9)
    words = words_of_growth(grown, 100)
    assert words[0] == "Workers' memory: 2.02 GB, then 2.10 GB (+4.0 %)."
    assert words[2:] == ["Descriptors: 90, then 90.", "Logs grew by 0.9 kB a job."]
    assert growth(moments[:10]) == growth([{}] * 100) == {}
    assert words_of_growth({}, 5) == []


def test_the_workers_times_come_from_the_log(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    line = '2026-11-29T04:{}:00,166 INFO  W-9000 - {{"kind": "{}", "outcome": "{}", "seconds": {{"total": {}}}}}\n'
    lines = [("10", "prediction", "ok", 1.5), ("20", "prediction", "ok", 2.5), ("20", "explanation", "ok", 3.5)]
    lines.append(("21", "prediction", "refused", 4.5))
    text = "".join(line.format(*each) for each in lines) + "2026-11-29T04:22:00,1 INFO no JSON {\n"
    (tmp_path / "logs" / "worker.log").write_text(text)
    assert service_times(tmp_path, datetime(2026, 11, 29, 4, 15).timestamp()) == [2.5]
    assert service_times(tmp_path, 0) == [1.5, 2.5]
    assert service_times(tmp_path / "none", 0) == []
