"""A search as it runs: a live table in a terminal, plain lines elsewhere."""

from dataclasses import dataclass, field

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from tunecli.report.delays import delay_words, measuring_line
from tunecli.report.opened import LiveTable
from tunecli.report.text import count, duration, epochs_of, sparkline
from tunecli.schedule.asynchronous import DelayScaling
from tunecli.search.events import (
    DelayMeasuring,
    Event,
    ProbeFinished,
    SearchStarted,
    SearchStopped,
    TrialFinished,
    TrialProgressed,
    TrialRecord,
    TrialStarted,
)
from tunecli.search.probe import Probe
from tunecli.search.rule import Point

_OTHER_LINES = 12  # of the table's frame, what stands above it, and below it
_SILENT_S = 60.0  # after so long a script that does not answer is worth a word


@dataclass
class _Row:
    """One learning rate."""

    by_seed: dict[int, float] = field(default_factory=dict)
    diverged: bool = False
    given_up: bool = False
    verified: bool = False
    curve: tuple[float, ...] = ()
    samples: int = 0
    seconds: float = 0.0

    def add(self, record: TrialRecord) -> None:
        self.samples += record.samples
        self.seconds += record.seconds
        if record.state == "cancelled" or record.value is None:
            return
        self.diverged |= record.state == "diverged"
        self.given_up |= record.state == "aborted"
        self.verified |= record.role == "verify"
        self.by_seed[record.seed] = record.value
        self.curve = tuple(value for _, value in record.curve)

    @property
    def values(self) -> list[float]:
        return list(self.by_seed.values())

    def decide(self, point: Point) -> None:
        """Show what the decision rests on: what ran ahead may have got further."""
        self.by_seed = dict(enumerate(point.values))
        self.diverged, self.given_up = point.diverged, bool(point.aborted)

    @property
    def value(self) -> float | None:
        return None if self.diverged or not self.values else sum(self.values) / len(self.values)


@dataclass
class _Running:
    """A trial that runs."""

    started: TrialStarted
    progress: TrialProgressed | None = None

    @property
    def share(self) -> float:
        return self.progress.steps / self.started.total_steps if self.progress else 0.0


class SearchView(LiveTable):
    """Shows a search; call it with every event.

    Args:
        console: Where to; a terminal gets a live table, anything else plain lines.
    """

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._plan: SearchStarted | None = None
        self._rows: dict[float, _Row] = {}
        self._finals = 0
        self._running: dict[tuple[str, float, int], _Running] = {}
        self._stop: SearchStopped | None = None
        self._done_trials = 0
        self._done_updates = 0
        self._done_seconds = 0.0

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        match event:
            case DelayMeasuring():
                self._console.print(measuring_line(event.num_workers), highlight=False)
            case SearchStarted():
                self._start(event)
            case ProbeFinished():
                self._console.print(_probe_line(event.probe), highlight=False, soft_wrap=True)
            case TrialStarted():
                self._running[_key(event.phase, event)] = _Running(event)
            case TrialProgressed():
                self._running[_key(event.phase, event)].progress = event
            case TrialFinished():
                self._finish(event)
            case SearchStopped():
                self._stop = event
                for point in event.stop.points:
                    self._row(point.learning_rate).decide(point)
                self._say(f"stopped: {event.explanation}")

    def _start(self, plan: SearchStarted) -> None:
        self._plan = plan
        self._rows = {rate: _Row() for rate in plan.recipe.search.learning_rates}
        for record in plan.finished:
            self._row(record.learning_rate).add(record)
            self._bill(record)
        self._console.print(
            self._plan_line(plan), highlight=False, soft_wrap=not self._console.is_terminal
        )
        if plan.scaling is not None:
            self._console.print(_scaling_line(plan.scaling), highlight=False, soft_wrap=True)
        if plan.finished:
            self._console.print(
                f"resumed: {count(len(plan.finished), 'trial')} already finished", highlight=False
            )
        self._open()

    def _plan_line(self, plan: SearchStarted) -> str:
        def epochs(trials: int) -> str:
            if plan.recipe.schedule_is_advice:  # how long the script trains is its own affair
                return ""
            return ", " + epochs_of(trials * plan.schedule.samples, plan.training_samples)

        tests = len(plan.recipe.search.test_seeds)
        most = count(plan.most_trials, "trial")
        trials = f"at most {most}{epochs(plan.most_trials)}"
        if plan.usual_trials < plan.most_trials:
            trials = f"usually about {plan.usual_trials} of {trials}"
        side_by_side = f", {plan.workers} at a time" if plan.workers > 1 else ""
        return (
            f"{plan.recipe.name} on {plan.device}{side_by_side}: {trials}; "
            f"then {count(tests, 'final training')}{epochs(tests)}"
        )

    def _row(self, rate: float) -> _Row:
        """The row of a rate; one that is not on the grid gets its place among the others."""
        if rate not in self._rows:
            rates = sorted((*self._rows, rate))
            self._rows = {each: self._rows.get(each, _Row()) for each in rates}
        return self._rows[rate]

    def _finish(self, event: TrialFinished) -> None:
        record = event.record
        self._running.pop(_key(event.phase, record), None)
        self._bill(record)
        if event.phase == "search":
            self._row(record.learning_rate).add(record)
        else:
            self._finals += 1
        assert self._plan is not None
        metric = self._plan.recipe.search.metric
        what = (
            f"final seed={record.seed} {record.split}"
            if event.phase == "final"
            else (f"learning_rate={record.learning_rate:g} seed={record.seed} validation")
        )
        value = "cancelled" if record.value is None else f"{metric}={record.value:.4f}"
        if record.state == "diverged":
            value = f"diverged ({record.reason})"
        elif record.state == "aborted":
            value += f" given up ({record.reason})"
        updates = f"updates={record.updates} " if record.updates else ""
        self._say(
            f"{what} {value} {updates}seconds={record.seconds:.1f} "
            f"left{self._about}{duration(self._seconds_left() or 0)}"
        )

    @property
    def _about(self) -> str:
        """How sure the time that is left is: an upper bound, or what is usual."""
        plan = self._plan
        return "≤" if plan is None or plan.usual_trials == plan.most_trials else "≈"

    def _say(self, line: str) -> None:
        if self._live is None:
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _bill(self, record: TrialRecord) -> None:
        self._done_trials += 1
        self._done_updates += record.updates
        self._done_seconds += record.seconds

    def _seconds_left(self) -> float | None:
        """The trials that are still to be expected, at the time per update so far."""
        plan = self._plan
        if plan is None:
            return None
        now = [each.progress for each in self._running.values() if each.progress]
        steps = sum(each.steps for each in now)
        updates = self._done_updates + steps
        seconds = self._done_seconds + sum(each.seconds for each in now)
        trials = len(plan.recipe.search.test_seeds) - self._finals
        if self._stop is None:
            done = sum(len(row.values) for row in self._rows.values())
            # past what is usual, one more trial is as good a guess as any
            trials += max(plan.usual_trials - done, 1 if done < plan.most_trials else 0)
        if updates and not plan.recipe.schedule_is_advice:
            left = trials * plan.schedule.total_steps - steps
            return max(left, 0) * seconds / updates / plan.workers
        if not self._done_trials:
            return None
        return trials * self._done_seconds / self._done_trials / plan.workers

    def _table(self) -> RenderableType:
        plan = self._plan
        if plan is None:
            return Text()
        metric = plan.recipe.search.metric
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("learning_rate", justify="right")
        table.add_column("status", min_width=14)
        table.add_column(f"val. {metric}", justify="right")
        table.add_column("curve", min_width=11, no_wrap=True)
        table.add_column("samples" if plan.training_samples is None else "epochs", justify="right")
        table.add_column("time", justify="right", min_width=6)
        best = self._best()
        rates = list(self._rows)
        for rate in self._visible(rates):
            table.add_row(*self._cells(rate, best), style="bold" if rate == best else "")
        hidden = len(rates) - len(self._visible(rates))
        parts: list[RenderableType] = [table]
        if hidden:
            parts.append(Text(f"… and {count(hidden, 'rate')} more", style="dim"))
        return Group(*parts, self._footer())

    def _visible(self, rates: list[float]) -> list[float]:
        """As many rates as fit the screen, the walk's end among them."""
        rows = max(3, self._console.size.height - _OTHER_LINES)
        if len(rates) <= rows:
            return rates
        active = max((i for i, rate in enumerate(rates) if self._rows[rate].samples), default=0)
        first = min(max(0, active + 3 - rows), len(rates) - rows)
        return rates[first : first + rows]

    def _cells(self, rate: float, best: float | None) -> list[Text | str]:
        assert self._plan is not None
        row = self._rows[rate]
        running = [
            each
            for (phase, at, _), each in self._running.items()
            if phase == "search" and at == rate
        ]
        curve = row.curve
        samples, seconds = row.samples, row.seconds
        if running:
            trial = running[-1]
            number = len(row.values) + 1
            what = f"trial {number}" if number > 1 else "training"
            status = Text(f"{what}  {trial.share:4.0%}", style="cyan")
            if trial.progress:
                now = trial.progress
                curve, samples, seconds = now.curve, samples + now.samples, seconds + now.seconds
        elif row.diverged:
            status = Text("diverged", style="red")
        elif row.given_up:
            status = Text("given up", style="yellow")
        elif row.values:
            times = f" ×{len(row.values)}" if len(row.values) > 1 else ""
            status = Text("best" if rate == best else "done", "green" if rate == best else "")
            status.append(" verified" if row.verified else times, style="dim")
        else:
            status = Text("not needed" if self._stop else "", style="dim")
        value = row.value
        name = self._plan.metric.name
        low = 0.0 if name in ("accuracy", "loss") else None
        high = 1.0 if name == "accuracy" else None
        return [
            f"{rate:g}",
            status,
            "" if value is None else f"{value:.4f}",
            Text(sparkline(curve, low=low, high=high), style="blue"),
            self._spent(samples) if samples else "",
            duration(seconds) if seconds else "",
        ]

    def _spent(self, samples: int) -> str:
        assert self._plan is not None
        of = self._plan.training_samples
        return f"{samples:,}" if of is None else f"{samples / of:.1f}"

    def _best(self) -> float | None:
        """The rate found, and before that the one that looks best."""
        if self._stop is not None:
            return self._stop.stop.learning_rate
        assert self._plan is not None
        values = {
            rate: row.value
            for rate, row in self._rows.items()
            if row.value is not None and not row.given_up and not row.verified
        }
        if not values:
            return None
        pick = max if self._plan.metric.maximize else min
        return pick(values, key=lambda rate: values[rate] or 0.0)

    def _footer(self) -> Text:
        assert self._plan is not None
        line = Text()
        if self._stop is not None:
            line.append(f"stopped: {self._stop.explanation}\n")
        finals = [each for (phase, _, _), each in self._running.items() if phase == "final"]
        if finals:
            tests = len(self._plan.recipe.search.test_seeds)
            share = sum(each.share for each in finals) / len(finals)
            line.append(
                f"final training {self._finals + 1}/{tests} at "
                f"learning_rate {finals[0].started.learning_rate:g}  {share:4.0%}\n",
                style="cyan",
            )
        line.append(self._silence(), "yellow")
        left = self._seconds_left()
        if self._running:
            about = "at most" if self._about == "≤" else "about"
            time = "" if left is None else f"{about} {duration(left)} left · "
            line.append(f"{time}Ctrl-C stops, --resume goes on", "dim")
        line.rstrip()
        return line

    def _silence(self) -> str:
        """A line about the script that has not answered for longest, if that is long."""
        silent = [
            (each.progress.silent_s, str(each.started.log))
            for each in self._running.values()
            if each.progress is not None and each.started.log is not None
        ]
        seconds, log = max(silent, default=(0.0, ""))
        return f"no answer for {duration(seconds)}; log: {log}\n" if seconds >= _SILENT_S else ""


def _key(phase: str, trial: TrialStarted | TrialProgressed | TrialRecord) -> tuple[str, float, int]:
    return phase, trial.learning_rate, trial.seed


def _scaling_line(scaling: DelayScaling) -> str:
    delay = delay_words(scaling.delay.kind, scaling.delay.mean)
    if scaling.factor is None:
        return f"{delay}: every update × what its own delay allows ({scaling.rule})"
    if scaling.rule == "none":
        return f"{delay}: no rate is scaled for it"
    return f"{delay}: every rate × {scaling.factor:.5g} ({scaling.rule})"


def _probe_line(probe: Probe) -> str:
    if probe.start is None:
        return "probe: the ramp did not learn; the walk begins where it does without one"
    return f"probe: a trial starts to learn at {probe.start:.3g}; the walk begins at or below it"
