"""The command: do the runs that are missing, and print or write the tables."""

import argparse
import hashlib
import itertools
import json
import signal
import sys
from pathlib import Path

from benchmarks import page, training
from benchmarks.training.runs import Run, execute, execute_elsewhere, run_all
from benchmarks.training.studies import BESIDE, OURS, PULLING, RIVALS, SEEDS, STEPS, STUDIES, pulls
from benchmarks.training.tables import HEADINGS, differences, draw, draw_photos, tables
from blursim_jax.cli.files import replacing


def main() -> None:
    """Do the runs that are missing, and print or write the tables."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.training", description=str(training.__doc__).partition("\n")[0]
    )
    parser.add_argument("studies", nargs="*", metavar="study", help=f"of {', '.join(STUDIES)}; all by default")
    parser.add_argument("--out", type=Path, default=Path("training"), help="the folder of results (training)")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="how often each network is trained (3)")
    parser.add_argument("--steps", type=int, default=STEPS, help="of each training (1200)")
    parser.add_argument("--photos", type=Path, help="a folder of other photos to judge the rivals and our best by")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/training_results.md")
    arguments = parser.parse_args()
    if unknown := set(arguments.studies) - set(STUDIES):
        parser.error(f"study: expected one of {', '.join(STUDIES)}, got {', '.join(unknown)}")
    if arguments.seeds < 2:
        parser.error("--seeds: expected at least 2, as tables have the spread over seeds")
    if arguments.write and (arguments.seeds, arguments.steps) != (SEEDS, STEPS):
        parser.error("--write: expected the seeds and steps that the page says, which are the defaults")
    # SIGTERM ends the workers too, as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        for study in arguments.studies or STUDIES:
            for name, text in study_tables(study, arguments).items():
                print(f"\n{text}")
                if arguments.write:
                    page.write("training_results.md", name, text)
    except KeyboardInterrupt:
        print("\nStopped. What has ended is kept; the same command goes on.", file=sys.stderr)
        sys.exit(130)


def study_tables(study: str, arguments: argparse.Namespace) -> dict[str, str]:
    """Do a study, and return its tables by the names of their places on the page."""
    out, photos_folder = arguments.out, arguments.photos
    tasks, losses, starts = STUDIES[study]
    combinations = itertools.product(range(arguments.seeds), losses, tasks, starts)
    runs = [Run(task, loss, seed, arguments.steps, start) for seed, loss, task, start in combinations]
    run_all([(execute, (run, out)) for run in runs if not run.path(out).exists()], study)
    results = {run: json.loads(run.path(out).read_text())["scores"] for run in runs}
    if study != "losses":
        return {study: tables(results, study, ("PSNR", "SSIM", "GMSD"))}
    found = {"losses": tables(results, study, HEADINGS), "differences": differences(results, OURS, RIVALS)}
    found["beside"] = differences(results, OURS, [BESIDE])
    pulling = {x: pulls("gaussian", x) for x in PULLING}
    lines = ["| loss | " + " | ".join(pulling["MSE"]) + " |", "|---|---|---|---|"]
    lines += [f"| {x} | " + " | ".join(f"{v:.2f}" for v in values.values()) + " |" for x, values in pulling.items()]
    found["pulls"] = "\n".join(lines) + "\n"
    if photos_folder:
        chosen = [run for run in runs if run.loss in (*RIVALS, BESIDE, *OURS)]
        there = out / f"elsewhere-{hashlib.sha256(str(photos_folder.resolve()).encode()).hexdigest()[:8]}"
        todo = [run for run in chosen if not run.path(there).exists()]
        run_all([(execute_elsewhere, (run, out, there, photos_folder)) for run in todo], "other photos")
        elsewhere = {run: json.loads(run.path(there).read_text())["scores"] for run in chosen}
        text = differences(elsewhere, OURS[:1], RIVALS), differences(elsewhere, OURS[:1], [BESIDE])
        found["elsewhere"] = "\n".join(text)
    if arguments.write:
        content = [run._asdict() | {"scores": {k: round(x[k], 5) for k in HEADINGS}} for run, x in results.items()]
        lines = ",\n".join(json.dumps(x) for x in content)
        with replacing(page.DOCS / "training_results.json") as new:
            new.write_text(f"[\n{lines}\n]\n")
        draw(results).savefig(page.DOCS / "training_results.png", dpi=110)
        draw_photos(out, arguments.steps).savefig(page.DOCS / "training_photos.png", dpi=110)
    return found


if __name__ == "__main__":
    main()
