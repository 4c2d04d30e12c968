# SPDX-License-Identifier: Apache-2.0
"""The developer's commands: ``fab -l`` lists them."""

import os
import sys
from pathlib import Path

from fabric import task

ROOT = Path(__file__).resolve().parent


@task
def runserver(context):
    """Run Chatmotor from this checkout (CM_CONFIG_HOME and CM_BINDINGS have defaults)."""
    os.environ.setdefault("CM_CONFIG_HOME", str(ROOT / "configuration"))
    os.environ.setdefault("CM_BINDINGS", str(ROOT / "chatmotor" / "bindings.py"))
    sys.path.insert(0, str(ROOT))
    from chatmotor import main

    main.run()


@task
def test_units(context):
    """Run the tests that need no server: rules, wire, options, docs."""
    _pytest(context, "tests/unit tests/project")


@task
def test_integration(context):
    """Run the tests on real servers: sockets, RabbitMQ, PostgreSQL, a browser."""
    _pytest(context, "tests/contract tests/fault tests/integration tests/browser")


@task
def test_all(context):
    """Run lint and every test, with coverage."""
    lint(context)
    _run(context, "coverage erase")
    _pytest(context, "tests", runner="coverage run -m pytest")
    _run(context, "coverage combine --quiet")
    _run(context, "coverage report")


@task
def lint(context):
    """Check style, types, spelling and the direction of imports."""
    _run(context, "ruff format --check .")
    _run(context, "ruff check .")
    _run(context, "mypy")
    _run(context, "codespell chatmotor tests docs bench README.md CHANGELOG.md")
    _run(context, "lint-imports")


@task
def format(context):
    """Format the code and mend what can be mended."""
    _run(context, "ruff check --fix-only .")
    _run(context, "ruff format .")


@task
def docs(context):
    """Write the generated reference pages again."""
    _run(context, "python -m tests.project.generate")


@task(
    help={
        "seconds": "measured seconds per run",
        "rounds": "rounds; each runs every subject once",
        "workload": "classic, or durable: accounts, and messages that are stored",
    }
)
def bench(context, workload="classic", seconds=5, rounds=3):
    """Measure messages/s, latency and CPU beside the baseline, in one run."""
    _run(
        context, f"python -m bench.run {workload} --seconds {seconds} --rounds {rounds}"
    )


@task
def clean(context):
    """Remove what tests and builds leave behind."""
    _run(
        context, "rm -rf dist htmlcov .coverage* .mypy_cache .ruff_cache .pytest_cache"
    )


def _pytest(context, paths, runner="python -m pytest"):
    _run(context, f"{runner} {paths}")


def _run(context, command):
    # The tools of the environment that runs fab, whatever PATH says.
    tools = Path(sys.executable).parent
    program, _, arguments = command.partition(" ")
    found = tools / program
    with context.cd(ROOT):
        context.run(
            f"{found if found.exists() else program} {arguments}",
            pty=sys.stdout.isatty(),
        )
