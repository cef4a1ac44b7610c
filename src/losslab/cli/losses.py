"""`losslab losses …`: the losses, what one is, and the test bench for one."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from losslab.cli.console import AsJson, cli_errors, exit_with_errors, print_json, print_table
from losslab.errors import InputError
from losslab.formats import format_plural
from losslab.stage import print_line

if TYPE_CHECKING:
    from losslab.losses.registry import LossSpec


class LossCommands(TyperGroup):
    """Commands of which `list` is run where none is named: `losslab losses dice` describes dice."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        named = bool(args) and (args[0] in self.commands or args[0] in ctx.help_option_names)
        return super().parse_args(ctx, args if named else ["list", *args])


app = typer.Typer(cls=LossCommands, help="List, describe and check losses.")


@app.command("list")
@cli_errors()
def show(
    expression: Annotated[
        str | None, typer.Argument(metavar="LOSS", help="A loss, or a sum of them: describe these.")
    ] = None,
    as_json: AsJson = False,
    cards: Annotated[bool, typer.Option("--cards", help="Measure each loss and write reports/losses.html.")] = False,
) -> None:
    """List the losses: kind, options with their defaults, source, and how to write each as `loss`. This is the default."""
    from losslab.losses.expression import parse_expression
    from losslab.losses.registry import find_loss, list_losses
    from losslab.plugins.manifest import find_plugins

    if cards and (as_json or expression is not None):
        raise InputError("--cards draws all losses, so it takes neither a name nor --json")
    known = list_losses()
    specs = [find_loss(term.name) for term in parse_expression(expression)] if expression else list(known.values())
    errors: list[str] = []
    if cards:
        from losslab.reporting.losses.page import write_loss_cards
        from losslab.runtime.devices import describe_hardware

        path = Path("reports/losses.html")
        errors = write_loss_cards(path, describe_hardware(), list(known))
        print_line(f"wrote {path}")
    elif as_json:
        print_json([spec.describe() for spec in specs])
    elif expression is not None:
        for spec in specs:
            _describe_loss(spec)
    else:
        rows = []
        for spec in specs:
            use = "alone" if spec.stands_alone else spec.expression
            options = " ".join(f"{name}={_format_option(value)}" for name, value in spec.defaults.items())
            rows.append((spec.name, spec.kind, f"{spec.binary}, {spec.multiclass}", use, options, spec.paper))
        print_table(("loss", "kind", "binary, multiclass", "use it as", "options", "source"), rows)
        print_line("More: losslab losses LOSS, losslab losses check LOSS, losslab losses --cards, losslab docs losses")
    if expression is None:
        exit_with_errors([*errors, *find_plugins().errors])


def _describe_loss(spec: "LossSpec") -> None:
    facts = {
        "use it as": spec.expression,
        "kind": spec.kind,
        "binary, multiclass": f"{spec.binary}, {spec.multiclass}",
        "absent class": spec.absent,
        "overlapping classes": f"not possible; take {spec.instead}" if spec.instead else "each with a sigmoid",
        "slow because": spec.cost,
        "source": ", ".join(filter(None, (spec.paper, spec.url))),
    }
    print_table((spec.name, spec.summary), [(f"  {what}", fact) for what, fact in facts.items() if fact])
    if spec.defaults:
        rows = [(f"  {name}", _format_option(value), spec.meanings[name]) for name, value in spec.defaults.items()]
        print_table(("  option", "default", "meaning"), rows)


@app.command()
@cli_errors()
def check(
    name: Annotated[str, typer.Argument(metavar="LOSS", help="One loss, such as one of your plugins/.")],
    sets: Annotated[list[str] | None, typer.Option("--set", help="OPTION=VALUE of the loss; repeatable.")] = None,
    as_json: AsJson = False,
) -> None:
    """Run the test bench on a loss: a verdict a line, what it means for training, and where in the code to look.

    Exits with 1 if a check fails; a note is what the loss is by design. It takes seconds, on the CPU.
    """
    from losslab.io.yaml import parse_assignment
    from losslab.losses.expression import parse_expression
    from losslab.reporting.losses.checks.battery import CHECKS, check_loss

    terms = parse_expression(name)
    if len(terms) > 1:
        raise InputError(f"{name} is a sum; check one loss at a time: {', '.join(term.name for term in terms)}")
    results = check_loss(terms[0].name, dict(parse_assignment(text, "gamma=3.0") for text in sets or ()))
    if as_json:
        print_json([asdict(result) for result in results])
    else:
        rows = [(result.verdict, result.check, result.meaning, result.place) for result in results]
        print_table(("verdict", "check", "what it means for training", "look at"), rows)
    if failed := [result.check for result in results if result.verdict == "FAIL"]:
        rest = len(CHECKS) - len(results)
        skipped = f"; mend that first, {format_plural(rest, 'check')} that build on it were not run" if rest else ""
        exit_with_errors([f"{terms[0].name} fails: {', '.join(failed)}{skipped}"])


def _format_option(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return "null" if value is None else str(value).lower()
