"""A study on disk: what it searches, and its trials, handed out so that none is lost and none is run twice.

    runs/<dataset>/studies/<name>.journal      all trials (or a database, by --storage)
    runs/<dataset>/studies/<name>/             best.toml, pictures; trials/NNN/: a folder a trial
    <name> = <method>-<what is tuned>-<hash>   the hash covers everything that makes it a different study

A worker holds the lock of its trial's folder. A trial that counts as running while its lock is free was interrupted:
the next worker resumes it from its checkpoint, with the same values.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from filelock import Timeout

from oltr_cli.base.seeding import derive
from oltr_cli.errors import DataProblem
from oltr_cli.runs.folder import STUDIES
from oltr_cli.tuning.about import About, FiledRun
from oltr_cli.tuning.claim import BEGUN, OUTCOME, REASON, Claim, counts, pruner, requeue, still_ours, suggest
from oltr_cli.tuning.space import Value
from oltr_cli.tuning.storage import open_database, open_journal, study_lock

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

ABOUT = "about"  # user attribute of a study
State = Literal["COMPLETE", "PRUNED", "FAIL"]
DEATHS = 5  # processes that may die in one epoch of a trial before it counts as failed
CHECKPOINTS = ("best.pt", "last.pt", "last.prev.pt", "last.new.pt")


class Study:
    """A study that exists."""

    def __init__(self, study: "optuna.Study", storage: "optuna.storages.BaseStorage", about: About, root: Path) -> None:
        self.study, self.storage, self.about, self.root = study, storage, about, root
        self.run = FiledRun(root, about.dataset, about.method, about.name, about.seed, f"{STUDIES}/{about.name}")
        self.in_database = hasattr(storage, "record_heartbeat")

    @classmethod
    def open(cls, about: About, first: Mapping[str, Value] | None, root: Path, database: str | None) -> "Study":
        """The study, created if it does not exist yet.

        Args:
            first: values of the first trial, those of the recipe.
            database: its address, as Optuna takes it; None: a journal below ``root``.
        """
        import optuna

        folder = root / about.dataset / STUDIES / about.name
        with study_lock(folder):
            storage = open_storage(folder, database)
            name = f"{about.dataset}/{about.name}"
            if name not in optuna.get_all_study_names(storage):  # creating one that exists would add to the journal
                direction = "maximize" if about.maximize else "minimize"
                optuna.create_study(storage=storage, study_name=name, direction=direction, load_if_exists=True)
            study = optuna.load_study(study_name=name, storage=storage)
            if ABOUT not in study.user_attrs:
                study.set_user_attr(ABOUT, about.as_json())
            if first and not study.get_trials(deepcopy=False):
                study.enqueue_trial(dict(first))
        return cls(study, storage, about, root)

    @property
    def name(self) -> str:
        """``dataset/name``: what commands print and take."""
        return self.study.study_name

    @property
    def path(self) -> Path:
        return self.run.path

    def trials(self) -> "list[FrozenTrial]":
        """All trials that count, by number: those that were lost and run again by another worker do not."""
        return [t for t in self.study.get_trials(deepcopy=False) if counts(t)]

    def finished(self) -> "list[FrozenTrial]":
        """Those that ended with a value."""
        return [t for t in self.trials() if t.state.name == "COMPLETE"]

    def best(self) -> "FrozenTrial | None":
        """The finished trial with the best value, the first of several; None if there is none yet."""
        sign = 1.0 if self.about.maximize else -1.0
        return max(self.finished(), key=lambda t: (sign * t.values[0], -t.number), default=None)

    def claim(self, total: int) -> Claim | None:
        """A trial to work on: an interrupted one, else a new one if there are fewer than ``total``."""
        with study_lock(self.path):
            self._requeue_dead()
            for trial in self.study.get_trials(deepcopy=False):
                if trial.state.name == "RUNNING":
                    claim = self._take(trial.number, resumed=True)
                    if claim is not None and not self._given_up(claim):
                        return claim
            while len(self.trials()) < total:
                number = self.study.ask().number
                # Workers without a common disk do not share the lock above: two may both have asked for the last trial.
                if sum(t.number < number for t in self.trials()) >= total:
                    self._tell(number, "FAIL")
                    return None
                claim = self._take(number, resumed=False)
                if claim is None or not self._given_up(claim):
                    return claim
            return None

    def abandoned(self) -> frozenset[int]:
        """Numbers of the trials that were interrupted: they count as running, but no worker has them.

        They stay as they are. Without a common disk those on other machines are unknown.
        """
        if not self._running():
            return frozenset()
        # Under the study's lock, or a worker would find a trial's lock held and skip a trial that it could resume.
        with study_lock(self.path):
            return frozenset(number for number in self._running() if self._free(number))

    def interrupted(self, claim: Claim) -> None:
        """Note that a signal ended the work on a trial, which is not the trial's fault."""
        with study_lock(self.path), still_ours(claim):
            claim.trial.set_user_attr(BEGUN, claim.trial.user_attrs.get(BEGUN, [])[:-1])

    def trial_id(self, number: int) -> int:
        """What the storage calls a trial."""
        study_id = self.storage.get_study_id_from_name(self.study.study_name)
        return self.storage.get_trial_id_from_study_id_trial_number(study_id, number)

    def report(self, claim: Claim, epoch: int, value: float) -> bool:
        """Record a trial's value after an epoch (from 1); returns whether it is so far behind that it should be
        stopped.

        Raises:
            TrialLost: as ``end`` does.
        """
        with still_ours(claim):
            if epoch not in claim.reported:
                claim.trial.report(value, epoch)
            return claim.trial.should_prune()

    def end(self, claim: Claim, state: State, note: Mapping[str, Any] | str, value: float | None = None) -> None:
        """Record how a trial ended.

        Args:
            note: why it failed, or facts besides the value.
        Raises:
            TrialLost: the worker was considered dead, and another one has started the trial again.
        """
        with study_lock(self.path), still_ours(claim):
            claim.trial.set_user_attr(REASON if state == "FAIL" else OUTCOME, note)
            self._tell(claim.number, state, value)
            self._tidy()

    def _tell(self, number: int, state: State, value: float | None = None) -> None:
        from optuna.trial import TrialState

        self.study.tell(number, value, TrialState[state])

    def _take(self, number: int, resumed: bool) -> Claim | None:
        """The trial, unless another process holds it; the study's lock is held."""
        import optuna

        run = self._filed(number)
        if resumed and self.in_database and not run.path.exists():
            return None  # of a machine with another disk
        lock = run.lock()
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return None
        # Keyed by the trial: a study that was interrupted asks the same questions as one that was not.
        seed = derive(self.about.seed, "trial", number) % 2**32
        self.study.sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
        self.study.pruner = pruner(self.about)
        trial = optuna.Trial(self.study, self.trial_id(number))
        values = {d.key: suggest(trial, d) for d in self.about.space}
        reported = frozenset(self.storage.get_trial(self.trial_id(number)).intermediate_values)
        trial.set_user_attr(BEGUN, [*trial.user_attrs.get(BEGUN, []), len(reported)])
        return Claim(number, trial, values, run, resumed, reported, lock)

    def _running(self) -> list[int]:
        return [t.number for t in self.study.get_trials(deepcopy=False) if t.state.name == "RUNNING"]

    def _filed(self, number: int) -> FiledRun:
        folder = f"{self.run.folder}/trials/{number:03}"
        return FiledRun(self.root, self.about.dataset, self.about.method, "", self.about.seed, folder)

    def _free(self, number: int) -> bool:
        """Whether nobody holds a trial's lock; the study's is held."""
        run = self._filed(number)
        if not run.path.exists():  # its worker died at once, or is on a machine with another disk
            return not self.in_database
        try:
            with run.lock().acquire(timeout=0):
                return True
        except (Timeout, OSError):
            return False

    def _given_up(self, claim: Claim) -> bool:
        """Give up a trial whose processes keep dying in the same epoch, for example because memory runs out."""
        epochs = claim.trial.user_attrs[BEGUN][-1]
        if claim.trial.user_attrs[BEGUN][:-1].count(epochs) < DEATHS:
            return False
        claim.trial.set_user_attr(REASON, f"its process died {DEATHS} times in epoch {epochs + 1}")
        self._tell(claim.number, "FAIL")
        claim.lock.release()
        return True

    def _requeue_dead(self) -> None:
        import optuna

        if self.in_database:
            optuna.storages.fail_stale_trials(self.study)

    def _tidy(self) -> None:
        """Keep only the checkpoints of the best trial and of unfinished ones; the study's lock is held."""
        best = self.best()
        for trial in self.study.get_trials(deepcopy=False):
            if trial.state.is_finished():
                keep = ("best.pt",) if best is not None and trial.number == best.number else ()
                folder = self._filed(trial.number).path
                for name in CHECKPOINTS:
                    if name not in keep:
                        (folder / name).unlink(missing_ok=True)


def open_storage(folder: Path, database: str | None) -> "optuna.storages.BaseStorage":
    """The storage of the study whose folder is ``folder``."""
    if database is not None:
        return open_database(database, requeue)
    return open_journal(folder.with_name(f"{folder.name}.journal"))


def load_study(folder: Path, database: str | None = None) -> Study:
    """A study that exists already.

    Raises:
        DataProblem: it does not exist, or was not made by ``oltr tune``.
    """
    import optuna

    root, name = folder.parents[2], f"{folder.parents[1].name}/{folder.name}"
    storage = open_storage(folder, database)
    try:
        study = optuna.load_study(study_name=name, storage=storage)
        about = About.from_json(study.user_attrs[ABOUT])
    except (KeyError, TypeError) as error:
        raise DataProblem(f"{name}: no study of oltr tune there ({error!r})") from None
    return Study(study, storage, about, root)
