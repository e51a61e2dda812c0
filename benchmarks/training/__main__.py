"""The command: do the runs that are missing, and print or write the tables."""

import argparse
import hashlib
import json
import signal
import sys
from pathlib import Path

from benchmarks import page, training
from benchmarks.training.runs import execute, execute_elsewhere, run_all
from benchmarks.training.studies import MIXTURES, OURS, PULLING, RIVALS, STUDIES, Study, pulls
from benchmarks.training.tables import SCORES, Results, differences, draw, draw_photos, tables
from blursim_jax.cli.files import replacing


def main() -> None:
    """Do the runs that are missing, and print or write the tables."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.training", description=str(training.__doc__).partition("\n")[0]
    )
    parser.add_argument("studies", nargs="*", metavar="study", help=f"of {', '.join(STUDIES)}; all by default")
    parser.add_argument("--out", type=Path, default=Path("training"), help="the folder of results (training)")
    parser.add_argument("--seeds", type=int, help="how often each network is trained (2 to 5, by the study)")
    parser.add_argument("--steps", type=int, help="of each training (1200; 800 of crops)")
    parser.add_argument("--photos", type=Path, help="a folder of other photos to judge the rivals and our loss by")
    parser.add_argument("--write", action="store_true", help="put tables and pictures into docs/training_results.md")
    arguments = parser.parse_args()
    if unknown := set(arguments.studies) - set(STUDIES):
        parser.error(f"study: expected one of {', '.join(STUDIES)}, got {', '.join(unknown)}")
    if arguments.seeds is not None and arguments.seeds < 2:
        parser.error("--seeds: expected at least 2, as tables have the spread over seeds")
    if arguments.write and (arguments.studies or arguments.seeds or arguments.steps or arguments.photos):
        parser.error("--write: expected all studies, with the seeds, steps and photos that the page says")
    # SIGTERM ends the workers too, as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    results: Results = {}
    try:
        for name in arguments.studies or STUDIES:
            study = STUDIES[name]
            study = study._replace(seeds=arguments.seeds or study.seeds, steps=arguments.steps or study.steps)
            results |= results_of(study, name, arguments.out)
            found = {name: tables(results, study, SCORES[name])}
            if name == "losses":
                found |= more_tables(results, study, arguments.out, arguments.photos)
            for place, text in found.items():
                print(f"\n{text}")
                if arguments.write:
                    page.write("training_results.md", place, text)
        if arguments.write:
            write(results, arguments.out)
    except KeyboardInterrupt:
        print("\nStopped. What has ended is kept; the same command goes on.", file=sys.stderr)
        sys.exit(130)


def results_of(study: Study, name: str, out: Path) -> Results:
    """Do the runs of a study that are missing, and return the scores of all."""
    runs = study.runs()
    run_all([(execute, (run, out)) for run in runs if not run.path(out).exists()], name)
    return {run: json.loads(run.path(out).read_text())["scores"] for run in runs}


def more_tables(results: Results, study: Study, out: Path, photos: Path | None) -> dict[str, str]:
    """Return what belongs to the main table, by the names of the places on the page."""
    found = {"differences": differences(results, OURS, RIVALS), "mixtures": differences(results, OURS, MIXTURES)}
    pulling = {x: pulls("gaussian", x) for x in PULLING}
    lines = ["| loss | " + " | ".join(pulling["MSE"]) + " |", "|---|---|---|---|"]
    lines += [f"| {x} | " + " | ".join(f"{v:.2f}" for v in values.values()) + " |" for x, values in pulling.items()]
    found["pulls"] = "\n".join(lines) + "\n"
    if photos:
        chosen = [run for run in study.runs() if run.loss in (*RIVALS, *MIXTURES, OURS)]
        there = out / f"elsewhere-{hashlib.sha256(str(photos.resolve()).encode()).hexdigest()[:8]}"
        todo = [run for run in chosen if not run.path(there).exists()]
        run_all([(execute_elsewhere, (run, out, there, photos)) for run in todo], "other photos")
        elsewhere = {run: json.loads(run.path(there).read_text())["scores"] for run in chosen}
        found["elsewhere"] = "\n".join(differences(elsewhere, OURS, rivals) for rivals in (RIVALS, MIXTURES))
    return found


def write(results: Results, out: Path) -> None:
    """Write all results and the pictures beside the page."""
    names = {name for chosen in SCORES.values() for name in chosen}
    content = [
        run._asdict() | {"scores": {name: round(x, 5) for name, x in scores.items() if name in names}}
        for run, scores in results.items()
    ]
    lines = ",\n".join(json.dumps(x) for x in content)
    with replacing(page.DOCS / "training_results.json") as new:
        new.write_text(f"[\n{lines}\n]\n")
    study = STUDIES["losses"]
    draw(results).savefig(page.DOCS / "training_results.png", dpi=110, **page.MARGIN)
    draw_photos(out, study.seeds - 1, study.steps).savefig(page.DOCS / "training_photos.png", dpi=110, **page.MARGIN)


if __name__ == "__main__":
    main()
